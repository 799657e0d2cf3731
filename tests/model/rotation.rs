//! One rotation of one replica, as in `token/journal`: lease → load → plan → intend → call → commit.

use crate::actions::{Serving, Store};
use crate::invariants::Invariant;
use crate::mutations::Mutation;
use crate::protocol::{Protocol, Reuse};
use crate::state::{Answer, Grant, MANY, Phase, State, Token, only};
use crate::store::{Write, Written};

impl<const N: usize> Protocol<N> {
    pub fn load(&self, s: &mut State<N>, r: usize, expired: bool) {
        let known = s.replicas[r].memory.known;
        let stored = match known {
            Some(known) if self.is(Mutation::NoLoadUnderTheLease) => known,
            _ => s.stored,
        };
        let differs = |known: Grant| stored.lineage.name() != known.lineage.name();
        let news = known.is_none_or(|known| stored.generation > known.generation);
        let unspent = news && !stored.needs_login && !expired;
        let behind = known.is_some_and(|known| differs(known) || stored.generation < known.generation)
            && !self.is(Mutation::AnUnstoredPairIsForgottenByTheNextRotation);
        if behind || unspent || self.decisions.plan(stored).is_none() {
            self.found(s, r, stored);
        } else {
            s.replicas[r].phase = Phase::Loaded(stored);
        }
    }

    /// The record with the intent.
    pub fn announced(&self, before: Grant) -> Grant {
        let anew = self.is(Mutation::AnIntentCountsAnew);
        let ambiguous = self.decisions.plan(before).filter(|_| !anew).unwrap_or(0);
        Grant { presented: (ambiguous + 1).min(MANY), ..before }
    }

    pub fn intend(&self, s: &mut State<N>, r: usize, store: Store) {
        let Phase::Loaded(before) = s.replicas[r].phase else { return };
        let may = s.replicas[r].holds || self.is(Mutation::AnIntentIsNotFenced);
        let write = Write { seen: before.version(), wanted: self.announced(before), may, compares: true };
        let intended = Phase::Intended { before, overtaken: false };
        if self.is(Mutation::NoIntent) {
            s.replicas[r].phase = intended;
            return;
        }
        match self.write(s, &write, store) {
            Some(Written::Done) => s.replicas[r].phase = intended,
            Some(Written::Superseded(theirs)) => self.found(s, r, theirs),
            Some(Written::Fenced) => s.replicas[r].phase = Phase::Ending,
            None => {
                s.replicas[r].memory.note(before);
                s.replicas[r].phase = Phase::Ending;
            }
        }
    }

    pub fn call(&self, s: &mut State<N>, r: usize) {
        let replica = s.replicas[r];
        let Phase::Intended { before, overtaken } = replica.phase else { return };
        // The lease outlives a call that begins now, or it does not begin. What is too late for that though the lease has
        // not ended yet, is the call that was refused.
        if !replica.holds && !self.is(Mutation::NoSendBy) {
            s.replicas[r].phase = Phase::Answered { before, answer: Answer::Nothing };
            return;
        }
        if before.token == s.stored.token && overtaken {
            // Its intent went with the store that was set back.
        } else if before.token == s.stored.token {
            s.books.ambiguous = (s.books.ambiguous + 1).min(MANY);
        } else if !overtaken {
            s.books.broken |= Invariant::SpentIsSpent.bit();
        }
        let known = replica.memory.known.is_some_and(|known| known.token == before.token);
        if replica.memory.passed & only(before.token) != 0 && !known {
            s.books.broken |= Invariant::SpentIsSpent.bit();
        }
        let announced = if self.is(Mutation::NoIntent) { 0 } else { self.announced(before).presented };
        if before.token == s.stored.token && announced < s.books.ambiguous {
            s.books.broken |= Invariant::Announced.bit();
        }
        let calls =
            |phase: Phase| matches!(phase, Phase::Called { before: other, late: false } if other.token == before.token);
        if s.replicas.iter().any(|other| calls(other.phase)) {
            s.books.broken |= Invariant::OneAtATime.bit();
        }
        s.replicas[r].phase = Phase::Called { before, late: !replica.holds };
    }

