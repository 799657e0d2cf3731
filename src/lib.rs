//! An authenticating gateway (RFC 9110 §3.7): internal clients send requests without credentials. The gateway forwards them to the
//! upstream API with a valid `Authorization: Bearer`.
//!
//! Two journeys run through the program, and its modules are those journeys:
//!
//! ```text
//! a request   client → downstream → proxy: guard → headers → bearer → replay → upstream → back
//! a token     store → refresher (intent) → token endpoint → store (commit) → live token → bearer, for every request
//! ```
//!
//! They meet in one place: [`proxy::bearer`] reads the live token and reports a refused generation.
//!
//! # Glossary
//!
//! | term | meaning |
//! |---|---|
//! | downstream | the side of the internal clients |
//! | upstream | the side of the API |
//! | grant | what the authorization server issued: an access token and usually the refresh token that renews it |
//! | token | the access token of a grant |
//! | generation | the number of an access token; each new access token has the next one |
//! | lineage | the id of a grant that a person supplied; rotations keep it |
//! | refresh | one attempt to renew the token at the token endpoint |
//! | rotation | a refresh that also replaced the refresh token |
//! | refusal | a response of the upstream which means that the token is not valid |
//! | replay | the single repetition of a request, after a refusal or an attempt that was provably not processed |
//! | lease | the right to present the refresh token, for a limited time |
//! | drain | the orderly end: no new requests, and requests in flight finish |

pub mod cli;

mod admin;
mod check;
mod clock;
mod config;
mod descriptors;
mod downstream;
mod fault;
mod files;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
mod gateway;
#[cfg(feature = "internals")]
#[doc(hidden)]
pub mod internals;
mod metrics;
mod outbound;
mod proxy;
mod secret;
mod supervise;
mod telemetry;
mod token;
mod upstream;
