//! A request's journey, proven on the built program over real sockets: transparent to what is right, closed to what is wrong.
//!
//! The judge is the upstream of these tests ([`testkit::origin`], [`testkit::raw`]), which records what reaches it, and what the
//! client saw. One started program serves as many rows as its configuration allows.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "a test that meets the unexpected has failed"
)]

mod cancellations;
mod comparison;
mod connections;
mod early;
mod equality;
mod faults;
mod matrix;
mod own_answers;
mod prefix;
mod raw_http1;
mod raw_http2;
mod replays;
