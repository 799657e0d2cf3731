//! How much of a test is run, and where its figures go.

use std::io::Write;
use std::time::Duration;

use tokio::sync::{Mutex, MutexGuard};

/// `STEADY=full`: all of it, else the slice that fits every run of the tests.
pub fn is_full() -> bool {
    std::env::var("STEADY").is_ok_and(|value| value == "full")
}

pub fn pick<T>(slice: T, full: T) -> T {
    if is_full() { full } else { slice }
}

/// How long the mixed load lasts: `SECONDS`, else 10 or 600.
pub fn duration() -> Duration {
    let given = std::env::var("SECONDS").ok().and_then(|seconds| seconds.parse().ok());
    Duration::from_secs(given.unwrap_or(pick(10, 600)))
}

/// One test at a time: each measures time or memory, and would measure its neighbours.
pub async fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::const_new(());
    TURN.lock().await
}

/// What was measured: to standard error, and in short a line of the file `FIGURES`.
pub fn figure(short: &str, text: &str) {
    eprintln!("{short}: {text}");
    if let Ok(path) = std::env::var("FIGURES") {
        let mut file = std::fs::File::options().create(true).append(true).open(path).unwrap();
        writeln!(file, "{short}").unwrap();
    }
}
