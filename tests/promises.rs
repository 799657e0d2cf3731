//! What the program promises, on the built program, against the simulator, over real sockets: one file a promise.
//!
//! The judge is the simulated server's own ledger and what the clients saw; the proxy's word counts only where it is what is
//! promised.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that meets the unexpected has failed")]

#[path = "promises/support.rs"]
mod support;

#[path = "promises/a_client_that_leaves_cancels_no_refresh.rs"]
mod a_client_that_leaves_cancels_no_refresh;
#[path = "promises/a_herd_causes_one_refresh.rs"]
mod a_herd_causes_one_refresh;
#[path = "promises/a_restart_presents_nothing.rs"]
mod a_restart_presents_nothing;
#[path = "promises/an_expired_token_is_never_sent.rs"]
mod an_expired_token_is_never_sent;
#[path = "promises/every_grant_works.rs"]
mod every_grant_works;
#[path = "promises/refusals_are_bounded.rs"]
mod refusals_are_bounded;
#[path = "promises/rotation_under_load_fails_nobody.rs"]
mod rotation_under_load_fails_nobody;
#[path = "promises/secrets_stay_secret.rs"]
mod secrets_stay_secret;
#[path = "promises/the_demo_works.rs"]
mod the_demo_works;
#[path = "promises/the_drain_is_orderly.rs"]
mod the_drain_is_orderly;
