//! The steps of `token/journal` and `token/refresher`. Each `await` there at which the world can change separates two steps here.

use std::collections::HashSet;
use std::fmt;
use std::sync::Mutex;

use bearer_proxy::internals::config::AmbiguousRetry;

use crate::actions::Action;
use crate::decisions::Decisions;
use crate::invariants::broken;
use crate::mutations::Mutation;
use crate::state::{Answer, Lineage, Phase, Replica, State, Token, only};

/// The protocol with `N` replicas.
pub struct Protocol<const N: usize> {
    pub decisions: Decisions,
    pub ambiguous_retry: AmbiguousRetry,
    pub reuse: Reuse,
    /// The number of refresh tokens that the server issues before the world ends.
    pub tokens: u8,
    pub backups: Backups,
    pub mutation: Option<Mutation>,
    /// The states that are known to make progress.
    pub progressing: Mutex<HashSet<State<N>>>,
}

/// The earlier states to which the store may be set back, at any moment and any number of times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backups {
    None,
    /// The first state.
    First,
}

/// What the server does when a spent token is presented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reuse {
    /// It refuses the token (league).
    IsRefused,
    /// It also revokes all tokens of that family (RFC 9700).
    Revokes,
}

impl<const N: usize> Protocol<N> {
    pub fn new(ambiguous_retry: AmbiguousRetry, reuse: Reuse, tokens: u8) -> Self {
        let decisions = Decisions::new(ambiguous_retry);
        Self {
            decisions,
            ambiguous_retry,
            reuse,
            tokens,
            backups: Backups::None,
            mutation: None,
            progressing: Mutex::default(),
        }
    }

    pub fn with(self, mutation: Mutation) -> Self {
        let backups = if mutation.is_about_a_store_that_is_set_back() { Backups::First } else { Backups::None };
        Self { mutation: Some(mutation), backups, ..self }
    }

    pub fn with_backups(self, backups: Backups) -> Self {
        Self { backups, ..self }
    }

    pub fn is(&self, mutation: Mutation) -> bool {
        self.mutation == Some(mutation)
    }

    pub fn after(&self, state: &State<N>, action: Action) -> State<N> {
        let mut next = *state;
        if matches!(action, Action::Lease(_) | Action::Load { .. } | Action::Look(_) | Action::ImportReads) {
            self.complete(&mut next);
        }
        let stored = next.stored;
        match action {
            Action::Lease(r) => {
                next.leased = true;
                next.replicas[r].holds = true;
                next.replicas[r].phase = Phase::Leased;
            }
            Action::Load { replica, expired } => self.load(&mut next, replica, expired),
            Action::Intend(r, store) => self.intend(&mut next, r, store),
            Action::Call(r) => self.call(&mut next, r),
            Action::Serve(r, serving) => self.serve(&mut next, r, serving),
            Action::Record(r, store) => self.record(&mut next, r, store),
            Action::Release(r) => {
                if next.replicas[r].holds || self.is(Mutation::TheReleaseIsNotFenced) {
                    next.leased = false;
                }
                next.replicas[r].holds = false;
                next.replicas[r].phase = Phase::Idle;
            }
            Action::FailToRelease(r) => {
                next.replicas[r].holds = false;
                next.replicas[r].phase = Phase::Idle;
            }
            Action::Look(r) => self.reconcile_with(&mut next, r, stored),
            Action::Persist(r, store) => self.persist(&mut next, r, store),
            Action::Restart(r) => self.restart(&mut next, r),
            Action::RotationDies(r) => self.rotation_dies(&mut next, r),
            Action::Restore => next.restore(),
            Action::Crash(r) => {
                if let Phase::Called { before, .. } = next.replicas[r].phase
                    && self.is(Mutation::AnAbandonedCallIsNotReset)
                {
                    next.undelivered |= only(before.token);
                }
                next.crash(r);
            }
            Action::CrashBeforeRename(r) => {
                if let Phase::Answered { before, answer: Answer::Issued(token) } = next.replicas[r].phase {
                    next.crash(r);
                    next.temporary = Some(before.successor(token));
                    next.books.owed |= only(token);
                }
            }
            Action::DeliverLate(token) => self.deliver_late(&mut next, token),
            Action::LeaseEnds => self.end_lease(&mut next),
            Action::ImportReads => self.read_for_import(&mut next),
            Action::ImportWrites { bare } => self.import(&mut next, bare),
            Action::Publish(r) => {
                if let Phase::Answered { before, answer: Answer::Issued(token) } = next.replicas[r].phase {
                    next.replicas[r].memory.adopt(before.successor(token));
                }
            }
        }
        next.books.set_back &= next.server.live & !only(next.stored.token);
        if next.is_imported(next.stored.token) {
            // A person's grant takes the place of the others.
            next.books.set_back &= next.books.imported;
        }
        next.forget();
        next.books.broken |= broken(&next);
        next
    }
}

impl<const N: usize> State<N> {
    fn crash(&mut self, r: usize) {
        let before = self.held();
        self.replicas[r] = Replica::default();
        // What it alone had is lost with it, and nobody could have helped that.
        self.books.owed &= !(before & !self.held());
        self.books.set_back &= self.known();
    }

    /// Makes one of states with the same future. Which replica is which makes no difference. Who knows a generation that the store
    /// has left behind does what one does that knows none. Of the passed tokens, only the stored one and the backup's are ever asked for.
    fn forget(&mut self) {
        for memory in self.replicas.iter_mut().map(|replica| &mut replica.memory) {
            memory.passed &= only(self.stored.token) | self.backup.map_or(0, |backup| only(backup.token));
            let floor =
                self.backup.map_or(self.stored.generation, |backup| backup.generation.min(self.stored.generation));
            memory.known = memory.known.filter(|known| memory.unpersisted.is_some() || known.generation >= floor);
        }
        // With a backup, what was left behind may come again.
        let phases = self.replicas.iter_mut().filter(|_| self.backup.is_none());
        for phase in phases.map(|replica| &mut replica.phase) {
            match phase {
                Phase::Loaded(before)
                | Phase::Intended { before, .. }
                | Phase::Called { before, .. }
                | Phase::Answered { before, .. }
                    if before.token != self.stored.token =>
                {
                    before.presented = 0;
                }
                _ => {}
            }
            match phase {
                Phase::Loaded(before)
                | Phase::Answered { before, answer: Answer::No | Answer::Nothing | Answer::Unclear }
                    if before.generation < self.stored.generation =>
                {
                    (before.lineage, before.generation, before.token) = (Lineage::First, 0, 0);
                }
                _ => {}
            }
        }
        self.replicas.sort_unstable();
    }

    pub fn issue(&mut self, imported: bool) -> Token {
        let token = self.server.issued;
        self.server.issued += 1;
        self.server.live |= only(token);
        if imported {
            self.books.imported |= only(token);
        }
        token
    }
}

impl<const N: usize> fmt::Debug for Protocol<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { ambiguous_retry, reuse, tokens, backups, .. } = self;
        write!(f, "{ambiguous_retry:?}, reuse {reuse:?}, {tokens} tokens issued, backups: {backups:?}")
    }
}
