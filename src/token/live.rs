//! The live token, which each request reads or waits for.
//!
//! [`Live::view`] is one atomic load. Only the refresher publishes. Each publication wakes all waiters, which read the view again.

mod standing;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use http::HeaderValue;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;

use self::standing::Standing;
use crate::clock::Clock;
use crate::token::store::LastRefresh;
use crate::token::{Access, Generation, InvalidToken, Trigger};

/// The point where the two journeys meet.
#[derive(Debug)]
pub struct Live {
    view: ArcSwap<View>,
    changed: watch::Sender<()>,
    clock: Clock,
}

/// The state of the grant at one moment. It is never changed, only replaced.
#[derive(Clone, Debug, Default)]
pub struct View {
    pub token: Option<Arc<LiveToken>>,
    /// The newest known generation, even if its token is not used.
    pub generation: Generation,
    pub refresh_at: Option<Timestamp>,
    /// The trigger of the refresh in flight.
    pub refreshing: Option<Trigger>,
    /// A refusal caused or joined the refresh in flight, so new requests wait for its outcome.
    pub held: bool,
    /// When the next attempt after a failure comes.
    pub retry_at: Option<Timestamp>,
    /// The next retry of a failed operation.
    pub next: Option<Next>,
    pub last_refresh: Option<LastRefresh>,
    /// Why a person must log in, and what to do.
    pub needs_login: Option<String>,
    /// What a person can do about a refused token, if the process can do nothing.
    pub remedy: Option<String>,
    /// This process has a rotated token that is not stored.
    pub unpersisted: bool,
    pub draining: bool,
}

/// The next retry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Next {
    /// `refresh`, `store` (a write of the newest grant) or `load` (a read of the store).
    pub what: &'static str,
    pub at: Timestamp,
}

/// One generation's access token, ready to be sent.
pub struct LiveToken {
    pub generation: Generation,
    /// `Bearer …`. A clone only counts a reference.
    pub header: HeaderValue,
    pub obtained_at: Timestamp,
    pub expires_at: Option<Timestamp>,
    /// The token is not sent from this time on, shortly before its expiry.
    last_sent_at: Option<Timestamp>,
    standing: Standing,
    /// It has expired by the monotonic clock, whatever the wall clock says.
    ended: AtomicBool,
}

// === impl Live ===

impl Live {
    pub fn new(clock: Clock) -> Self {
        Self { view: ArcSwap::default(), changed: watch::Sender::new(()), clock }
    }

    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// The present view. Drop the guard before the next await.
    pub fn view(&self) -> arc_swap::Guard<Arc<View>> {
        self.view.load()
    }

    /// Replaces the view and wakes all waiters. Only the refresher calls it.
    pub(in crate::token) fn publish(&self, view: View) {
        self.view.store(Arc::new(view));
        self.changed.send_replace(());
    }

    /// Wakes all waiters, which then read the clock again.
    pub(in crate::token) fn wake(&self) {
        self.changed.send_replace(());
    }

    /// Waits until `look` returns a value. The caller bounds the wait.
    pub async fn wait_for<T>(&self, mut look: impl FnMut(&View) -> Option<T>) -> T {
        let mut changed = self.changed.subscribe();
        loop {
            // Mark before the look, so a publication in between wakes this task again.
            changed.mark_unchanged();
            if let Some(found) = look(&self.view()) {
                return found;
            }
            if changed.changed().await.is_err() {
                // Unreachable: `self` owns the sender.
                std::future::pending::<()>().await;
            }
        }
    }
}

// === impl View ===

impl View {
    /// The token, if it has not expired.
    pub fn unexpired(&self, now: Timestamp) -> Option<&Arc<LiveToken>> {
        self.token.as_ref().filter(|token| !token.expired(now))
    }

    pub fn generation(&self) -> Generation {
        self.token.as_ref().map_or(Generation::default(), |token| token.generation)
    }
}

// === impl LiveToken ===

impl LiveToken {
    pub fn new(generation: Generation, access: &Access) -> Result<Self, InvalidToken> {
        Ok(Self {
            generation,
            header: access.token.header()?,
            obtained_at: access.obtained_at,
            expires_at: access.expires_at,
            last_sent_at: access.expires_at.map(|end| last_sent_at(access.obtained_at, end)),
            standing: Standing::default(),
            ended: AtomicBool::new(false),
        })
    }

