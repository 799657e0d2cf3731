//! The token endpoint's client: one call, one connection of its own, nothing resent, no redirect followed.
//!
//! A refresh token is mostly good for one presentation. So a call never repeats itself, and always knows what it may
//! have spent: `call` tells whether a byte was handed to the connection, `classify` tells what the answer means.
//! What follows is [`policy`](crate::token::policy)'s decision.

mod call;
mod classify;
mod decode;
mod document;
mod found;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod lenient;
mod mask;
mod request;
mod retry_after;
#[cfg(test)]
mod tests;
mod watched;

use std::time::Duration;

use http::uri::Scheme;
use tokio::time::Instant;
use url::{Position, Url};

use crate::config::{Origin, Outbound, TokenEndpoint};
use crate::outbound::{Connector, TlsError};
use crate::secret::Secret;
use crate::token::{AccessToken, RefreshOutcome, RefreshToken};
use call::CallLimits;
pub(crate) use document::{Document, Member};
use mask::Mask;
use request::Template;

/// Makes token calls (RFC 6749 §3.2).
pub struct Endpoint {
    config: TokenEndpoint,
    connector: Connector,
    template: Template,
}

/// What is presented for a token.
#[derive(Clone, Copy, Debug)]
pub enum Presented<'a> {
    /// RFC 6749 §6.
    RefreshToken(&'a RefreshToken),
    /// RFC 6749 §4.4.
    ClientCredentials,
    /// RFC 6749 §4.1.3, with the verifier of RFC 7636 §4.5.
    Code {
        code: &'a Secret,
        verifier: Option<&'a Secret>,
        /// As it stood in the authorization request, byte for byte.
        redirect_uri: &'a str,
    },
}

/// What was presented, without its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GrantType {
    RefreshToken,
    ClientCredentials,
    Code,
}

/// How a token call ended.
///
/// A refresh token that arrives with a 2xx response and is not the presented one is the only live successor of the
/// grant. So no variant that can carry it lets a caller handle the rest without it.
#[derive(Clone, Debug)]
pub enum CallResult {
    Issued(Issued),
    /// A new refresh token, but no access token that can be used.
    SuccessorOnly(SuccessorOnly),
    /// No new token.
    Failed(RefreshFailure),
}

/// A response that has a new refresh token, and is a failure otherwise.
#[derive(Clone, Debug)]
pub struct SuccessorOnly {
    /// Must be stored: the presented one is spent.
    pub refresh: RefreshToken,
    /// Ambiguous or misconfigured.
    pub failure: RefreshFailure,
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
pub struct RefreshFailure {
    /// Never [`RefreshOutcome::Ok`].
    pub outcome: RefreshOutcome,
    /// What the server or the network said, in words that hold no secret.
    pub error: String,
    /// The server's `Retry-After`, clamped to 1 s to 5 min.
    pub retry_after: Option<Duration>,
}

/// Why token calls can't be made at all.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    #[error("oauth.token_url: no request can be addressed to the host `{host}`; check the URL")]
    Url { host: String },
    #[error("oauth.client_id and oauth.client_secret make no valid `Authorization` field; check them")]
    Credentials,
    #[error(transparent)]
    Tls(#[from] TlsError),
}

// === impl Endpoint ===

impl Endpoint {
    /// # Errors
    /// The trust anchors of `outbound.ca_file` could not be read, or the configuration makes no valid request.
    pub fn new(config: TokenEndpoint, outbound: &Outbound) -> Result<Self, EndpointError> {
        let origin = origin(&config.url)?;
        let template = Template::new(&config, &origin)?;
        // A connection that comes late leaves too little time for the exchange, and an exchange that is cut off may
        // cost the grant, whereas a connection that is given up costs nothing. So it may take half of the time at most.
        let connector = Connector::new(origin, outbound, None, config.request_timeout / 2)?;
        Ok(Self { config, connector, template })
    }

    pub fn config(&self) -> &TokenEndpoint {
        &self.config
    }

    /// One call, bounded by `oauth.request_timeout`. Not a byte is sent after `send_by`, when the right to present has
    /// run out: the outcome is then [`RefreshOutcome::Transient`].
    ///
    /// Must be run to its end: **never drop this future**, and so never put it under a `timeout` or into a `select!`,
    /// nor await it in a task that can be aborted. A call that is given up after its bytes left is a lost grant: the
    /// server has spent the refresh token, and nobody has heard the successor. The refresher gives each call a task of
    /// its own.
    pub async fn call(&self, presented: Presented<'_>, send_by: Instant) -> CallResult {
        let limits = CallLimits { send_by, end_by: Instant::now() + self.config.request_timeout };
        let mask = Mask::new(presented, &self.config);
        let request = self.template.request(presented, &self.config);
        call::call(&self.connector, request, limits, presented, &mask).await
    }
}

/// The origin of `oauth.token_url`, without user and password: those are no part of RFC 6749, and would go to a log.
fn origin(url: &Url) -> Result<Origin, EndpointError> {
    let invalid = || EndpointError::Url { host: url.host_str().unwrap_or_default().to_owned() };
    let scheme = Scheme::try_from(url.scheme()).map_err(|_| invalid())?;
    let authority = url[Position::BeforeHost..Position::AfterPort].parse().map_err(|_| invalid())?;
    Ok(Origin { scheme, authority })
}

// === impl Presented ===

impl<'a> Presented<'a> {
    pub fn grant_type(self) -> GrantType {
        match self {
            Self::RefreshToken(_) => GrantType::RefreshToken,
            Self::ClientCredentials => GrantType::ClientCredentials,
            Self::Code { .. } => GrantType::Code,
        }
    }

    fn refresh_token(self) -> Option<&'a RefreshToken> {
        match self {
            Self::RefreshToken(token) => Some(token),
            Self::ClientCredentials | Self::Code { .. } => None,
        }
    }
}
