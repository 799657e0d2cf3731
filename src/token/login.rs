//! A login: the authorization code flow with PKCE and `state` (RFC 6749 §4.1, RFC 7636), without a user interface.
//!
//! ```text
//! Ready::new        the store takes a grant, the token endpoint can be called
//! Redirect::new     where the browser comes back to
//! Authorization     the URL to show, with a state and a verifier of its own
//! Callback          what came back, from a browser or from a person who pasted it
//! Ready::exchange   code → tokens → a new lineage in the store
//! ```
//!
//! A terminal drives these steps ([`cli::login`](crate::cli)). Nothing here knows it.

mod authorization;
mod callback;
mod error;
mod exchange;
mod pkce;
mod preflight;
mod redirect;

pub use authorization::Authorization;
pub use callback::{Callback, MAX_LENGTH, Malformed};
pub use error::{LoginError, spell};
pub use exchange::{Ready, Stored};
pub use pkce::random;
pub use preflight::preflight;
pub use redirect::{Loopback, Redirect};
