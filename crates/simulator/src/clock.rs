//! The server's wall clock. A test can move it, so that server and client disagree about the time.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Milliseconds since the Unix epoch, by the server's clock.
pub type UnixMs = i64;

/// The system's time and an offset.
#[derive(Debug, Default)]
pub struct ServerClock {
    offset_ms: AtomicI64,
}

// === impl ServerClock ===

impl ServerClock {
    pub fn now(&self) -> UnixMs {
        let system = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        millis(system).saturating_add(self.offset_ms.load(Ordering::Relaxed))
    }

    /// Moves the server's time ahead. Tokens age at once.
    pub fn advance(&self, by: Duration) {
        self.offset_ms.fetch_add(millis(by), Ordering::Relaxed);
    }

    /// How far the server's clock is ahead of the system's (negative: behind).
    pub fn set_offset_ms(&self, offset: i64) {
        self.offset_ms.store(offset, Ordering::Relaxed);
    }
}

/// Saturates: a lifetime that the clock cannot represent never ends.
pub(super) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_follows_its_offset() {
        let clock = ServerClock::default();
        let before = clock.now();
        clock.advance(Duration::from_secs(3600));
        assert!((3_600_000..3_605_000).contains(&(clock.now() - before)));
        clock.set_offset_ms(-60_000);
        assert!(clock.now() < before);
    }
}
