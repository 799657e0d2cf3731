//! One rotation, step by step: what `src/token/journal.rs` does.

use crate::judge::Change;
use crate::mutation::Mutation;
use crate::protocol::Protocol;
use crate::state::{Answer, Attempt, FIRST, Outcome, Phase, Record, State, Step, Token, Version};
use crate::store::{Expect, Match, Written};

/// What is done with a loaded record.
enum Plan {
    Present { token: Token, unclear: u8 },
    NeedsLogin,
}

// === impl Protocol ===

impl Protocol {
    /// `store`: whether it fails in this step, and then whether it has done what was asked.
    pub fn step(&self, state: &mut State, who: usize, store: Result<(), bool>) {
        match state.replicas[who].step.clone() {
            Step::Leasing(known) => self.lease_and_load(state, who, known, store),
            Step::Loaded(attempt) => self.intend(state, who, &attempt, store),
            Step::GivingUp(before) => self.give_up(state, who, &before, store),
            Step::Intended(attempt) => self.call(state, who, attempt),
            Step::Answered(attempt, Answer::Issued { refresh, access }) => {
                self.commit(state, who, &attempt, refresh, access, store);
            }
            Step::Answered(attempt, answer) => self.note(state, who, &attempt, answer, store),
            Step::Ended(outcome) => self.end(state, who, outcome),
            Step::Down | Step::Idle | Step::Calling { .. } => {}
        }
    }

    fn finish(&self, state: &mut State, who: usize, outcome: Outcome) {
        if !self.is(Mutation::NotReleased) {
            state.release(who);
        }
        state.replicas[who].overtaken = false;
        state.replicas[who].step = Step::Ended(outcome);
    }

    fn lease_and_load(&self, state: &mut State, who: usize, known: Option<Version>, store: Result<(), bool>) {
        let stored = state.store.record;
        let newer = known.is_none_or(|known| stored.generation > known.generation);
        if !self.can_lease(state) {
            return self.finish(state, who, Outcome::Adopted(stored));
        }
        if let Err(applied) = store {
            state.store.lease = applied.then_some(Phase::Ample);
            return self.finish(state, who, Outcome::Failed { rejected: false, record: None });
        }
        if !self.is(Mutation::NoLease) {
            state.store.lease = Some(Phase::Ample);
            state.replicas[who].holds = true;
        }
        if newer && !stored.needs_login && !self.first_to_try(&stored) {
            return self.finish(state, who, Outcome::Adopted(stored));
        }
        let loaded = match state.replicas[who].record {
            Some(record) if self.is(Mutation::NotReloaded) => record,
            _ => stored,
        };
        match self.plan(&loaded) {
            Plan::Present { token, unclear } => {
                let before = self.set_aside(loaded, token);
                state.replicas[who].step = Step::Loaded(Attempt { before, token, unclear });
            }
            Plan::NeedsLogin if loaded.needs_login => {
                self.finish(state, who, Outcome::Failed { rejected: true, record: Some(loaded) });
            }
            Plan::NeedsLogin => state.replicas[who].step = Step::GivingUp(loaded),
        }
    }

    /// What is kept of an intent for another token than `token`: that one must not be presented any more.
    fn set_aside(&self, mut record: Record, token: Token) -> Record {
        if self.is(Mutation::FirstBeforeUnclear) {
            return record;
        }
        if let Some(intent) = record.intent.take_if(|intent| intent.token != token) {
            record.taken |= intent.token == FIRST;
            record.needs_login |= intent.token == record.refresh;
        }
        record
    }

    fn intend(&self, state: &mut State, who: usize, attempt: &Attempt, store: Result<(), bool>) {
        let fenced = !self.is(Mutation::IntentNotFenced) && !self.is(Mutation::NoLease);
        let expect = Expect { version: Match::Exact(attempt.before.version()), fenced };
        let written = if self.is(Mutation::NoIntent) {
            Written::Done
        } else {
            let holds = state.replicas[who].holds;
            self.write(state, holds, expect, attempt.announced(), Change::Note, store)
        };
        match written {
            Written::Done => state.replicas[who].step = Step::Intended(*attempt),
            Written::Superseded(theirs) => self.finish(state, who, Outcome::Adopted(theirs)),
            Written::Fenced => self.finish(state, who, Outcome::Failed { rejected: false, record: None }),
            Written::Failed => {
                self.finish(state, who, Outcome::Failed { rejected: false, record: Some(attempt.before) });
            }
        }
    }

    fn call(&self, state: &mut State, who: usize, attempt: Attempt) {
        state.judge_presentation(who, &attempt);
        state.issued(attempt.token).unclear += self.unclear();
        let ample = state.store.lease == Some(Phase::Ample);
        state.replicas[who].step = Step::Calling { attempt, paused: false, ample, raced: false };
    }

    pub fn too_late(&self, state: &mut State, who: usize) {
        if let Step::Intended(attempt) = state.replicas[who].step {
            state.replicas[who].step = Step::Answered(attempt, Answer::Transient);
        }
    }

    pub fn renewed(&self, attempt: &Attempt, refresh: Token, access: u8) -> Record {
        Record {
            generation: attempt.before.generation + 1,
            refresh,
            access,
            intent: None,
            needs_login: false,
            taken: attempt.before.taken || attempt.token == FIRST,
        }
    }

