//! `check` on the built program: each fault is made on purpose, and found with its id. Everything else stays silent, or names that
//! fault as its cause.
//!
//! Some faults cannot be made here. Tables of recorded system responses cover them, next to the code: network file systems and
//! `emptyDir` (`src/check/store/mount.rs`), cgroup v2 and a CPU quota (`src/check/limits/cgroup.rs`).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    clippy::print_stdout,
    reason = "a test that meets the unexpected has failed"
)]

mod checked;
#[cfg(feature = "kubernetes")]
mod clusters;
mod configuration_and_secrets;
mod grants;
mod healthy;
mod limits;
mod network;
mod output;
mod servers;
mod stores;
