//! Rotations of the built program with fault points: `cargo test --features fault-points --test crash`.
//!
//! Processes are killed and suspended at every step, their disk fails, and their database stops. The ledger of the simulated server and
//! the pipe on which the program reports each step decide whether a grant was lost.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    clippy::print_stderr,
    reason = "a test that meets the unexpected has failed"
)]

use testkit::{self as support, postgres, random};

mod commands;
mod judge;
mod pipe;
mod site;
mod tally;

mod a_database_that_goes;
mod a_disk_that_fails;
mod a_holder_that_was_stopped;
mod a_successor_that_was_not_renamed;
mod a_task_that_dies;
mod an_import_that_was_killed;
mod killed_at_every_step;
mod owners_in_a_race;
mod replicas;