    /// Whether it was made from these values. The generation alone is not enough: two processes can have reached the same one.
    pub fn is(&self, generation: Generation, access: &Access) -> bool {
        self.generation == generation && access.token.header().is_ok_and(|header| header == self.header)
    }

    /// The same token in another generation. It keeps the evidence about the token.
    pub(in crate::token) fn with(&self, generation: Generation, access: &Access) -> Self {
        Self {
            generation,
            header: self.header.clone(),
            obtained_at: access.obtained_at,
            expires_at: access.expires_at,
            last_sent_at: access.expires_at.map(|end| last_sent_at(access.obtained_at, end)),
            standing: self.standing.copied(),
            ended: AtomicBool::new(self.ended.load(Ordering::Relaxed)),
        }
    }

    /// Whether it may no longer be sent. A request takes time to arrive, and must not arrive with an expired token.
    pub fn expired(&self, now: Timestamp) -> bool {
        self.last_sent_at.is_some_and(|end| end <= now) || self.ended.load(Ordering::Relaxed)
    }

    pub(in crate::token) fn end(&self) {
        self.ended.store(true, Ordering::Relaxed);
    }

    /// Whether the upstream has refused it, and has accepted it on no request since.
    pub fn is_refused(&self) -> bool {
        self.standing.refused_at().is_some()
    }

    /// When the upstream last refused it, if it has accepted it on no request since.
    pub fn refused_at(&self) -> Option<Timestamp> {
        self.standing.refused_at()
    }

    /// Whether it is known to be dead: it is refused, and its refresh may have revoked it.
    pub fn is_dead(&self, now: Timestamp) -> bool {
        self.standing.is_dead(now)
    }

    pub(crate) fn mark_refused(&self, now: Timestamp) {
        self.standing.refused(now);
    }

    /// Its refresh ended as rejected or ambiguous.
    pub(crate) fn may_be_revoked(&self, now: Timestamp) {
        self.standing.may_be_revoked(now);
    }

    /// The upstream accepted it on a request that was sent at `sent`. `sent` is called only if the acceptance changes something.
    pub fn mark_accepted(&self, sent: impl FnOnce() -> Timestamp) {
        self.standing.accepted(sent);
    }
}

/// Without the header, which holds the token.
impl fmt::Debug for LiveToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LiveToken")
            .field("generation", &self.generation)
            .field("obtained_at", &self.obtained_at)
            .field("expires_at", &self.expires_at)
            .field("standing", &self.standing)
            .field("ended", &self.ended)
            .finish_non_exhaustive()
    }
}

/// Two seconds before the end, or a twentieth of a short lifetime.
fn last_sent_at(obtained_at: Timestamp, end: Timestamp) -> Timestamp {
    let on_the_way = (end.duration_since(obtained_at) / 20).clamp(SignedDuration::ZERO, SignedDuration::from_secs(2));
    end.checked_sub(on_the_way).unwrap_or(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_publication_wakes_those_who_wait() {
        let live = Arc::new(Live::new(Clock::system()));
        let waiter = {
            let live = Arc::clone(&live);
            tokio::spawn(async move { live.wait_for(|view| view.needs_login.clone()).await })
        };
        tokio::task::yield_now().await;
        live.publish(View::default());
        tokio::task::yield_now().await;
        live.publish(View { needs_login: Some("log in".into()), ..View::default() });
        assert_eq!(waiter.await.unwrap(), "log in");
    }

    #[test]
    fn a_token_is_not_sent_in_its_last_moment() {
        let at = |second| Timestamp::from_second(second).unwrap();
        for (life, sent_until) in [(0, 0), (20, 19), (40, 38), (3600, 3598), (31_536_000, 31_535_998)] {
            assert_eq!(last_sent_at(at(0), at(life)), at(sent_until), "{life}");
        }
    }

    #[test]
    fn a_token_that_ends_now_is_not_sent_and_does_not_print_itself() {
        let now = Timestamp::UNIX_EPOCH;
        let token = crate::token::AccessToken::parse("canary").unwrap();
        let live = LiveToken::new(Generation(1), &Access { token, obtained_at: now, expires_at: Some(now) }).unwrap();
        assert!(!format!("{live:?}").contains("canary"));
        assert!(live.expired(now));
    }
}
