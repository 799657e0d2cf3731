//! The token endpoint's errors, in each flavour's words.
//!
//! League 8 calls a dead refresh token 401 `invalid_request`, league 9 calls it 400 `invalid_grant`: neither the status nor the
//! code alone shows what happened.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::answer::Answer;
use super::options::Flavour;

/// Why the server refuses a call.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenError {
    /// The user denied access. The redirect of the browser carries this error.
    AccessDenied,
    Code(DeadCode),
    /// Unknown client or wrong secret.
    Client,
    /// A parameter is missing or malformed.
    Parameter(String),
    RefreshToken(DeadRefresh),
    /// A scope that the grant does not have.
    Scope(String),
    Server(String),
    /// The client may not use this grant type.
    UnauthorizedClient,
    UnsupportedGrantType,
}

/// Why the server refuses a refresh token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeadRefresh {
    Expired,
    /// Of another client.
    NotLinked,
    Revoked,
    Undecryptable,
}

/// Why the server refuses an authorization code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeadCode {
    Expired,
    OtherClient,
    OtherRedirectUri,
    Revoked,
    Undecryptable,
    /// A verifier without a challenge to compare it with: a downgrade attack (RFC 9700 §2.1.1).
    UnexpectedVerifier,
    VerifierMalformed,
    WrongVerifier,
}

struct Row {
    status: u16,
    code: &'static str,
    description: String,
    hint: Option<String>,
}

const MALFORMED: &str = "The request is missing a required parameter, includes an invalid parameter value, includes a \
                         parameter more than once, or is otherwise malformed.";
const BAD_GRANT: &str = "The provided authorization grant (e.g., authorization code, resource owner credentials) or \
                         refresh token is invalid, expired, revoked, does not match the redirection URI used in the \
                         authorization request, or was issued to another client.";
const UNEXPECTED: &str = "The authorization server encountered an unexpected condition which prevented it from fulfilling \
                          the request: ";

// === impl TokenError ===

impl TokenError {
    /// The response. `scheme`: of the request's `Authorization`. Without one, league names no scheme either.
    pub(super) fn answer(&self, flavour: Flavour, scheme: Option<&str>) -> Answer {
        let row = self.row(flavour);
        let status = if flavour == Flavour::Priava { 400 } else { row.status };
        let mut answer = Answer::json(status, &Value::Object(row.members(flavour)));
        if let (401, "invalid_client", Some(scheme)) = (status, row.code, scheme) {
            let named = if scheme.starts_with("Bearer") { "Bearer" } else { "Basic" };
            answer = answer.header("WWW-Authenticate", format!("{named} realm=\"OAuth\""));
        }
        if flavour == Flavour::Rfc6749 {
            // RFC 6749 §5.2 asks for it; league does not.
            answer = answer.header("Cache-Control", "no-store").header("Pragma", "no-cache");
        }
        answer
    }

    /// Code and hint, for the ledger and for the redirect of a browser.
    pub(super) fn members(&self, flavour: Flavour) -> Map<String, Value> {
        self.row(flavour).members(flavour)
    }

    /// One line for the ledger.
    pub(super) fn summary(&self, flavour: Flavour) -> String {
        let row = self.row(flavour);
        format!("{}: {}", row.code, row.hint.unwrap_or(row.description))
    }

    fn row(&self, flavour: Flavour) -> Row {
        let league8 = flavour == Flavour::League8;
        match self {
            Self::AccessDenied => Row::new(
                401,
                "access_denied",
                "The resource owner or authorization server denied the request.",
                Some("The user denied the request"),
            ),
            Self::Client => Row::new(401, "invalid_client", "Client authentication failed", None),
            Self::Code(why) => why.row(league8),
            Self::Parameter(name) => Row::parameter(&format!("Check the `{name}` parameter")),
            Self::RefreshToken(why) => {
                let (status, code) = if league8 { (401, "invalid_request") } else { (400, "invalid_grant") };
                Row::new(status, code, "The refresh token is invalid.", Some(why.hint()))
            }
            Self::Scope(scope) => Row::new(
                400,
                "invalid_scope",
                "The requested scope is invalid, unknown, or malformed",
                Some(&format!("Check the `{scope}` scope")),
            ),
            Self::Server(hint) => Row::new(500, "server_error", &format!("{UNEXPECTED}{hint}"), None),
            // Known to league from 9.2.0 on.
            Self::UnauthorizedClient if league8 => Self::Client.row(flavour),
            Self::UnauthorizedClient => Row::new(
                400,
                "unauthorized_client",
                "The authenticated client is not authorized to use this authorization grant type.",
                None,
            ),
            Self::UnsupportedGrantType => Row::new(
                400,
                "unsupported_grant_type",
                "The authorization grant type is not supported by the authorization server.",
                Some("Check that all required parameters have been provided"),
            ),
        }
    }
}

// === impl DeadRefresh ===

impl DeadRefresh {
    fn hint(self) -> &'static str {
        match self {
            Self::Expired => "Token has expired",
            Self::NotLinked => "Token is not linked to client",
            Self::Revoked => "Token has been revoked",
            Self::Undecryptable => "Cannot decrypt the refresh token",
        }
    }
}

// === impl DeadCode ===

impl DeadCode {
    fn row(self, league8: bool) -> Row {
        let grant = |hint| Row::new(400, "invalid_grant", BAD_GRANT, Some(hint));
        // League 9.1 moved these from one code to the other.
        let moved = |hint| if league8 { Row::parameter(hint) } else { grant(hint) };
        match self {
            Self::Expired => moved("Authorization code has expired"),
            Self::OtherClient => Row::parameter("Authorization code was not issued to this client"),
            Self::OtherRedirectUri => Row::parameter("Invalid redirect URI"),
            Self::Revoked => moved("Authorization code has been revoked"),
            Self::Undecryptable if league8 => Row::parameter("Cannot decrypt the authorization code"),
            Self::Undecryptable => grant("Cannot validate the provided authorization code"),
            Self::UnexpectedVerifier => Row::parameter("code_verifier received when no code_challenge is present"),
            Self::VerifierMalformed => Row::parameter("Code Verifier must follow the specifications of RFC-7636."),
            Self::WrongVerifier => grant("Failed to verify `code_verifier`."),
        }
    }
}

// === impl Row ===

impl Row {
    fn new(status: u16, code: &'static str, description: &str, hint: Option<&str>) -> Self {
        Self { status, code, description: description.to_owned(), hint: hint.map(str::to_owned) }
    }

    fn parameter(hint: &str) -> Self {
        Self::new(400, "invalid_request", MALFORMED, Some(hint))
    }

    fn members(&self, flavour: Flavour) -> Map<String, Value> {
        let mut members = Map::new();
        members.insert("error".to_owned(), self.code.into());
        members.insert("error_description".to_owned(), self.description.as_str().into());
        if let (Some(hint), true) = (&self.hint, flavour.is_league()) {
            members.insert("hint".to_owned(), hint.as_str().into());
        }
        if flavour == Flavour::League8 {
            // Removed in 9.0.
            members.insert("message".to_owned(), self.description.as_str().into());
        }
        members
    }
}
