//! Why a token call brought no token: what follows, what caused it, and in which words.

use std::time::Duration;

use crate::outbound::ConnectError;
use crate::token::RefreshOutcome;

/// Why a refresh brought no token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefreshFailure {
    /// Never [`RefreshOutcome::Ok`]. The rotation depends on it alone.
    pub outcome: RefreshOutcome,
    pub cause: FailureCause,
    /// What the server or the network reported. Holds no secret.
    pub error: String,
    /// What to do. `error` ends with it.
    pub advice: &'static str,
    /// The server's `Retry-After`, clamped to 1 s to 5 min.
    pub retry_after: Option<Duration>,
}

/// What caused a failure, for a caller that gives advice of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureCause {
    /// No response: this process, the network, or a server that hung up.
    NoResponse,
    /// The server's certificate has expired or is not valid yet: the certificate or the clock of this machine is wrong.
    OutsideValidity,
    /// The server answered.
    Response,
    /// The server refused the client's credentials (`invalid_client`).
    Client,
    /// The server refused the redirect URI.
    RedirectUri,
}

// === impl RefreshFailure ===

impl RefreshFailure {
    /// There was no response.
    pub fn without_response(outcome: RefreshOutcome, error: String) -> Self {
        Self { outcome, cause: FailureCause::NoResponse, error, advice: "", retry_after: None }
    }

    /// `error` without the advice.
    pub fn bare(&self) -> &str {
        let bare = self.error.strip_suffix(self.advice).unwrap_or(&self.error);
        bare.strip_suffix("; ").unwrap_or(bare)
    }
}

// === impl FailureCause ===

impl From<&ConnectError> for FailureCause {
    fn from(error: &ConnectError) -> Self {
        match error {
            ConnectError::OutsideValidity(_) => Self::OutsideValidity,
            _ => Self::NoResponse,
        }
    }
}