    pub fn serve(&self, s: &mut State<N>, r: usize, serving: Serving) {
        let Phase::Called { before, .. } = s.replicas[r].phase else { return };
        let reaches = matches!(serving, Serving::Answered | Serving::OddlyAnswered | Serving::AnswerLost);
        let spent = reaches && self.spend(s, before.token);
        let answer = match serving {
            Serving::Answered if spent => Answer::Issued(s.issue(s.is_imported(before.token))),
            Serving::OddlyAnswered if spent => {
                let token = s.issue(s.is_imported(before.token));
                if self.is(Mutation::ASuccessorFromAnOddAnswerIsDropped) {
                    s.books.owed |= only(token);
                    Answer::Unclear
                } else {
                    Answer::Issued(token)
                }
            }
            Serving::Answered | Serving::OddlyAnswered => Answer::No,
            // The successor, if there is one, is nobody's.
            Serving::AnswerLost | Serving::RequestLost if self.is(Mutation::AnUnclearAnswerIsTakenForANo) => Answer::No,
            Serving::AnswerLost | Serving::RequestLost => Answer::Unclear,
            Serving::Refused => Answer::Nothing,
        };
        if let Answer::Issued(token) = answer {
            s.books.owed |= only(token);
        }
        if matches!(answer, Answer::No | Answer::Nothing) && before.token == s.stored.token {
            s.books.ambiguous = s.books.ambiguous.saturating_sub(1);
        }
        if serving == Serving::RequestLost && self.is(Mutation::AnAbandonedCallIsNotReset) {
            s.undelivered |= only(before.token);
        }
        s.replicas[r].phase = Phase::Answered { before, answer };
    }

    /// The server takes them for a presentation. Nobody hears its answer.
    pub fn deliver_late(&self, s: &mut State<N>, token: Token) {
        s.undelivered &= !only(token);
        if token != s.stored.token {
            s.books.broken |= Invariant::SpentIsSpent.bit();
        }
        self.spend(s, token);
    }

    /// The server's side of a presentation; `false`: it says no.
    fn spend(&self, s: &mut State<N>, token: Token) -> bool {
        let live = s.is_live(token);
        s.server.live &= match live {
            true => !only(token),
            false if self.reuse == Reuse::IsRefused => s.server.live,
            false if s.is_imported(token) => !s.books.imported,
            false => s.books.imported,
        };
        live
    }

    pub fn record(&self, s: &mut State<N>, r: usize, store: Store) {
        let holds = s.replicas[r].holds;
        let Phase::Answered { before, answer } = s.replicas[r].phase else { return };
        let seen = before.version();
        let note = |wanted, may, compares| Write { seen, wanted, may, compares };
        let write = match answer {
            Answer::Issued(token) => return self.commit(s, r, before, token, store),
            Answer::Nothing if self.is(Mutation::AClearAnswerForgetsEarlierCalls) => {
                note(Grant { presented: 0, ..before }, holds, true)
            }
            Answer::Nothing => note(before, holds, true),
            Answer::Unclear => note(self.announced(before), holds, true),
            Answer::No => {
                let compares = !self.is(Mutation::ARefusalDoesNotCompare);
                note(Grant { presented: 0, needs_login: true, ..before }, true, compares)
            }
        };
        match self.write(s, &write, store) {
            Some(Written::Superseded(theirs)) => return self.found(s, r, theirs),
            Some(Written::Fenced)
                if s.stored.lineage.name() != write.wanted.lineage.name()
                    || s.stored.generation > write.wanted.generation =>
            {
                return self.found(s, r, s.stored);
            }
            _ => {}
        }
        s.replicas[r].memory.note(write.wanted);
        s.replicas[r].phase = Phase::Ending;
    }

    /// What the rotation was answered lives outside its task. The refresher stores it as it stores a pair whose commit failed.
    pub fn rotation_dies(&self, s: &mut State<N>, r: usize) {
        let Phase::Answered { before, answer } = s.replicas[r].phase else { return };
        if let Answer::Issued(token) = answer
            && !self.is(Mutation::ADeadRotationTakesItsAnswerAlong)
        {
            let memory = &mut s.replicas[r].memory;
            memory.adopt(before.successor(token));
            memory.unpersisted = Some(before.version());
        }
        s.replicas[r].phase = Phase::Ending;
    }

    fn commit(&self, s: &mut State<N>, r: usize, before: Grant, token: Token, store: Store) {
        let (mut seen, mut wanted) = (before.version(), before.successor(token));
        let may = s.replicas[r].holds || !self.is(Mutation::ACommitNeedsTheLease);
        let compares = !self.is(Mutation::ACommitDoesNotCompare);
        s.replicas[r].phase = Phase::Ending;
        let mut written = self.write(s, &Write { seen, wanted, may, compares }, store);
        if let Some(Written::Superseded(theirs)) = written
            && let Some(again) = self.rebased(wanted, theirs, seen)
        {
            (seen, wanted) = (theirs.version(), again);
            written = self.write(s, &Write { seen, wanted, may, compares }, store);
        }
        match written {
            Some(Written::Done) => s.replicas[r].memory.adopt(wanted),
            Some(Written::Superseded(theirs)) => {
                s.gave_way(token, theirs.token);
                self.found(s, r, theirs);
            }
            // Only the mutation gets here: no commit names a lease.
            Some(Written::Fenced) => {}
            None if self.is(Mutation::AFailedCommitIsNotTriedAgain) => {}
            None => {
                s.replicas[r].memory.adopt(wanted);
                s.replicas[r].memory.unpersisted = Some(seen);
            }
        }
    }
}
