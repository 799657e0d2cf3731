//! A progress line on a terminal. A pipe gets no output.

use std::io::{self, IsTerminal, Write};
use std::pin::pin;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval_at};

const EVERY: Duration = Duration::from_secs(1);
/// Back to the start of the line, and clear it.
const CLEAR: &str = "\r\x1b[K";

/// Runs `work`. After one second, a line shows `what` and the elapsed time.
pub(super) async fn shown<T>(what: &str, work: impl Future<Output = T>) -> T {
    let mut stderr = io::stderr();
    if !stderr.is_terminal() {
        return work.await;
    }
    let started = Instant::now();
    let mut ticks = interval_at(started + EVERY, EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut work = pin!(work);
    let mut is_shown = false;
    loop {
        tokio::select! {
            done = &mut work => {
                if is_shown {
                    let _ = write!(stderr, "{CLEAR}").and_then(|()| stderr.flush());
                }
                return done;
            }
            _ = ticks.tick() => {
                is_shown = true;
                let seconds = started.elapsed().as_secs();
                let _ = write!(stderr, "{CLEAR}{what} … {seconds} s").and_then(|()| stderr.flush());
            }
        }
    }
}
