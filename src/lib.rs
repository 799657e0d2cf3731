//! An authenticating gateway (RFC 9110 §3.7): internal clients send plain requests, the upstream API gets them with a
//! valid `Authorization: Bearer`.
//!
//! Two journeys run through the program, and its modules are those journeys:
//!
//! ```text
//! a request   client → downstream → proxy: guard → headers → bearer → replay → upstream → back, with errors made in one place
//! a token     store → refresher (intent) → token endpoint → store (commit) → live token → read by bearer, on every request
//! ```
//!
//! They meet at one point: [`proxy::bearer`] reads the live token and reports a refused generation. Nothing else knows both.
//!
//! # Glossary
//!
//! | word | meaning |
//! |---|---|
//! | downstream | the internal client's side |
//! | upstream | the API's side |
//! | grant | what the authorization server gave: an access token and, mostly, the refresh token that renews it |
//! | token | the access token of a grant |
//! | generation | the number of an access token; it grows by one with each new one |
//! | refresh | one attempt to renew the token at the token endpoint |
//! | rotation | a refresh that also replaced the refresh token |
//! | refusal | an upstream's answer that says the token it was given is not valid |
//! | replay | the one repetition of a request after a refusal or a provably unprocessed attempt |
//! | lease | the right to present the refresh token, for a bounded time |
//! | drain | the orderly end: no new work, what is in flight finishes |

pub mod cli;
pub mod config;
pub mod secret;

pub mod downstream;

pub mod proxy;

pub mod outbound;

pub mod upstream;

pub mod token;

pub mod admin;
pub mod clock;
pub mod descriptors;
pub mod fault;
pub mod files;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
pub mod gateway;
pub mod metrics;
pub mod supervise;
pub mod telemetry;
