//! The extent of a test, and the file for its figures.

use std::io::Write;
use std::time::Duration;

use tokio::sync::{Mutex, MutexGuard};

/// `STEADY=full` runs everything, otherwise a short run for every change.
pub fn is_full() -> bool {
    std::env::var("STEADY").is_ok_and(|value| value == "full")
}

pub fn pick<T>(slice: T, full: T) -> T {
    if is_full() { full } else { slice }
}

/// The duration of the mixed load: `SECONDS`, otherwise 10 or 600.
pub fn duration() -> Duration {
    let given = std::env::var("SECONDS").ok().and_then(|seconds| seconds.parse().ok());
    Duration::from_secs(given.unwrap_or(pick(10, 600)))
}

/// Runs one test at a time: each measures time or memory, and would measure its neighbours.
pub async fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::const_new(());
    TURN.lock().await
}

/// Writes a measurement to standard error, and in short to the file `FIGURES`.
pub fn figure(short: &str, text: &str) {
    eprintln!("{short}: {text}");
    if let Ok(path) = std::env::var("FIGURES") {
        let mut file = std::fs::File::options().create(true).append(true).open(path).unwrap();
        writeln!(file, "{short}").unwrap();
    }
}
