//! The steps of a replica between its rotations, as in `token/refresher/store_sync`.

use bearer_proxy::internals::token::refresher::Reconciliation;

use crate::actions::Store;
use crate::mutations::Mutation;
use crate::protocol::Protocol;
use crate::state::{Grant, Lineage, Memory, Phase, State, Version};
use crate::store::{Write, Written};

impl<const N: usize> Protocol<N> {
    /// The state of the refresher lives outside its task, so a restart of the task changes nothing.
    pub fn restart(&self, s: &mut State<N>, r: usize) {
        if self.is(Mutation::ARestartedRefresherForgetsWhatItHolds) {
            s.replicas[r].memory = Memory::default();
        }
    }

    /// Writes a known record that is not stored: a successor, or a person's grant in another generation. The latter is one step here,
    /// because the lease excludes other steps in between.
    pub fn persist(&self, s: &mut State<N>, r: usize, store: Store) {
        let memory = s.replicas[r].memory;
        let (Some(seen), Some(known)) = (memory.unpersisted, memory.known) else { return };
        let wanted = match memory.renumbers() && !self.is(Mutation::ARenumberingNeedsNoLease) {
            // The notes about the grant stay.
            true => Grant {
                lineage: known.lineage,
                generation: known.generation,
                token: known.token,
                needs_login: s.stored.needs_login && known.lineage.name() == s.stored.lineage.name(),
                ..s.stored
            },
            false => known,
        };
        let compares = !self.is(Mutation::ACommitDoesNotCompare);
        match self.write(s, &Write { seen, wanted, may: true, compares }, store) {
            Some(Written::Superseded(theirs)) => {
                let memory = &mut s.replicas[r].memory;
                if let Some(again) = self.rebased(known, theirs, seen) {
                    memory.adopt(again);
                    memory.unpersisted = Some(theirs.version());
                } else {
                    memory.unpersisted = None;
                    s.gave_way(known.token, theirs.token);
                    self.reconcile_with(s, r, theirs);
                }
            }
            Some(_) => s.replicas[r].memory.unpersisted = None,
            None => {}
        }
    }

    pub fn rebased(&self, ours: Grant, theirs: Grant, seen: Version) -> Option<Grant> {
        let ignored = match self.decisions.is_behind(theirs, ours) {
            true => self.is(Mutation::AnAnswerIsLostWhereTheStoreWasSetBack),
            false => self.is(Mutation::ARenumberedTokenIsAnother),
        };
        self.decisions.rebased(ours, theirs, seen).filter(|_| !ignored)
    }

    /// A rotation found another record under the lease.
    pub fn found(&self, s: &mut State<N>, r: usize, stored: Grant) {
        self.reconcile_with(s, r, stored);
        let memory = &mut s.replicas[r].memory;
        if memory.known.is_some_and(|known| known.version() == stored.version()) {
            memory.adopt(stored);
        }
        s.replicas[r].phase = Phase::Ending;
    }

    pub fn reconcile_with(&self, s: &mut State<N>, r: usize, stored: Grant) {
        let memory = &mut s.replicas[r].memory;
        let known = memory.known;
        let compared = match known {
            Some(known) if self.is(Mutation::GenerationsAloneAreReconciled) => {
                Grant { lineage: known.lineage, ..stored }
            }
            _ => stored,
        };
        match self.decisions.reconcile(compared, known) {
            Reconciliation::Unchanged => {}
            Reconciliation::Renewed | Reconciliation::Changed => memory.adopt(stored),
            Reconciliation::Behind if !self.is(Mutation::ASetBackStoreIsTakenForANewGrant) => {
                memory.unpersisted = Some(stored.version());
            }
            Reconciliation::Behind | Reconciliation::Renumber => {
                let Some(known) = known else { return };
                // A restored grant keeps the access token in use and its generation.
                let generation = match self.decisions.is_behind(stored, known) {
                    true => known.generation,
                    false => stored.generation.max(known.generation + 1),
                };
                let lineage = match (stored.lineage, known.lineage) {
                    (Lineage::First, Lineage::Imported) => Lineage::Restored,
                    (lineage, _) => lineage,
                };
                memory.adopt(Grant { lineage, generation, ..stored });
                memory.unpersisted = Some(stored.version());
            }
        }
    }
}
