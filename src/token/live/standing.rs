//! The evidence about one access token: whether the upstream still accepts it.
//!
//! A client can make the upstream refuse any token by requesting a forbidden path. So a refusal alone is reported, but does not make
//! the proxy unready. A token is dead if the upstream refuses it and a refresh may have revoked it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};

/// The evidence about one token, shared by all workers.
#[derive(Debug, Default)]
pub(super) struct Standing {
    /// An accepted request would change the evidence. Each response reads this flag without the lock.
    open: AtomicBool,
    evidence: Mutex<Evidence>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Evidence {
    refused: Option<Refused>,
    /// The refresh of this token ended as rejected or ambiguous: the server may have revoked the token.
    doubt: Option<Doubt>,
}

/// No request that was sent after the last refusal has been accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Refused {
    /// The first refusal, or the last accepted request since then.
    first: Timestamp,
    last: Timestamp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Doubt {
    since: Timestamp,
    /// The upstream accepted a request that was sent after the refresh had ended.
    disproved: bool,
}

/// A token that worked after its doubtful refresh is dead once it was refused for this long and accepted on no request. Within this
/// time, requests of other clients show whether only some paths refuse it.
const DISPROVED_UNTIL: SignedDuration = SignedDuration::from_secs(5);

// === impl Standing ===

impl Standing {
    /// A copy, for the same token in another generation.
    pub(super) fn copied(&self) -> Self {
        let evidence = self.evidence();
        Self { open: AtomicBool::new(evidence.is_open()), evidence: Mutex::new(evidence) }
    }

    pub(super) fn refused(&self, now: Timestamp) {
        self.change(|evidence| evidence.refused(now));
    }

    pub(super) fn may_be_revoked(&self, now: Timestamp) {
        self.change(|evidence| evidence.may_be_revoked(now));
    }

    /// The upstream accepted a request that was sent at `sent`. Without evidence against the token, this costs one load.
    pub(super) fn accepted(&self, sent: impl FnOnce() -> Timestamp) {
        if self.open.load(Ordering::Relaxed) {
            let sent = sent();
            self.change(|evidence| evidence.accepted(sent));
        }
    }

    pub(super) fn refused_at(&self) -> Option<Timestamp> {
        self.evidence().refused.map(|refused| refused.last)
    }

    pub(super) fn is_dead(&self, now: Timestamp) -> bool {
        self.open.load(Ordering::Relaxed) && self.evidence().is_dead(now)
    }

    fn change(&self, change: impl FnOnce(&mut Evidence)) {
        let mut evidence = self.evidence.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut evidence);
        self.open.store(evidence.is_open(), Ordering::Relaxed);
    }

    fn evidence(&self) -> Evidence {
        *self.evidence.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Evidence ===

impl Evidence {
    fn refused(&mut self, now: Timestamp) {
        let first = self.refused.map_or(now, |refused| refused.first);
        self.refused = Some(Refused { first, last: now });
    }

    fn may_be_revoked(&mut self, now: Timestamp) {
        self.doubt = Some(Doubt { since: now, disproved: false });
    }

    /// A response to a request that was sent before the refusal, or before the refresh had ended, says nothing about them.
    fn accepted(&mut self, sent: Timestamp) {
        self.refused = match self.refused {
            Some(refused) if sent >= refused.last => None,
            Some(refused) => Some(Refused { first: refused.first.max(sent), ..refused }),
            None => None,
        };
        if let Some(doubt) = &mut self.doubt {
            doubt.disproved |= sent >= doubt.since;
        }
    }

    fn is_open(&self) -> bool {
        self.refused.is_some() || self.doubt.is_some_and(|doubt| !doubt.disproved)
    }

    fn is_dead(&self, now: Timestamp) -> bool {
        match (self.refused, self.doubt) {
            (Some(_), Some(Doubt { disproved: false, .. })) => true,
            (Some(refused), Some(_)) => now.duration_since(refused.first) >= DISPROVED_UNTIL,
            (None, _) | (_, None) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Refused(i64),
        MayBeRevoked(i64),
        /// When the accepted request was sent.
        Accepted(i64),
    }

    use Step::*;

    #[test]
    fn a_token_is_dead_if_it_is_refused_and_its_refresh_may_have_revoked_it() {
        let at = |second| Timestamp::from_second(second).unwrap();
        // What happened; whether the token is dead at second 20; when it was refused last.
        let rows: &[(&[Step], bool, Option<i64>)] = &[
            (&[], false, None),
            (&[Refused(1), Refused(2)], false, Some(2)),
            (&[MayBeRevoked(1)], false, None),
            (&[Refused(1), MayBeRevoked(2)], true, Some(1)),
            (&[MayBeRevoked(1), Refused(2)], true, Some(2)),
            (&[Refused(1), MayBeRevoked(2), Accepted(3)], false, None),
            // These requests were sent too early to say anything.
            (&[Refused(2), Accepted(1)], false, Some(2)),
            (&[Refused(2), MayBeRevoked(4), Accepted(3)], false, None),
            (&[MayBeRevoked(4), Accepted(3), Refused(5)], true, Some(5)),
            // The token has worked since, and one path refuses it …
            (&[Refused(1), MayBeRevoked(2), Accepted(3), Refused(16)], false, Some(16)),
            // … or the upstream accepts it nowhere any more.
            (&[Refused(1), MayBeRevoked(2), Accepted(3), Refused(15), Refused(20)], true, Some(20)),
            // Refusals and acceptances take turns.
            (&[MayBeRevoked(1), Accepted(2), Refused(10), Refused(18), Accepted(17), Refused(20)], false, Some(20)),
            // The refresh was tried again.
            (&[MayBeRevoked(2), Accepted(3), MayBeRevoked(4), Refused(19)], true, Some(19)),
        ];
        for (steps, dead, refused_at) in rows {
            let standing = Standing::default();
            for step in *steps {
                match *step {
                    Refused(second) => standing.refused(at(second)),
                    MayBeRevoked(second) => standing.may_be_revoked(at(second)),
                    Accepted(second) => standing.accepted(|| at(second)),
                }
            }
            assert_eq!((standing.is_dead(at(20)), standing.refused_at()), (*dead, refused_at.map(at)), "{steps:?}");
        }
    }

    #[test]
    fn an_acceptance_costs_one_load_where_nothing_speaks_against_the_token() {
        let standing = Standing::default();
        standing.accepted(|| panic!("nothing was in question"));
    }
}
