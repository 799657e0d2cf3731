//! Behaviour under load, with the built program and real sockets: latency with slow clients, memory with large bodies and greedy
//! clients, and the result of each request with a misbehaving upstream.
//!
//! `cargo test --test steady` takes less than a minute. `.ci/full steady` runs everything (`STEADY=full`) with the release build
//! (`PROGRAM=…`). `SECONDS=…` sets the duration of the misbehaving upstream, and `SEED=…` its random choices.

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
