//! A person who stores a grant while the processes run: what `src/token/new_grant.rs` does.

use crate::judge::Change;
use crate::mutation::Mutation;
use crate::protocol::{GiftKind, Protocol};
use crate::state::{Gift, Person, Phase, Record, State};
use crate::store::{Expect, Match, Written};

// === impl Protocol ===

impl Protocol {
    pub fn log_in(&self, state: &mut State, kind: GiftKind) {
        let family = u8::try_from(state.server.tokens.len()).expect("few tokens");
        let gift = match kind {
            GiftKind::Pair => {
                state.server.access += 1;
                Gift::Pair { refresh: self.issue(state, family, None), access: state.server.access }
            }
            GiftKind::Bare => Gift::Bare(self.issue(state, family, None)),
            GiftKind::Again => Gift::Again,
        };
        state.person = Person::Waiting(gift);
    }

    pub fn can_import(&self, state: &State) -> bool {
        self.can_lease(state) || self.is(Mutation::ImportWithoutLease)
    }

    pub fn import(&self, state: &mut State, store: Result<(), bool>) {
        match state.person {
            Person::Away => {}
            Person::Waiting(gift) => {
                let holds = !self.is(Mutation::ImportWithoutLease);
                if holds {
                    state.store.lease = Some(Phase::Ample);
                }
                state.person = Person::Holding { gift, seen: state.store.record, holds };
            }
            Person::Holding { gift, seen, holds } => {
                let written = self.replace(state, gift, seen, holds, store);
                if holds && matches!(state.person, Person::Holding { .. }) {
                    state.store.lease = None;
                }
                state.person = match written {
                    Written::Done | Written::Failed => Person::Away,
                    Written::Superseded(_) | Written::Fenced => Person::Waiting(gift),
                };
            }
        }
    }

    fn replace(&self, state: &mut State, gift: Gift, seen: Record, holds: bool, store: Result<(), bool>) -> Written {
        let version =
            if self.is(Mutation::ImportComparesNothing) { Match::Anything } else { Match::Exact(seen.version()) };
        let mut new = gift.after(&seen);
        if self.is(Mutation::ImportBeginsAnew) {
            new.generation = 1;
        }
        let fenced = !self.is(Mutation::ImportWithoutLease);
        let written = self.write(state, holds, Expect { version, fenced }, new, Change::Import { seen }, store);
        if gift == Gift::Again && state.store.record == new {
            state.issued(new.refresh).given_again = true;
        }
        written
    }
}
