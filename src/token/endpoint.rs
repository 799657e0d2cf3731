//! The client of the token endpoint. Each call has a connection of its own, resends nothing, and follows no redirect.
//!
//! Most servers accept a refresh token only once. So a call never repeats itself, and always reports what it may have spent:
//! `call` knows whether a byte was handed to the connection, and `classify` decides what the response means. What follows is
//! the decision of [`policy`](crate::token::policy).

mod call;
mod classify;
mod decode;
mod document;
mod failure;
mod found;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod lenient;
mod made_up;
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
use crate::token::{AccessToken, RefreshToken};
use call::CallLimits;
pub(crate) use document::{Document, Member};
pub use failure::{FailureCause, RefreshFailure};
pub use made_up::MadeUp;
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

/// The kind of what was presented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GrantType {
    RefreshToken,
    ClientCredentials,
    Code,
}

/// How a token call ended.
///
/// A new refresh token in a 2xx response is the only live successor of the grant. So a caller can't use a variant that may carry
/// one without handling it.
#[derive(Clone, Debug)]
pub enum CallResult {
    Issued(Issued),
    /// A new refresh token without a usable access token.
    SuccessorOnly(SuccessorOnly),
    /// No new token.
    Failed(RefreshFailure),
}

/// A response that has a new refresh token and is otherwise a failure.
#[derive(Clone, Debug)]
pub struct SuccessorOnly {
    /// The caller must store it, because the presented token is spent.
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
    /// `None`: absent or invalid. At most ten years.
    pub lifetime: Option<Duration>,
}

/// Why no token call can be made.
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
        // A late connection leaves too little time for the exchange, and an exchange that is cut off may lose the grant. Giving
        // up a connection costs nothing. So the connection may take at most half of the time.
        let connector = Connector::new(origin, outbound, None, config.request_timeout / 2)?;
        Ok(Self { config, connector, template })
    }

    pub fn config(&self) -> &TokenEndpoint {
        &self.config
    }

    /// Makes one call within `oauth.request_timeout`. After `send_by`, the lease no longer covers a call: then no byte is sent, and the
    /// outcome is [`RefreshOutcome::Transient`].
    ///
    /// **Never drop this future before it ends.** Never use it under a `timeout`, in a `select!`, or in a task that can be aborted.
    /// A call that is dropped after its bytes left loses the grant: the server has spent the refresh token, and the successor is
    /// never read. The refresher gives each call a task of its own.
    pub async fn call(&self, presented: Presented<'_>, send_by: Instant) -> CallResult {
        let limits = CallLimits { send_by, end_by: Instant::now() + self.config.request_timeout };
        let mask = Mask::new(presented, &self.config);
        let request = self.template.request(presented, &self.config);
        call::call(&self.connector, request, limits, presented, &mask).await
    }
}

/// The origin of `oauth.token_url`, without user and password. RFC 6749 does not use them, and they could reach a log.
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
