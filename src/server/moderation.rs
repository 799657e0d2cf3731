//! Interrupt moderation, as network cards do it: a worker that has nothing to do lets events gather before it asks for them, where
//! no request notices.
//!
//! To wake up, to ask the kernel, to write and to wake the next costs about the same for one event as for ten. A worker that is done
//! with each event before the next one comes finds them one by one and passes them on one by one, so that it takes more CPU time for
//! being fast, and its neighbours do for it. So it sleeps for a moment first. That is short beside what requests take anyway, and is
//! left out where nothing would come in it: a lone client, or a few, are served at once.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::runtime::Builder;

/// The part of a request's time that a wait may be. A request meets about two, when it comes and when its answer does, and each
/// finds it half over.
const SHARE: u32 = 16;

/// For less, the wait itself costs more than it saves.
const LEAST: Duration = Duration::from_micros(16);
const MOST: Duration = Duration::from_micros(100);

/// Of one worker. Atomics for their type alone: the runtime wants its hooks to be `Sync`.
pub(super) struct Moderation {
    /// What the times below are counted from, in nanoseconds.
    origin: Instant,
    /// The time that a quarter of the requests falls short of.
    usual: AtomicU64,
    /// When the worker last had nothing to do, and for how long; [`UNKNOWN`] where that was of no interest.
    since: AtomicU64,
    idle: AtomicU64,
}

const UNKNOWN: u64 = u64::MAX;

// === impl Moderation ===

impl Moderation {
    /// Makes it part of this thread's runtime.
    pub(super) fn install(self: &Arc<Self>, builder: &mut Builder) {
        // By default the kernel adds up to 50 µs to a sleep (PR_SET_TIMERSLACK, prctl(2)). Where that can't be changed, there is none.
        if rustix::thread::set_current_timer_slack(Some(NonZeroU64::MIN)).is_err() {
            return;
        }
        let (parked, woken) = (self.clone(), self.clone());
        builder
            .on_thread_park(move || {
                if let Some(wait) = parked.idle(Instant::now) {
                    #[expect(
                        clippy::disallowed_methods,
                        reason = "there is nothing that it could block, for this long"
                    )]
                    std::thread::sleep(wait);
                }
            })
            .on_thread_unpark(move || woken.busy(Instant::now));
    }

    /// A request has ended, this long after its head came.
    pub(super) fn took(&self, time: Duration) {
        self.usual.store(nanos(adapted(self.usual(), time)), Ordering::Relaxed);
    }

    /// The worker has nothing to do: for how long it is to ask for nothing. The clock is read only where that matters.
    fn idle(&self, now: impl FnOnce() -> Instant) -> Option<Duration> {
        let allowed = allowed(self.usual());
        let since = allowed.map_or(UNKNOWN, |_| nanos(now() - self.origin));
        self.since.store(since, Ordering::Relaxed);
        allowed.filter(|wait| gathers(*wait, Duration::from_nanos(self.idle.load(Ordering::Relaxed))))
    }

    /// Something has come.
    fn busy(&self, now: impl FnOnce() -> Instant) {
        let idle = match self.since.load(Ordering::Relaxed) {
            UNKNOWN => UNKNOWN,
            since => nanos(now() - self.origin).saturating_sub(since),
        };
        self.idle.store(idle, Ordering::Relaxed);
    }

    fn usual(&self) -> Duration {
        Duration::from_nanos(self.usual.load(Ordering::Relaxed))
    }
}

impl Default for Moderation {
    fn default() -> Self {
        Self {
            origin: Instant::now(),
            usual: AtomicU64::new(0),
            since: AtomicU64::new(UNKNOWN),
            idle: AtomicU64::new(UNKNOWN),
        }
    }
}

/// How long events may gather where a request takes `usual`.
fn allowed(usual: Duration) -> Option<Duration> {
    let wait = (usual / SHARE).min(MOST);
    (wait >= LEAST).then_some(wait)
}

/// Whether something is to be expected within the wait, or soon behind it, by how long it last took until something came.
fn gathers(wait: Duration, idle: Duration) -> bool {
    idle <= wait * 3 / 2
}

/// The lower quartile of the times, followed: where it is, those below pull by three as much as those above by one.
fn adapted(usual: Duration, time: Duration) -> Duration {
    let step = usual / 64;
    let usual = if time < usual { usual - 3 * step } else { usual + step };
    // Beyond these it decides nothing, and would only have a longer way back.
    usual.clamp(SHARE * LEAST / 2, SHARE * MOST * 2)
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(UNKNOWN)
}

#[cfg(test)]
mod tests;
