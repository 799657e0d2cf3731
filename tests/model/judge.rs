//! The invariants, and who watches over them: code that no mutation reaches.
//!
//! What concerns one step is judged while it is made, and leaves its mark in [`State::broken`]; what can be seen in a state is
//! judged there.

use crate::protocol::Protocol;
use crate::state::{Attempt, Record, State, Status, Step, Token};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Invariant {
    /// 1. No refresh token is presented once the store holds its successor, nor by a process that holds its successor unstored.
    ///    One gap can't be closed: a process whose lease has run out stores its late answer while another, whose intent is
    ///    already stored, is about to call.
    SpentIsNotPresented,
    /// 2. A stored grant is replaced by its own successor or by a person alone, never by something older; its generation grows by
    ///    one with each access token, and never goes back, neither in the store nor in what a process runs on.
    NewerIsNotOverwritten,
    /// 3. A token is presented again only if the store says how often it was presented without a clear answer before.
    UnclearIsRecorded,
    /// 4. No two calls are under way at once, unless a process was paused for longer than its lease.
    OneCallAtATime,
    /// 5. An answer is stored whenever it comes, if the store still holds what was presented for it; the grant then needs no login.
    LateAnswerIsKept,
    /// 6. A grant needs a login only if its refresh token is dead, or may be and `oauth.ambiguous_retry` forbids to find out.
    LoginIsNeeded,
    /// 7. A grant is lost only if the server's answer was lost, or its only reader died before the store took it.
    NothingIsThrownAway,
    /// 8. Requests run on the token of the record, and that is stored, or the store was asked to take it and failed.
    StoredBeforeUse,
    /// 9. As soon as nothing more goes wrong, each process knows what is stored, and the grant is renewed or needs a login.
    Settles,
}

/// Why the store is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// An intent, or the outcome of a call that brought nothing.
    Note,
    /// The new pair for what was presented under this record.
    Commit {
        before: Record,
    },
    Import {
        seen: Record,
    },
}

// === impl Invariant ===

impl Invariant {
    pub const ALL: [Self; 9] = [
        Self::SpentIsNotPresented,
        Self::NewerIsNotOverwritten,
        Self::UnclearIsRecorded,
        Self::OneCallAtATime,
        Self::LateAnswerIsKept,
        Self::LoginIsNeeded,
        Self::NothingIsThrownAway,
        Self::StoredBeforeUse,
        Self::Settles,
    ];
}

// === impl State ===

impl State {
    pub fn require(&mut self, holds: bool, invariant: Invariant) {
        if !holds && self.broken.is_none() {
            self.broken = Some(invariant);
        }
    }

    /// Before the bytes leave.
    pub fn judge_presentation(&mut self, who: usize, attempt: &Attempt) {
        let Attempt { before, token, .. } = *attempt;
        let replica = &self.replicas[who];
        let (overtaken, unstored) = (replica.overtaken, replica.unpersisted.is_some());
        let stored = self.store.record;
        let unchanged = stored.version() == before.version();
        self.require((unchanged || overtaken) && !unstored, Invariant::SpentIsNotPresented);
        let issued = self.server.tokens[usize::from(token)];
        let recorded = stored.unclear(token) > issued.unclear;
        self.require(recorded || overtaken || issued.given_again, Invariant::UnclearIsRecorded);
        let alone = self
            .replicas
            .iter()
            .enumerate()
            .all(|(other, replica)| other == who || !matches!(replica.step, Step::Calling { paused: false, .. }));
        self.require(alone, Invariant::OneCallAtATime);
    }

