//! How much of a test is run, of which build, and where its figures go.

use std::io::Write;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::sync::{Mutex, MutexGuard};

use crate::support::Setup;

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

/// With `PROGRAM`, that build of the program.
pub fn built(setup: Setup) -> Setup {
    match std::env::var("PROGRAM") {
        Ok(program) => setup.program(program),
        Err(_) => setup,
    }
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

/// Raises the limit of open files of this process and of what it starts.
pub fn allow_open_files(count: u64) {
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= count) {
        return;
    }
    let allowed = limit.maximum.is_none_or(|maximum| maximum >= count);
    assert!(allowed, "this needs {count} open files, and the hard limit is {:?}: raise it (ulimit -Hn)", limit.maximum);
    setrlimit(Resource::Nofile, Rlimit { current: Some(count), ..limit }).unwrap();
}