    fn commit(
        &self,
        state: &mut State,
        who: usize,
        attempt: &Attempt,
        refresh: Token,
        access: u8,
        store: Result<(), bool>,
    ) {
        let before = attempt.before;
        let mut new = self.renewed(attempt, refresh, access);
        new.needs_login = self.is(Mutation::CommitKeepsNeedsLogin) && state.store.record.needs_login;
        let expect = self.expect_of_commit(before.version());
        let matched = state.store.record.version() == before.version();
        let late = !state.replicas[who].holds;
        let holds = state.replicas[who].holds;
        let written = self.write(state, holds, expect, new, Change::Commit { before }, store);
        if written != Written::Failed {
            state.judge_commit(matched, &new);
        }
        if late && matched {
            state.overtake(who);
        }
        let unpersisted = (!self.is(Mutation::UnpersistedForgotten)).then_some(before.version());
        let outcome = match written {
            Written::Done => Outcome::Renewed { record: new, unpersisted: None },
            Written::Superseded(theirs) => Outcome::Adopted(theirs),
            Written::Fenced | Written::Failed => Outcome::Renewed { record: new, unpersisted },
        };
        self.finish(state, who, outcome);
    }

    pub fn expect_of_commit(&self, version: Version) -> Expect {
        let version = match self.mutation {
            Some(Mutation::CommitComparesGeneration) => Match::Generation(version.generation),
            Some(Mutation::CommitComparesToken) => Match::Token(version.refresh),
            Some(Mutation::CommitComparesNothing) => Match::Anything,
            _ => Match::Exact(version),
        };
        Expect { version, fenced: self.is(Mutation::CommitFenced) }
    }

    /// The outcome of a call that brought nothing.
    fn note(&self, state: &mut State, who: usize, attempt: &Attempt, answer: Answer, store: Result<(), bool>) {
        let before = attempt.before;
        let exact = Match::Exact(before.version());
        let rejected =
            answer == Answer::Rejected || self.is(Mutation::AmbiguousIsRefusal) && answer == Answer::Ambiguous;
        let fenced = !self.is(Mutation::NoteNotFenced) && !self.is(Mutation::NoLease);
        let (record, expect) = match answer {
            _ if rejected => {
                let version = if self.is(Mutation::RefusalComparesNothing) { Match::Anything } else { exact };
                (self.rejected(before, attempt.token), Expect { version, fenced: self.is(Mutation::RefusalFenced) })
            }
            Answer::Transient if self.is(Mutation::TransientClearsIntent) => {
                (Record { intent: None, ..before }, Expect { version: exact, fenced })
            }
            Answer::Transient => (before, Expect { version: exact, fenced }),
            _ if self.is(Mutation::AmbiguousClearsIntent) => {
                (Record { intent: None, ..before }, Expect { version: exact, fenced })
            }
            _ => (attempt.announced(), Expect { version: exact, fenced }),
        };
        let holds = state.replicas[who].holds;
        let late = !holds && rejected && state.store.record.version() == before.version();
        let written = self.write(state, holds, expect, record, Change::Note, store);
        if late {
            state.overtake(who);
        }
        let outcome = match written {
            Written::Superseded(theirs) => Outcome::Adopted(theirs),
            Written::Done | Written::Fenced | Written::Failed => Outcome::Failed { rejected, record: Some(record) },
        };
        self.finish(state, who, outcome);
    }

    /// The record after a clear no to `token`.
    fn rejected(&self, before: Record, token: Token) -> Record {
        let taken = before.taken || self.first && token == FIRST;
        let needs_login = before.needs_login || before.refresh == token;
        Record { intent: None, needs_login, taken, ..before }
    }

    fn give_up(&self, state: &mut State, who: usize, before: &Record, store: Result<(), bool>) {
        let record = Record { needs_login: true, ..*before };
        let expect = Expect { version: Match::Exact(before.version()), fenced: !self.is(Mutation::NoLease) };
        let holds = state.replicas[who].holds;
        let _ = self.write(state, holds, expect, record, Change::Note, store);
        self.finish(state, who, Outcome::Failed { rejected: true, record: Some(record) });
    }

    pub fn first_to_try(&self, record: &Record) -> bool {
        self.first && !record.taken && record.refresh != FIRST
    }

    pub fn presents(&self, record: &Record) -> bool {
        matches!(self.plan(record), Plan::Present { .. })
    }

    fn plan(&self, record: &Record) -> Plan {
        let present = |token| {
            let unclear = record.unclear(token);
            self.policy.is_none_or(|limit| unclear < limit).then_some(Plan::Present { token, unclear })
        };
        let stored = || if record.needs_login { None } else { present(record.refresh) };
        // The store has room for one intent: what is unclear is cleared up before another token is announced.
        let unclear = record.unclear(record.refresh) > 0 && !self.is(Mutation::FirstBeforeUnclear);
        let first = match self.first_to_try(record) {
            true if unclear => stored().or_else(|| present(FIRST)),
            true => present(FIRST),
            false => None,
        };
        first.or_else(stored).unwrap_or(Plan::NeedsLogin)
    }
}
