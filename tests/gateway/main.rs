//! The journey of a request, with the built program and real sockets. Valid messages pass unchanged; invalid ones do not pass.
//!
//! The judges are the upstream of these tests ([`testkit::origin`], [`testkit::raw`]) and the client. One running program serves as
//! many rows as its configuration allows.

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
