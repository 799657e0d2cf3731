//! `init` from its flags or from a terminal to the first answered request, and each way to run that it prints.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that meets the unexpected has failed"
)]

mod answers;
mod checks;
mod login;
mod service_manager;
mod session;
mod site;
mod status;
mod terminal;
mod tutorials;
mod ways;
