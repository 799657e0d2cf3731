//! The minimum rate of a request body (`guard.min_body_rate`).
//!
//! The clock runs only while the proxy waits for the client. A slow upstream is not the client's fault.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// The rate is not checked for this long.
const GRACE: Duration = Duration::from_secs(10);

/// The average rate of one body.
pub struct Pace {
    /// Bytes per second. Not 0.
    min: u64,
    received: u64,
    waited: Duration,
    /// When the present wait for a piece began.
    since: Option<Instant>,
    sleep: Option<Pin<Box<Sleep>>>,
}

// === impl Pace ===

impl Pace {
    pub fn new(min: u64) -> Self {
        Self { min, received: 0, waited: Duration::ZERO, since: None, sleep: None }
    }

    /// A piece arrived.
    pub fn moved(&mut self, bytes: usize) {
        self.received += bytes as u64;
        self.waited += self.since.take().map_or(Duration::ZERO, |since| since.elapsed());
    }

    /// To be called while there is no piece. Returns whether the body is too slow.
    pub fn poll_too_slow(&mut self, cx: &mut Context<'_>) -> bool {
        let since = *self.since.get_or_insert_with(Instant::now);
        let deadline = since + allowed(self.received, self.min).saturating_sub(self.waited);
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if sleep.deadline() != deadline {
            sleep.as_mut().reset(deadline);
        }
        matches!(sleep.as_mut().poll(cx), Poll::Ready(()))
    }
}

/// How long a client may take for this many bytes.
fn allowed(received: u64, min: u64) -> Duration {
    GRACE.max(Duration::from_millis(received.saturating_mul(1000) / min.max(1)))
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    #[test]
    fn a_body_may_take_as_long_as_its_bytes_at_the_rate() {
        for (received, min, seconds) in [(0, 100, 10), (999, 100, 10), (1100, 100, 11), (1 << 20, 1, 1 << 20)] {
            assert_eq!(allowed(received, min), Duration::from_secs(seconds), "{received} {min}");
        }
    }

    /// Returns after how many seconds a client is too slow. It sends `bytes` per second, and the upstream causes a part of each wait.
    async fn ends_after(bytes: usize) -> u64 {
        let mut pace = Pace::new(100);
        let began = Instant::now();
        for _ in 0..100 {
            let slow = poll_fn(|cx| if pace.poll_too_slow(cx) { Poll::Ready(()) } else { Poll::Pending });
            if tokio::time::timeout(Duration::from_millis(600), slow).await.is_ok() {
                break;
            }
            pace.moved(bytes);
            tokio::time::sleep(Duration::from_millis(400)).await;
        }
        began.elapsed().as_secs()
    }

    #[tokio::test(start_paused = true)]
    async fn only_the_clients_own_time_counts() {
        assert_eq!(ends_after(1).await, 16);
        assert_eq!(ends_after(50).await, 16);
        assert_eq!(ends_after(70).await, 100, "the whole body");
    }
}
