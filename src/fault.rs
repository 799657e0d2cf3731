//! Fault points: the crash tests' way to see, to stop at, and to fail each step of a rotation.
//!
//! In a build with the feature `fault-points` the environment says what happens; in every other build this is nothing.
//!
//! | variable | |
//! |---|---|
//! | `FAULT_POINT_REPORT` | a pipe: each step is written there as it is reached, `<pid> <step>` a line |
//! | `FAULT_POINT_STOP` | a step, or `<step> <n>`: the process stops itself when it comes there (for the n-th time), until the test continues or kills it |
//! | `FAULT_POINT_PANIC` | a file: while it names a step, the task that comes there panics: once, or each time if `always` follows |
//! | `FAULT_POINT_FAIL` | a file: while it names a step, that step fails as on a broken disk |

use std::io;

#[cfg(feature = "fault-points")]
mod points;

/// `step` has been reached.
#[cfg(not(feature = "fault-points"))]
#[inline(always)]
pub fn point(_step: &str) {}

/// `step` of a task that is supervised has been reached.
#[cfg(not(feature = "fault-points"))]
#[inline(always)]
pub fn task(_step: &str) {}

/// `step`, an operation of a disk, is about to be made.
///
/// # Errors
/// Never in this build.
#[cfg(not(feature = "fault-points"))]
#[inline(always)]
pub fn disk(_step: &str) -> io::Result<()> {
    Ok(())
}

/// `step` has been reached: it is reported, and the process stops if told to.
#[cfg(feature = "fault-points")]
pub fn point(step: &str) {
    points::report(step);
    points::stop(step);
    points::panic(step);
}

/// `step` of a task that is supervised has been reached: it panics if told to. Not reported, as it is no step of a rotation.
#[cfg(feature = "fault-points")]
pub fn task(step: &str) {
    points::panic(step);
}

/// `step`, an operation of a disk, is about to be made.
///
/// # Errors
/// The test wants it to fail.
#[cfg(feature = "fault-points")]
pub fn disk(step: &str) -> io::Result<()> {
    points::fail(step)
}
