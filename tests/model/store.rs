//! The store: one grant with compare-and-set, and one lease.

use bearer_proxy::internals::token::store::Meets;

use crate::actions::Store;
use crate::invariants::Invariant;
use crate::mutations::Mutation;
use crate::protocol::Protocol;
use crate::state::{Grant, Person, Phase, State, Version, only};

/// The store's answer.
pub enum Written {
    Done,
    Superseded(Grant),
    Fenced,
}

/// A write. An intent and a note need the lease, a commit does not.
pub struct Write {
    /// What it is to replace.
    pub seen: Version,
    pub wanted: Grant,
    /// `false`: it needs a lease that is not the present one.
    pub may: bool,
    pub compares: bool,
}

impl<const N: usize> Protocol<N> {
    /// `None`: the store's answer was lost, or it could not do it.
    pub fn write(&self, s: &mut State<N>, write: &Write, store: Store) -> Option<Written> {
        if store == Store::Fails {
            return None;
        }
        self.complete(s);
        let written = if write.may { self.compare_and_set(s, write) } else { Written::Fenced };
        (store == Store::Answers).then_some(written)
    }

    /// Whoever comes to the store first completes what a killed process wrote.
    pub fn complete(&self, s: &mut State<N>) {
        if let Some(written) = s.temporary.filter(|_| !self.is(Mutation::TheTemporaryDocumentIsThrownAway)) {
            s.temporary = None;
            self.put(s, written);
        }
    }

    fn put(&self, s: &mut State<N>, wanted: Grant) {
        if wanted.token != s.stored.token {
            s.books.ambiguous = 0;
            s.overtake();
        }
        s.books.owed &= !only(wanted.token);
        s.stored = wanted;
    }

    fn compare_and_set(&self, s: &mut State<N>, write: &Write) -> Written {
        let expected = match write.seen {
            _ if !write.compares => s.stored.version(),
            seen if self.is(Mutation::GenerationsAloneAreCompared) => {
                Version { lineage: s.stored.lineage.name(), token: s.stored.token, ..seen }
            }
            seen => seen,
        };
        match self.decisions.meets(expected, s.stored, write.wanted) {
            Meets::Wanted => return Written::Done,
            Meets::Other => return Written::Superseded(s.stored),
            Meets::Expected => {}
        }
        let replaces_an_import = s.is_imported(s.stored.token) && !s.is_imported(write.wanted.token);
        let back =
            write.seen != s.stored.version() || write.wanted.generation < s.stored.generation || replaces_an_import;
        if back && write.wanted != s.stored {
            s.books.broken |= Invariant::NeverBack.bit();
        }
        // Each write removes what an earlier one has left.
        s.temporary = None;
        self.put(s, write.wanted);
        Written::Done
    }

    pub fn end_lease(&self, s: &mut State<N>) {
        s.leased = false;
        for replica in s.replicas.iter_mut().filter(|replica| replica.holds) {
            replica.holds = false;
            if let Phase::Called { late, .. } = &mut replica.phase {
                *late = !self.is(Mutation::TheLeaseIsShorterThanTheCall);
            }
        }
        if let Person::Importing { holds, .. } = &mut s.person {
            *holds = false;
        }
    }
}
