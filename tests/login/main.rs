//! `login`, on the built program, against the simulator: through a terminal, through a pipe, and with standard input closed.
//!
//! What the program prints is kept in `expected/`, to the byte. `UPDATE_EXPECTED=1 cargo test --test login` writes these files.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "a test that meets the unexpected has failed"
)]

mod a_failed_login_says_what_to_do;
mod a_login_takes_what_comes_first;
mod a_terminal_is_left_as_it_was;
mod browser;
mod every_known_failure_is_kept;
mod expected;
mod program;
mod the_running_proxy_uses_the_new_grant;

/// How a test's program is given its standard input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stdin {
    Terminal,
    Pipe,
    Closed,
}

pub const STDINS: [Stdin; 3] = [Stdin::Terminal, Stdin::Pipe, Stdin::Closed];
