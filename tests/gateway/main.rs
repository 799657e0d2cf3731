//! A request's journey, proven on the built program over real sockets: transparent to what is right, closed to what is wrong.
//!
//! The judge is the upstream of these tests ([`origin`], [`raw`]), which records what reaches it, and what the client saw. One
//! started program serves as many rows as its configuration allows.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "a test that meets the unexpected has failed"
)]

#[path = "../promises/support"]
mod support {
    //! The built program as a process, as the promises start it.
    #![allow(dead_code, reason = "what the promises need beside this target")]

    mod client;
    mod proxy;

    pub use client::{Answer, Client, request};
    pub use proxy::{Proxy, Setup};
}

mod authority;
mod body;
mod client;
mod comparison;
mod connections;
mod early;
mod equality;
mod faults;
mod frames;
mod matrix;
mod origin;
mod own_answers;
mod prefix;
mod raw;
mod raw_http1;
mod raw_http2;
mod replays;
mod stage;
mod wire;
