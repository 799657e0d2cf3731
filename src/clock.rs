//! Wall-clock time, as a dependency.
//!
//! The expiry of a token is wall-clock time, because the monotonic clock of most systems stops during a suspend. Waits and backoff
//! are monotonic (`tokio::time`), so a jump of the wall clock does not change them.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use jiff::{SignedDuration, Timestamp};

/// The source of wall-clock time. A test can move it.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    /// Added to the system's time, in milliseconds.
    offset_ms: Option<Arc<AtomicI64>>,
}

// === impl Clock ===

impl Clock {
    /// The system's clock.
    pub fn system() -> Self {
        Self { offset_ms: None }
    }

    /// A clock that starts at the system's time. [`Clock::jump`] moves it.
    #[cfg(test)]
    pub fn movable() -> Self {
        Self { offset_ms: Some(Arc::new(AtomicI64::new(0))) }
    }

    pub fn now(&self) -> Timestamp {
        let now = Timestamp::now();
        match &self.offset_ms {
            None => now,
            Some(offset) => {
                now.saturating_add(SignedDuration::from_millis(offset.load(Ordering::Relaxed))).unwrap_or(now)
            }
        }
    }

    /// Moves a movable clock forward or back. Has no effect on the system's clock.
    #[cfg(test)]
    pub fn jump(&self, by: SignedDuration) {
        if let Some(offset) = &self.offset_ms {
            let by = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
            offset.fetch_add(by, Ordering::Relaxed);
        }
    }
}