    /// Before the record is replaced.
    pub fn judge_write(&mut self, change: Change, new: &Record, policy: Option<u8>) {
        let old = self.store.record;
        let grant = |record: &Record| (record.generation, record.refresh, record.access);
        let in_order = match change {
            Change::Note => grant(&old) == grant(new),
            Change::Commit { before } => before.version() == old.version() && new.generation == old.generation + 1,
            Change::Import { seen } => {
                seen.version() == old.version() && new.generation == old.generation + u8::from(new.access != old.access)
            }
        };
        self.require(in_order, Invariant::NewerIsNotOverwritten);
        if new.needs_login && !old.needs_login {
            let forbidden = policy.is_some_and(|limit| old.unclear(old.refresh) >= limit);
            self.require(forbidden || !self.is_live(new.refresh), Invariant::LoginIsNeeded);
        }
    }

    /// After a commit that the store has answered.
    pub fn judge_commit(&mut self, matched: bool, new: &Record) {
        let kept = self.store.record.version() == new.version() && !self.store.record.needs_login;
        self.require(kept || !matched, Invariant::LateAnswerIsKept);
    }

    /// Before a process goes on with `record`.
    pub fn judge_use(&mut self, who: usize, record: &Record) {
        let replica = &self.replicas[who];
        let tried = replica.unpersisted.is_some();
        let back = replica.record.is_some_and(|present| present.generation > record.generation);
        // What the store never took can be given up for what it holds.
        let stored = record.version() == self.store.record.version();
        self.require(!back || stored, Invariant::NewerIsNotOverwritten);
        self.require(tried || record.generation <= self.store.record.generation, Invariant::StoredBeforeUse);
    }

    /// What can be seen in the state itself.
    pub fn judge(&mut self) {
        let runs_on_its_record = self.replicas.iter().all(|replica| {
            replica.step == Step::Down
                || replica.live == replica.record.map(|record| (record.generation, record.access))
        });
        self.require(runs_on_its_record, Invariant::StoredBeforeUse);
        let stored = self.store.record.refresh;
        let issued = self.server.tokens[usize::from(stored)];
        if issued.status == Status::Spent && !issued.lost {
            let from = |token: Token| self.server.tokens[usize::from(token)].from;
            let held =
                self.replicas.iter().filter_map(|replica| replica.unstored()).any(|token| from(token) == Some(stored));
            self.require(held, Invariant::NothingIsThrownAway);
        }
    }
}

// === impl Protocol ===

impl Protocol {
    /// Goes on from here without faults, in one order of the steps; see [`Invariant::Settles`].
    ///
    /// One order is enough: every state that another order leads to is reachable, and is asked the same.
    pub fn settles(&self, state: &State) -> bool {
        let mut state = state.clone();
        state.faults = Default::default();
        state.server.orphans.clear();
        // What is broken on the way is found where it is broken.
        self.ends_well(&mut state) || state.broken.is_some()
    }

    fn ends_well(&self, state: &mut State) -> bool {
        if !self.quiesce(state) || !self.in_agreement(state) {
            return false;
        }
        // A first token that fails is followed by the stored one.
        for _ in 0..3 {
            let generation = state.store.record.generation;
            if state.store.record.needs_login {
                return true;
            }
            let Some(who) = state.replicas.iter().position(|replica| self.may_begin_unasked(replica)) else {
                return !state.is_live(state.store.record.refresh);
            };
            self.begin(state, who);
            if !self.quiesce(state) || !self.in_agreement(state) {
                return false;
            }
            if state.store.record.generation > generation {
                return true;
            }
        }
        state.store.record.needs_login
    }

    /// Whether all know what is stored. A token that was refused is dead even where the store could not be told.
    fn in_agreement(&self, state: &State) -> bool {
        let stored = &state.store.record;
        let dead = stored.needs_login || !state.is_live(stored.refresh);
        state.replicas.iter().all(|replica| {
            replica.record.is_some_and(|record| {
                record.version() == stored.version()
                    && (record.needs_login || !stored.needs_login)
                    && (!record.needs_login && !replica.resting || dead)
            })
        })
    }

    /// Steps until there is nothing more to do; `false`: there is no end.
    fn quiesce(&self, state: &mut State) -> bool {
        for _ in 0..200 {
            match self.next_without_faults(state) {
                Some(action) => self.apply(state, action),
                None => return true,
            }
        }
        false
    }
}
