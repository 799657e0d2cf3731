//! The effects of a fault point, in a build that has them.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::io::Errno;
use signal_hook::consts::SIGSTOP;
use signal_hook::low_level::raise;

/// How often the process has reached the step of `FAULT_POINT_STOP`.
static REACHED: AtomicU32 = AtomicU32::new(0);

pub(super) fn report(step: &str) {
    let Some(path) = std::env::var_os("FAULT_POINT_REPORT") else { return };
    if let Ok(mut report) = OpenOptions::new().append(true).open(path) {
        // One write, so the lines of several processes do not mix. An error means that the test has ended.
        let _ = report.write_all(format!("{} {step}\n", std::process::id()).as_bytes());
    }
}

pub(super) fn stop(step: &str) {
    let Ok(wanted) = std::env::var("FAULT_POINT_STOP") else { return };
    let (name, times) = match wanted.rsplit_once(' ') {
        Some((name, times)) if times.bytes().all(|byte| byte.is_ascii_digit()) => (name, times.parse().unwrap_or(1)),
        _ => (wanted.as_str(), 1),
    };
    if name == step && REACHED.fetch_add(1, Ordering::Relaxed) + 1 == times {
        // `raise` stops this thread before it continues. A signal to the process could reach another thread first.
        let _ = raise(SIGSTOP);
    }
}

pub(super) fn fail(step: &str) -> io::Result<()> {
    let Some(path) = std::env::var_os("FAULT_POINT_FAIL") else { return Ok(()) };
    match fs::read_to_string(path) {
        Ok(wanted) if wanted.trim() == step => Err(Errno::IO.into()),
        _ => Ok(()),
    }
}

#[expect(clippy::panic, reason = "a test wants a task to die")]
pub(super) fn panic(step: &str) {
    let Some(path) = std::env::var_os("FAULT_POINT_PANIC") else { return };
    let wanted = fs::read_to_string(&path).unwrap_or_default();
    // `<step>`: once. `<step> always`: each time.
    match wanted.trim().split_once(' ') {
        None if wanted.trim() == step => drop(fs::remove_file(path)),
        Some((name, "always")) if name == step => {}
        _ => return,
    }
    panic!("the test wants a panic at {step}");
}
