//! Fault points: the crash tests' way to see, and to stop at, each step of a rotation.
//!
//! In a build with the feature `fault-points`, each step is written as a line to the file that `FAULT_POINT_REPORT` names (a
//! pipe), and the process stands still at the step that `FAULT_POINT_STOP` names, until the test kills or continues it. In every
//! other build this is nothing.

/// Reports that `step` has been reached.
#[cfg(not(feature = "fault-points"))]
#[inline(always)]
pub fn point(_step: &str) {}

/// Reports that `step` has been reached, and stands still there if told to.
#[cfg(feature = "fault-points")]
pub fn point(step: &str) {
    use std::io::Write;

    let Some(path) = std::env::var_os("FAULT_POINT_REPORT") else { return };
    let report = std::fs::OpenOptions::new().append(true).open(path);
    if let Ok(mut report) = report {
        // A test that has gone away no longer judges: nothing to do about a failed report.
        let _ = report.write_all(format!("{} {step}\n", std::process::id()).as_bytes());
    }
    if std::env::var("FAULT_POINT_STOP").is_ok_and(|stop| stop == step) {
        loop {
            std::thread::park();
        }
    }
}
