//! What a replica does beside its rotations, as `token/refresher/upkeep` does it.

use bearer_proxy::token::refresher::News;

use crate::actions::Store;
use crate::mutations::Mutation;
use crate::protocol::Protocol;
use crate::state::{Grant, Phase, State, Version};
use crate::store::{Write, Written};

impl<const N: usize> Protocol<N> {
    /// A write of what is known and not stored: a successor, or a person's grant under another number. The latter is one step here,
    /// since under the lease nobody can come between.
    pub fn persist(&self, s: &mut State<N>, r: usize, store: Store) {
        let memory = s.replicas[r].memory;
        let (Some(seen), Some(known)) = (memory.unpersisted, memory.known) else { return };
        let wanted = match memory.renumbers() && !self.is(Mutation::ARenumberingNeedsNoLease) {
            // What was noted of the grant stays.
            true => Grant { generation: known.generation, token: known.token, ..s.stored },
            false => known,
        };
        let compares = !self.is(Mutation::ACommitDoesNotCompare);
        match self.write(s, &Write { seen, wanted, may: true, compares }, store) {
            Some(Written::Superseded(theirs)) => {
                let memory = &mut s.replicas[r].memory;
                if let Some(again) = self.renumbered(known, theirs, seen) {
                    memory.adopt(again);
                    memory.unpersisted = Some(theirs.version());
                } else {
                    memory.unpersisted = None;
                    s.gave_way(known.token, theirs.token);
                    self.take_up(s, r, theirs);
                }
            }
            Some(_) => s.replicas[r].memory.unpersisted = None,
            None => {}
        }
    }

    pub fn renumbered(&self, ours: Grant, theirs: Grant, seen: Version) -> Option<Grant> {
        self.decisions.renumbered(ours, theirs, seen).filter(|_| !self.is(Mutation::ARenumberedTokenIsAnother))
    }

    /// A rotation came upon something else, under the lease.
    pub fn found(&self, s: &mut State<N>, r: usize, stored: Grant) {
        self.take_up(s, r, stored);
        let memory = &mut s.replicas[r].memory;
        if memory.known.is_some_and(|known| known.version() == stored.version()) {
            memory.adopt(stored);
        }
        s.replicas[r].phase = Phase::Ending;
    }

    pub fn take_up(&self, s: &mut State<N>, r: usize, stored: Grant) {
        let memory = &mut s.replicas[r].memory;
        match self.decisions.news(stored, memory.known, memory.passed) {
            News::None => {}
            News::Renewed | News::Changed => memory.adopt(stored),
            News::Behind => memory.unpersisted = Some(stored.version()),
            News::Renumber => {
                let generation = memory.known.map_or(stored.generation, |known| known.generation + 1);
                memory.adopt(Grant { generation, ..stored });
                memory.unpersisted = Some(stored.version());
            }
        }
    }
}
