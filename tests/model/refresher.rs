//! What a process does beside its rotations: what `src/token/refresher.rs` does.

use crate::judge::Change;
use crate::mutation::Mutation;
use crate::protocol::Protocol;
use crate::state::{Orphan, Outcome, Record, Replica, State, Step};
use crate::store::Written;

// === impl Protocol ===

impl Protocol {
    pub fn begin(&self, state: &mut State, who: usize) {
        let known = state.replicas[who].record.map(|record| record.version());
        state.replicas[who].step = Step::Leasing(known);
        state.replicas[who].looked = false;
    }

    /// Whether the schedule has a refresh begin, as soon as one is due.
    pub fn may_begin_unasked(&self, replica: &Replica) -> bool {
        replica.step == Step::Idle
            && !replica.resting
            && replica.unpersisted.is_none()
            && replica.record.is_none_or(|record| match self.is(Mutation::ExhaustionNotNoted) {
                true => self.presents(&record),
                false => self.first_to_try(&record) || !record.needs_login,
            })
    }

    pub fn end(&self, state: &mut State, who: usize, outcome: Outcome) {
        let replica = &mut state.replicas[who];
        replica.step = Step::Idle;
        let looked = replica.looked && !self.is(Mutation::RotationGoesBack);
        let present = replica.record;
        let outdated =
            |record: &Record| looked && present.is_some_and(|present| record.generation <= present.generation);
        match outcome {
            Outcome::Renewed { record, .. } | Outcome::Adopted(record) if outdated(&record) => {}
            Outcome::Renewed { record, unpersisted } => {
                replica.unpersisted = unpersisted;
                self.adopt(state, who, record);
            }
            Outcome::Adopted(record) => self.adopt(state, who, record),
            Outcome::Failed { rejected, record } => {
                if let Some(record) = record.filter(|record| !outdated(record)) {
                    self.go_on_with(state, who, record);
                }
                let replica = &mut state.replicas[who];
                replica.resting = rejected && replica.record.is_none_or(|record| record.needs_login);
            }
        }
    }

    fn adopt(&self, state: &mut State, who: usize, record: Record) {
        let replica = &mut state.replicas[who];
        if replica.record.map(|present| present.version()) != Some(record.version()) {
            replica.resting = false;
        }
        self.go_on_with(state, who, record);
    }

    pub fn go_on_with(&self, state: &mut State, who: usize, record: Record) {
        state.judge_use(who, &record);
        let replica = &mut state.replicas[who];
        replica.record = Some(record);
        let same = replica.live.is_some_and(|(generation, _)| generation == record.generation);
        if !same || !self.is(Mutation::SameGenerationKeepsToken) {
            replica.live = Some((record.generation, record.access));
        }
    }

    /// The watch has told of a change.
    pub fn look(&self, state: &mut State, who: usize, readable: bool) {
        let stored = state.store.record;
        let replica = &mut state.replicas[who];
        replica.news = !readable && !self.is(Mutation::MissedLookForgotten);
        if replica.unpersisted.is_some() || !readable {
            return;
        }
        replica.looked = replica.step != Step::Idle;
        let Some(known) = replica.record else { return self.adopt(state, who, stored) };
        let same = stored.generation == known.generation;
        let differs = match self.is(Mutation::IntentNotNoticed) {
            true => stored.version() != known.version() || stored.needs_login != known.needs_login,
            false => stored != known,
        };
        if stored.generation > known.generation || same && differs {
            let bare = same && stored.intent.is_none() && !stored.needs_login;
            if bare && (stored.version() != known.version() || known.needs_login) {
                replica.resting = false;
            }
            self.adopt(state, who, stored);
        }
    }

    pub fn persist(&self, state: &mut State, who: usize, store: Result<(), bool>) {
        let replica = &state.replicas[who];
        let (Some(expected), Some(record), holds) = (replica.unpersisted, replica.record, replica.holds) else {
            return;
        };
        let matched = state.store.record.version() == expected;
        let before = Record { generation: expected.generation, refresh: expected.refresh, ..record };
        let expect = self.expect_of_commit(expected);
        let written = self.write(state, holds, expect, record, Change::Commit { before }, store);
        if matched {
            state.overtake(who);
        }
        if written != Written::Failed {
            state.judge_commit(matched, &record);
        }
        match written {
            Written::Done => state.replicas[who].unpersisted = None,
            Written::Superseded(theirs) => {
                state.replicas[who].unpersisted = None;
                self.adopt(state, who, theirs);
            }
            Written::Fenced | Written::Failed => {}
        }
    }

    pub fn crash(&self, state: &mut State, who: usize) {
        if let Some(token) = state.replicas[who].unstored()
            && let Some(from) = state.issued(token).from
        {
            state.issued(from).lost = true;
        }
        if let Step::Calling { attempt, raced, .. } = state.replicas[who].step {
            state.server.orphans.push(Orphan { token: attempt.token, raced });
            state.server.orphans.sort_unstable();
        }
        state.replicas[who] = Replica {
            step: Step::Down,
            record: None,
            live: None,
            unpersisted: None,
            resting: false,
            news: false,
            holds: false,
            looked: false,
            overtaken: false,
        };
    }

    pub fn restart(&self, state: &mut State, who: usize, readable: bool) {
        let stored = state.store.record;
        let replica = &mut state.replicas[who];
        replica.step = Step::Idle;
        if readable {
            self.go_on_with(state, who, stored);
        }
    }
}
