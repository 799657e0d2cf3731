//! The token endpoint's client: one call, one connection of its own, nothing resent, no redirect followed.

use std::time::Duration;

use crate::config::{Outbound, TokenEndpoint};
use crate::token::{AccessToken, Outcome, RefreshToken};
use crate::upstream::connect::TlsError;

/// Makes token calls (RFC 6749 §3.2).
pub struct Endpoint {
    config: TokenEndpoint,
}

/// What is presented for a token.
#[derive(Clone, Copy, Debug)]
pub enum Presented<'a> {
    RefreshToken(&'a RefreshToken),
    ClientCredentials,
}

/// How a token call ended.
#[derive(Clone, Debug)]
pub enum Answer {
    Issued(Issued),
    Failed(Failure),
}

/// What the server issued (RFC 6749 §5.1).
#[derive(Clone, Debug)]
pub struct Issued {
    pub access: AccessToken,
    /// `None`: the presented one stays valid (RFC 6749 §6).
    pub refresh: Option<RefreshToken>,
    /// `None`: not named, or makes no sense. At most ten years.
    pub lifetime: Option<Duration>,
}

/// A token call that brought no token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Never [`Outcome::Ok`].
    pub outcome: Outcome,
    /// What the server or the network said, in words that hold no secret.
    pub error: String,
    /// The server's `Retry-After`, clamped to 1 s to 5 min.
    pub retry_after: Option<Duration>,
}

// === impl Endpoint ===

impl Endpoint {
    /// # Errors
    /// The trust anchors of `outbound.ca_file` could not be read.
    pub fn new(config: TokenEndpoint, outbound: &Outbound) -> Result<Self, TlsError> {
        let _ = outbound;
        Ok(Self { config })
    }

    /// One call, bounded by `oauth.request_timeout`. Must be run to its end: a call given up after its bytes left is a lost grant.
    pub async fn call(&self, presented: Presented<'_>, deadline: tokio::time::Instant) -> Answer {
        let _ = deadline;
        let _ = (&self.config, presented);
        todo!()
    }
}
