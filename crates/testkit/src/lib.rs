//! What the tests of bearer-proxy share: processes, clients, servers, certificates, PostgreSQL, a Kubernetes API server, network namespaces.
//!
//! It starts the program as its users do and does not link it. Cargo passes the path of the program (`CARGO_BIN_EXE_bearer-proxy`);
//! `PROGRAM=…` names another build.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::missing_panics_doc,
    clippy::new_without_default,
    reason = "a test that meets the unexpected has failed"
)]

pub mod authority;
pub mod body;
mod cgroup;
mod client;
pub mod connection;
mod disk;
mod files;
pub mod frames;
pub mod kubernetes;
pub mod memory;
pub mod names;
mod namespaces;
pub mod origin;
pub mod postgres;
mod probe;
mod process;
pub mod random;
pub mod raw;
mod schedule;
pub mod stage;
mod wait;
pub mod wire;

pub use cgroup::Cgroup;
pub use client::{Answer, Client, request};
pub use disk::{Disk, Trouble};
pub use files::allow_open_files;
pub use namespaces::Namespaces;
pub use probe::{PROMPT, Prober, probe};
pub use process::{Proxy, Setup, output, program};
pub use schedule::demand;
pub use wait::{eventually, within};
