//! What stays steady under strain, on the built program and real sockets: latency beside slow clients, memory beside large bodies
//! and greedy clients, the account of each request beside an upstream that behaves badly.
//!
//! `cargo test --test steady` is a slice of under a minute. `STEADY=full` is all of it, by `.ci/full steady`, which also gives the
//! release build of the program (`PROGRAM=…`). `SECONDS=…` is how long the unruly upstream lasts, `SEED=…` what it draws.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    clippy::print_stderr,
    reason = "a test that meets the unexpected has failed"
)]

mod pace;
mod pattern;
mod scale;
mod slowhttptest;
mod unruly;

mod a_gibibyte_needs_no_memory;
mod an_unruly_upstream_loses_nothing;
mod slow_clients_disturb_nobody;
mod the_ceiling_of_memory_holds;
