//! Fault points. With them, the crash tests observe, stop and fail each step of a rotation.
//!
//! In a build with the feature `fault-points`, environment variables control them. In every other build, they do nothing.
//!
//! | variable | value and effect |
//! |---|---|
//! | `FAULT_POINT_REPORT` | a pipe: receives a line `<pid> <step>` when a step is reached |
//! | `FAULT_POINT_STOP` | a step, or `<step> <n>`: when the process reaches the step (for the n-th time), it sends itself SIGSTOP |
//! | `FAULT_POINT_PANIC` | a file: while it names a step, the task that reaches it panics, once, or each time if `always` follows |
//! | `FAULT_POINT_FAIL` | a file: while it names a step, that step fails as on a broken disk |

use std::io;

#[cfg(feature = "fault-points")]
mod points;

/// A rotation has reached `step`.
#[cfg(not(feature = "fault-points"))]
#[inline(always)]
pub fn point(_step: &str) {}

/// A supervised task has reached `step`.
#[cfg(not(feature = "fault-points"))]
#[inline(always)]
pub fn task(_step: &str) {}

/// The disk operation `step` is about to begin.
///
/// # Errors
/// Never in this build.
#[cfg(not(feature = "fault-points"))]
#[inline(always)]
pub fn disk(_step: &str) -> io::Result<()> {
    Ok(())
}

/// A rotation has reached `step`. Reports it, and stops or panics if a test wants that.
#[cfg(feature = "fault-points")]
pub fn point(step: &str) {
    points::report(step);
    points::stop(step);
    points::panic(step);
}

/// A supervised task has reached `step`. Panics if a test wants that. Reports nothing, because it is not a step of a rotation.
#[cfg(feature = "fault-points")]
pub fn task(step: &str) {
    points::panic(step);
}

/// The disk operation `step` is about to begin.
///
/// # Errors
/// A test wants the operation to fail.
#[cfg(feature = "fault-points")]
pub fn disk(step: &str) -> io::Result<()> {
    points::fail(step)
}
