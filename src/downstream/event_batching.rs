//! OPTIMIZATION: a worker that is out of work lets events collect before it asks the kernel for them (interrupt coalescing, as
//! network cards do it).
//!
//! Waking up, polling the kernel, writing and waking the next process cost about the same for one event as for ten. A worker that
//! is faster than its neighbours finds events one by one and passes them on one by one. So its speed costs CPU time, in the worker
//! and in its neighbours.
//!
//! * **Gain:** with 32 connections, 0.85 of the CPU time at 1 KiB, 0.83 at 64 KiB, 0.73 at 1 MiB, 0.78 with request bodies of 4 KiB;
//!   with 512 connections 0.82; 4 to 13 % more requests per second (default build, interleaved, AMD EPYC). With 1 to 4 connections of
//!   1 KiB nothing changes. At fixed rates of 4,000 to 20,000 requests per second, p50, p95 and p99 are the same or lower.
//! * **Cost:** one more clock reading per request. A quick request among slow ones, or a message of a tunnel beside them, may be
//!   delayed by up to [`MOST`] at each of its steps. There is no delay with few requests in flight, if many requests are quick, or if
//!   the last delay brought nothing.
//! * **Switch:** `runtime.event_batching = false` turns it off.
//! * **Relies on tokio 1:** a current-thread runtime calls `on_thread_park` when no task is ready, before it waits for events, and
//!   `on_thread_unpark` after it has waited.
//! * **Test that fails when that changes:** `what_comes_meanwhile_is_found_at_once`.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::runtime::Builder;

/// The delay is at most this fraction of the usual duration of a request. A request meets about two delays: one when it arrives,
/// one when its response arrives. On average, half of each delay has passed by then.
const SHARE: u32 = 16;

/// A shorter delay costs more than it saves.
const LEAST: Duration = Duration::from_micros(16);
const MOST: Duration = Duration::from_micros(100);

/// With fewer requests in flight there is no delay: if a client and the upstream take turns, they would meet every delay in full.
const MANY: u64 = 4;

/// The state of one worker. One thread uses the atomics; they are atomics because the runtime requires its hooks to be `Sync`.
pub(super) struct EventBatching {
    /// The origin of the times below, which are in nanoseconds.
    origin: Instant,
    /// The lower quartile of the durations of requests, clamped to the bounds between which it has an effect.
    usual: AtomicU64,
    in_flight: AtomicU64,
    /// When the worker was last idle, and for how long; [`UNKNOWN`] if it does not matter.
    parked: AtomicU64,
    gap: AtomicU64,
}

const UNKNOWN: u64 = u64::MAX;

// === impl EventBatching ===

impl EventBatching {
    /// Installs it in the runtime of this thread.
    pub(super) fn install(self: &Arc<Self>, builder: &mut Builder) {
        // By default, the kernel adds up to 50 µs to a sleep (PR_SET_TIMERSLACK, prctl(2)). If that cannot be changed, nothing is installed.
        if rustix::thread::set_current_timer_slack(Some(NonZeroU64::MIN)).is_err() {
            return;
        }
        let (before, after) = (self.clone(), self.clone());
        builder
            .on_thread_park(move || {
                if let Some(wait) = before.park(Instant::now) {
                    #[expect(clippy::disallowed_methods, reason = "the worker is idle, and the sleep is short")]
                    std::thread::sleep(wait);
                }
            })
            .on_thread_unpark(move || after.unpark(Instant::now));
    }

    /// The head of a request has arrived.
    pub(super) fn began(&self) {
        self.in_flight.store(self.in_flight.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    /// A request has ended after this duration.
    pub(super) fn ended(&self, time: Duration) {
        self.in_flight.store(self.in_flight.load(Ordering::Relaxed).saturating_sub(1), Ordering::Relaxed);
        self.usual.store(nanos(adapted(self.usual(), time)), Ordering::Relaxed);
    }

    /// The worker is idle. Returns for how long it must not poll the kernel. Reads the clock only if that matters.
    fn park(&self, now: impl FnOnce() -> Instant) -> Option<Duration> {
        let allowed = allowed(self.in_flight.load(Ordering::Relaxed), self.usual());
        let parked = allowed.map_or(UNKNOWN, |_| nanos(now() - self.origin));
        self.parked.store(parked, Ordering::Relaxed);
        allowed.filter(|wait| gathers(*wait, Duration::from_nanos(self.gap.load(Ordering::Relaxed))))
    }

    /// An event has arrived.
    fn unpark(&self, now: impl FnOnce() -> Instant) {
        let gap = match self.parked.load(Ordering::Relaxed) {
            UNKNOWN => UNKNOWN,
            parked => nanos(now() - self.origin).saturating_sub(parked),
        };
        self.gap.store(gap, Ordering::Relaxed);
    }

    fn usual(&self) -> Duration {
        Duration::from_nanos(self.usual.load(Ordering::Relaxed))
    }
}

impl Default for EventBatching {
    fn default() -> Self {
        Self {
            origin: Instant::now(),
            usual: AtomicU64::new(0),
            in_flight: AtomicU64::new(0),
            parked: AtomicU64::new(UNKNOWN),
            gap: AtomicU64::new(UNKNOWN),
        }
    }
}

/// The longest delay, for this number of requests in flight and their usual duration.
fn allowed(in_flight: u64, usual: Duration) -> Option<Duration> {
    let wait = (usual / SHARE).min(MOST);
    (wait >= LEAST && in_flight >= MANY).then_some(wait)
}

/// Whether an event is likely within the delay or soon after it. `gap`: how long the last event took to arrive.
fn gathers(wait: Duration, gap: Duration) -> bool {
    gap <= wait * 3 / 2
}

/// Follows the lower quartile: durations below it pull three times as strongly as durations above it.
fn adapted(usual: Duration, time: Duration) -> Duration {
    let step = usual / 64;
    let usual = if time < usual { usual - 3 * step } else { usual + step };
    // Beyond these bounds the value has no effect, and would only take longer to come back.
    usual.clamp(SHARE * LEAST / 2, SHARE * MOST * 2)
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(UNKNOWN)
}

#[cfg(test)]
mod tests;
