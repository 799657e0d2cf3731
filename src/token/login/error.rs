//! Why a login did not succeed: what happened, and what to do. In each case, the stored grant is unchanged.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::token::endpoint::{FailureCause, RefreshFailure};
use crate::token::{NoRandomness, RefreshOutcome};

#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    #[error("oauth.grant is {0}, which needs no login. Only the grant refresh_token has one")]
    Grant(&'static str),
    #[error("{0}")]
    Configuration(String),
    #[error("the store cannot take a grant: {0}. Correct this, then log in")]
    Store(String),
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
    #[error("signals cannot be received: {0}. Try again")]
    Signals(io::Error),
    #[error(
        "the port of the redirect URI is in use: {by} listens on {address}. Stop it, or choose another port with --port if the \
         server accepts any port for this redirect URI, or use --paste"
    )]
    PortInUse { address: SocketAddr, by: String },
    #[error("cannot listen for the redirect on {address}: {error}. Choose another port with --port, or use --paste")]
    Listen { address: SocketAddr, error: io::Error },
    #[error("access was denied ({said}). Log in again, and allow the access")]
    Denied { said: String },
    #[error(
        "the authorization server refused the login ({said}). Check oauth.scope and oauth.authorize_parameters, then log in again"
    )]
    Refused { said: String },
    #[error(
        "the authorization server refused the request ({said}). Register this redirect URI for the client, character by character: \
         {registered} (sent: {sent}). If it is registered, correct oauth.client_id or oauth.redirect_uri"
    )]
    NotRegistered { said: String, registered: String, sent: String },
    #[error("the authorization server cannot be reached: {said}. Check the network, then log in again")]
    Unreachable { said: String },
    #[error("the authorization server takes no requests of this client now ({said}). Log in again later")]
    Busy { said: String },
    #[error("{said}. Correct this machine's clock, then log in again")]
    Clock { said: String },
    #[error(
        "the server refused the code: it has expired, was used before, or belongs to another login ({said}). Log in again"
    )]
    Code { said: String },
    #[error(
        "the server refused the client's credentials ({said}). Correct oauth.client_secret, oauth.client_id or oauth.client_auth, then log in again"
    )]
    Client { said: String },
    #[error("the server did not answer the exchange clearly ({said}). Log in again")]
    Unclear { said: String },
    #[error("the server refused the exchange ({said}). Correct this, then log in again")]
    Exchange { said: String },
    #[error(
        "the server issued no refresh token, so nothing was stored. Ask for one: many servers need the scope offline_access \
         (oauth.scope), or a parameter such as access_type=offline or prompt=consent (oauth.authorize_parameters). Then log in again"
    )]
    NoRefreshToken,
    #[error("the grant was not stored: {0}. The code is spent: correct this, then log in again")]
    NotStored(String),
    #[error("nobody logged in within {}{}. {}", spell(*.after), also_ignored(*.ignored), again(.registered))]
    TimedOut { after: Duration, ignored: usize, registered: String },
    #[error("the login was interrupted ({by}){}. {}", also_ignored(*.ignored), again(.registered))]
    Interrupted { by: &'static str, ignored: usize, registered: String },
    #[error(
        "standard input ended before the redirected URL or a code was pasted. Run this command on a terminal (`docker run -it`, \
         `kubectl exec -it`), or use --from-file"
    )]
    InputEnded,
    #[error("{} cannot be read: {error}", path.display())]
    File { path: PathBuf, error: io::Error },
}

impl LoginError {
    /// The error of a failed exchange.
    pub(super) fn of_exchange(failure: &RefreshFailure, registered: &str, sent: &str) -> Self {
        use FailureCause as Cause;
        let said = failure.error.clone();
        // Where this login has advice of its own.
        let bare = failure.bare().to_owned();
        match (failure.outcome, failure.cause) {
            (_, Cause::OutsideValidity) => Self::Clock { said },
            (RefreshOutcome::Rejected, _) => Self::Code { said: bare },
            (RefreshOutcome::Transient, Cause::NoResponse) => Self::Unreachable { said },
            // The server has answered: 429, or 503.
            (RefreshOutcome::Transient, _) => Self::Busy { said },
            (RefreshOutcome::Ambiguous | RefreshOutcome::Ok, _) => Self::Unclear { said },
            (RefreshOutcome::Misconfigured, Cause::Client) => Self::Client { said: bare },
            (RefreshOutcome::Misconfigured, Cause::RedirectUri) => {
                Self::NotRegistered { said: bare, registered: registered.to_owned(), sent: sent.to_owned() }
            }
            (RefreshOutcome::Misconfigured, _) => Self::Exchange { said },
        }
    }
}

/// A duration as people write it: `10m`.
pub fn spell(duration: Duration) -> String {
    match (duration.as_secs(), duration.subsec_millis()) {
        (0, millis) => format!("{millis}ms"),
        (seconds, 0) if seconds % 60 == 0 => format!("{}m", seconds / 60),
        (seconds, _) => format!("{seconds}s"),
    }
}

fn also_ignored(count: usize) -> String {
    match count {
        0 => String::new(),
        1 => ". 1 response that belongs to another login was ignored".to_owned(),
        _ => format!(". {count} responses that belong to another login were ignored"),
    }
}

fn again(registered: &str) -> String {
    format!(
        "Log in again. If the browser showed an error of the server, check that this redirect URI is registered: {registered}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cause_has_its_error_whatever_the_words() {
        use FailureCause as C;
        use RefreshOutcome as O;
        let advice = "check oauth.scope";
        // Words of another cause decide nothing.
        let error = format!("HTTP 400: invalid_client: this machine's clock, redirect_uri`; {advice}");
        let kind = |outcome, cause| {
            let failure = RefreshFailure { outcome, cause, error: error.clone(), advice, retry_after: None };
            match LoginError::of_exchange(&failure, "http://127.0.0.1/cb", "http://127.0.0.1:1/cb") {
                LoginError::Clock { .. } => "clock",
                LoginError::Code { said } if !said.contains(advice) => "code",
                LoginError::Busy { .. } => "busy",
                LoginError::Unreachable { .. } => "unreachable",
                LoginError::Unclear { .. } => "unclear",
                LoginError::Client { said } if !said.contains(advice) => "client",
                LoginError::NotRegistered { said, .. } if !said.contains(advice) => "not registered",
                LoginError::Exchange { said } if said.ends_with(advice) => "exchange",
                other => panic!("{other:?}"),
            }
        };
        for (outcome, cause, expected) in [
            (O::Transient, C::OutsideValidity, "clock"),
            (O::Transient, C::NoResponse, "unreachable"),
            (O::Transient, C::Response, "busy"),
            (O::Transient, C::Client, "busy"),
            (O::Rejected, C::Response, "code"),
            (O::Ambiguous, C::NoResponse, "unclear"),
            (O::Ambiguous, C::Response, "unclear"),
            (O::Misconfigured, C::Client, "client"),
            (O::Misconfigured, C::RedirectUri, "not registered"),
            (O::Misconfigured, C::Response, "exchange"),
        ] {
            assert_eq!(kind(outcome, cause), expected, "{outcome:?} {cause:?}");
        }
    }
}
