//! Limits how many more connections than successful requests there may be, for all workers together.
//!
//! A client that cancels a request over HTTP/1 costs its connection. Without a bound, a client that keeps cancelling would cause
//! one new TLS connection per request.

use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// In any 5 s, connections exceed responses by at most the full bucket and what 5 s add to it.
#[cfg(test)]
pub(super) const MOST_IN_5_S: i64 = CAPACITY + 5 * PER_SECOND;
const CAPACITY: i64 = 44;
const PER_SECOND: i64 = 4;

/// A token bucket: opening a connection takes a token, and a response adds one.
#[derive(Debug)]
pub(super) struct Dials {
    tokens: AtomicI64,
    /// The time up to which elapsed time was turned into tokens. `None`: no connection was opened yet.
    filled: Mutex<Option<Instant>>,
}

// === impl Dials ===

impl Dials {
    /// Takes a token. The error is the time until the next one.
    pub(super) fn take(&self, now: Instant) -> Result<(), Duration> {
        let wait = self.fill(now);
        let taken = self.tokens.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| (left > 0).then(|| left - 1));
        taken.map(drop).map_err(|_| wait)
    }

    /// Adds a token: a response arrived, or a connection could not be opened.
    pub(super) fn give(&self) {
        // The bucket is usually full, and then workers only read it.
        if self.tokens.load(Ordering::Relaxed) < CAPACITY {
            self.tokens.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Adds the tokens that time has brought. Returns the time until the next one.
    fn fill(&self, now: Instant) -> Duration {
        let interval = Duration::from_secs(1) / u32::try_from(PER_SECOND).unwrap_or(1);
        let Ok(mut filled) = self.filled.lock() else { return interval };
        let since = *filled.get_or_insert(now);
        let elapsed = now.saturating_duration_since(since);
        let brought = u32::try_from(elapsed.as_nanos() / interval.as_nanos()).unwrap_or(u32::MAX);
        (0..brought.min(u32::try_from(CAPACITY).unwrap_or(u32::MAX))).for_each(|_| self.give());
        *filled = Some(since + interval.saturating_mul(brought));
        interval.saturating_sub(elapsed.saturating_sub(interval.saturating_mul(brought)))
    }
}

impl Default for Dials {
    fn default() -> Self {
        Self { tokens: AtomicI64::new(CAPACITY), filled: Mutex::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_seconds_bring_no_more_than_the_bound() {
        let dials = Dials::default();
        let start = Instant::now();
        let mut taken = 0;
        for ms in 0..5000 {
            while dials.take(start + Duration::from_millis(ms)).is_ok() {
                taken += 1;
            }
        }
        assert!((MOST_IN_5_S - 1..=MOST_IN_5_S).contains(&taken), "{taken}");
        const { assert!(MOST_IN_5_S <= 64) };
        assert!(dials.take(start + Duration::from_secs(3600)).is_ok(), "and an hour no more than the bucket holds");
        assert_eq!(dials.tokens.load(Ordering::Relaxed), CAPACITY - 1);
    }

    #[test]
    fn an_answered_request_allows_a_connection() {
        let dials = Dials::default();
        let now = Instant::now();
        while dials.take(now).is_ok() {}
        let wait = dials.take(now).unwrap_err();
        assert!(!wait.is_zero() && wait <= Duration::from_millis(250), "{wait:?}");
        dials.give();
        assert!(dials.take(now).is_ok());
        assert!(dials.take(now).is_err());
        assert!(dials.take(now + wait).is_ok());
    }
}
