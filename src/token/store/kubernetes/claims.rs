//! What this process knows of the Lease: its own, and those of others with the time since when they are seen.
//!
//! Timestamps in the Lease are for people. A process that wants to take a held lease waits for its duration by its own monotonic
//! clock, from the moment when it first saw that claim.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::token::store::LEASE_POLL;

#[derive(Default)]
pub(super) struct Claims {
    sight: Mutex<Option<Sight>>,
    own: Mutex<Option<Own>>,
}

/// A lease of another holder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Claim {
    /// Empty: unknown, because the Lease was removed while it may have been held.
    pub(super) holder: String,
    pub(super) fence: u64,
    pub(super) duration: Duration,
}

struct Sight {
    claim: Claim,
    since: Instant,
    /// How often this claim was seen.
    looks: u32,
    last: Instant,
    /// The number of changes of the Secret at the last look.
    events: u64,
}

/// The present lease of this process.
#[derive(Clone)]
pub(super) struct Own {
    pub(super) fence: u64,
    pub(super) until: Instant,
    /// The `resourceVersion` of the Lease.
    pub(super) version: String,
}

/// Looks at a held Lease that need no pause in between.
const FREE_LOOKS: u32 = 3;
/// The first and the longest pause. A change of the Secret, as at the end of each rotation, ends the pause.
const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(5));

// === impl Claims ===

impl Claims {
    /// How long this claim is still valid. Notes the look.
    pub(super) fn left(&self, claim: &Claim, events: u64) -> Duration {
        let mut sight = self.sight.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let (since, looks) = match &*sight {
            Some(seen) if seen.claim == *claim && seen.events == events => (seen.since, seen.looks + 1),
            Some(seen) if seen.claim == *claim => (seen.since, 1),
            _ => (now, 1),
        };
        *sight = Some(Sight { claim: claim.clone(), since, looks, last: now, events });
        claim.duration.saturating_sub(now.duration_since(since))
    }

    /// The pause before the next look, if a call now would hardly show anything else. Many replicas may wait for one holder.
    pub(super) fn pause(&self, events: u64) -> Option<Duration> {
        let sight = self.sight.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = sight.as_ref().filter(|seen| seen.events == events && seen.looks >= FREE_LOOKS)?;
        let now = Instant::now();
        let doubled = PAUSE.0.saturating_mul(1 << (seen.looks - FREE_LOOKS).min(8)).min(PAUSE.1);
        let end = (seen.last + doubled).min(seen.since + seen.claim.duration);
        let left = end.saturating_duration_since(now);
        (!left.is_zero()).then(|| left.min(LEASE_POLL))
    }

    pub(super) fn take(&self, own: Own) {
        *self.own() = Some(own);
        *self.sight.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Whether this process holds the lease with this number.
    pub(super) fn holds(&self, fence: u64) -> bool {
        self.own().as_ref().is_some_and(|own| own.fence == fence && Instant::now() < own.until)
    }

    /// Ends the own lease with this number.
    pub(super) fn give_back(&self, fence: u64) -> Option<Own> {
        self.own().take_if(|own| own.fence == fence)
    }

    fn own(&self) -> std::sync::MutexGuard<'_, Option<Own>> {
        self.own.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn claim(fence: u64) -> Claim {
        Claim { holder: "one".into(), fence, duration: 20 * SECOND }
    }

    #[tokio::test(start_paused = true)]
    async fn a_claim_is_waited_for_from_when_it_was_first_seen() {
        let claims = Claims::default();
        assert_eq!(claims.left(&claim(1), 0), 20 * SECOND);
        tokio::time::advance(8 * SECOND).await;
        assert_eq!(claims.left(&claim(1), 0), 12 * SECOND);
        assert_eq!(claims.left(&claim(2), 0), 20 * SECOND, "it was taken anew");
        tokio::time::advance(21 * SECOND).await;
        assert_eq!(claims.left(&claim(2), 0), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_held_lease_is_looked_at_rarely_until_the_secret_changes_or_the_lease_ends() {
        let claims = Claims::default();
        let mut calls = 0;
        let mut waited = Duration::ZERO;
        while waited < 20 * SECOND {
            match claims.pause(0) {
                Some(pause) => {
                    assert!(!pause.is_zero() && pause <= LEASE_POLL);
                    tokio::time::advance(pause).await;
                    waited += pause;
                }
                None => {
                    calls += 1;
                    claims.left(&claim(1), 0);
                }
            }
        }
        assert!((4..=8).contains(&calls), "{calls}");
        assert_eq!(claims.pause(0), None, "it has ended");

        let claims = Claims::default();
        for _ in 0..FREE_LOOKS {
            assert_eq!(claims.pause(0), None);
            claims.left(&claim(1), 0);
        }
        assert!(claims.pause(0).is_some());
        assert_eq!(claims.pause(1), None, "the holder has written");
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_is_held_until_its_end_or_until_it_is_given_back() {
        let claims = Claims::default();
        let own = |fence| Own { fence, until: Instant::now() + SECOND, version: "1".into() };
        assert!(!claims.holds(1));
        claims.take(own(1));
        assert!(claims.holds(1) && !claims.holds(2));
        assert!(claims.give_back(2).is_none() && claims.give_back(1).is_some());
        assert!(!claims.holds(1));
        claims.take(own(3));
        tokio::time::advance(SECOND).await;
        assert!(!claims.holds(3), "another process may have taken it over");
    }
}
