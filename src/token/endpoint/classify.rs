//! What an answer of the token endpoint means: a table, pure but for one warning.
//!
//! | answer | class |
//! |---|---|
//! | 2xx, JSON with a usable `access_token` (RFC 6749 §5.1) | ok |
//! | 408, 425, 429, 503 | transient |
//! | other 5xx; 2xx that is none of the above; a loss before the answer says what it is | ambiguous |
//! | 4xx with `invalid_grant` (RFC 6749 §5.2), or league 8's `invalid_request` for a refresh token | rejected |
//! | 3xx, and every other 4xx | misconfigured |
//!
//! The rule behind the table: a class that ends a grant needs a clear word of the server on the grant. A status alone
//! is none, and neither is a code that speaks of the client or of the request. Where in doubt, an answer is put where
//! nothing is lost:
//!
//! * **403, 404, 405, 4xx without JSON or with an unknown code** are misconfigured: somebody else answered (a firewall,
//!   another application), or a server that never came to look at the grant. It is kept, and presented again in a
//!   while.
//! * **"Token is not linked to client"** is misconfigured, though league calls it an invalid refresh token: the token
//!   is good, and the `client_id` is not the one that it was issued to. League spends no token that it refuses, so that
//!   trying again is free.
//! * **A successor that can't be used** (a `refresh_token` with control characters) beside a good access token is ok
//!   without a successor. The presented one is spent; to call the answer ambiguous would throw a living access token
//!   after it.
//! * **Text around the JSON** and a loss after its last brace take nothing from it: it is used
//!   ([`document`]).
//!
//! A grant without a person behind it (`client_credentials`) is never rejected: no login could mend it.

use http::header::{CONTENT_TYPE, LOCATION};
use http::{HeaderMap, StatusCode};
use jiff::Timestamp;

use super::document::{self, Document, Member};
use super::mask::Mask;
use super::retry_after::retry_after;
use super::{Answer, Failure, GrantType, Issued};
use crate::token::{AccessToken, Outcome, RefreshToken};

/// An answer as far as it came.
#[derive(Clone, Copy)]
pub(super) struct Received<'a> {
    pub(super) status: StatusCode,
    pub(super) headers: &'a HeaderMap,
    pub(super) body: &'a [u8],
    /// Why the body is not whole.
    pub(super) cut: Option<&'a str>,
}

/// League 8's refusal of a refresh token has the code of a malformed request, and only its description tells the two
/// apart. (`OAuthServerException::invalidRefreshToken` in both versions.)
const LEAGUE_INVALID: &str = "The refresh token is invalid.";

/// The one of its hints that speaks of the client.
const LEAGUE_NOT_LINKED: &str = "Token is not linked to client";

pub(super) fn classify(received: Received<'_>, grant_type: GrantType, now: Timestamp, mask: &Mask) -> Answer {
    let text = document::text(received.body);
    let document = Document::parse(&text);
    let status = received.status.as_u16();
    let (outcome, error) = if received.status.is_success() {
        match understand(document.as_ref(), mask) {
            Ok(issued) => return Answer::Issued(issued),
            Err(flaw) => (Outcome::Ambiguous, format!("HTTP {status}, but {}", received.cut.map_or(flaw, cut_off))),
        }
    } else {
        let (outcome, mend) = verdict(received, document.as_ref(), grant_type);
        let said = said(received, document.as_ref(), mask);
        (outcome, format!("HTTP {status}{said}{}{mend}", if mend.is_empty() { "" } else { "; " }))
    };
    let in_body = document.and_then(|document| document.text("retry-after"));
    Answer::Failed(Failure { outcome, error, retry_after: retry_after(received.headers, in_body.as_deref(), now) })
}

/// Success, or what is wrong with it: words that go to a log, and therefore never what the body holds.
fn understand(document: Option<&Document<'_>>, mask: &Mask) -> Result<Issued, String> {
    let document = document.ok_or("the body is not a JSON object")?;
    match document.member("token_type") {
        // Passolution's documentation shows none; Priava writes it in capitals.
        Member::Absent => {}
        Member::Text(found) if found.eq_ignore_ascii_case("bearer") => {}
        // RFC 6749 §7.1: a token of a type that is not understood must not be used.
        Member::Text(found) => return Err(format!("the token's type is `{}`, not `Bearer`", mask.remote(&found))),
        Member::Other => return Err("the token_type is not a string".to_owned()),
    }
    let access = match document.member("access_token") {
        Member::Text(text) => AccessToken::parse(text).map_err(|_| "no header field can carry the access_token")?,
        Member::Absent => return Err(format!("there is no access_token in it{}", error_members(document, mask))),
        Member::Other => return Err("the access_token is not a string".to_owned()),
    };
    let refresh = match document.member("refresh_token") {
        Member::Absent => None,
        Member::Text(text) => RefreshToken::parse(text).ok().or_else(unusable_successor),
        Member::Other => unusable_successor(),
    };
    Ok(Issued { access, refresh, lifetime: document.lifetime() })
}

fn unusable_successor() -> Option<RefreshToken> {
    tracing::warn!(
        "the server's new refresh token can't be used: the grant ends with its access token; log in before that"
    );
    None
}

/// The class of what is not a success, and what mends it.
fn verdict(received: Received<'_>, document: Option<&Document<'_>>, grant_type: GrantType) -> (Outcome, &'static str) {
    let status = received.status.as_u16();
    match status {
        408 | 425 | 429 | 503 => (Outcome::Transient, ""),
        300..400 => (Outcome::Misconfigured, "a token call is never redirected; check oauth.token_url"),
        // Laravel's answer to a form without its CSRF token.
        419 => (Outcome::Misconfigured, "this is a page for browsers; check oauth.token_url"),
        400..500 => match document {
            Some(document) => refusal(document, grant_type),
            // Whole, it could have said no, or that the client is unknown.
            None if received.cut.is_some() => (Outcome::Ambiguous, ""),
            None => (Outcome::Misconfigured, "check oauth.token_url"),
        },
        // 1xx too: hyper passes over those that may come, so this one ended the exchange without an answer.
        _ => (Outcome::Ambiguous, ""),
    }
}

/// A 4xx in JSON.
fn refusal(document: &Document<'_>, grant_type: GrantType) -> (Outcome, &'static str) {
    let code = document.text("error").unwrap_or_default();
    let describes = |text: &str| document.text("error_description").is_some_and(|found| found.trim() == text);
    let hints = |text: &str| document.text("hint").is_some_and(|found| found.trim() == text);
    let no = match code.as_str() {
        "invalid_grant" => true,
        "invalid_request" => describes(LEAGUE_INVALID),
        _ => false,
    };
    let mend = match (code.as_str(), grant_type) {
        _ if no && hints(LEAGUE_NOT_LINKED) => "it was issued to another client; check oauth.client_id",
        (_, GrantType::RefreshToken) if no => return (Outcome::Rejected, "a new login is needed"),
        (_, GrantType::Code) if no => {
            return (Outcome::Rejected, "the code is used up or was not meant for this client; log in again");
        }
        (_, GrantType::ClientCredentials) if no => "check oauth.client_id, oauth.client_secret and oauth.grant",
        // League 8 says so of a `redirect_uri` that it does not expect, too.
        ("invalid_client", _) => {
            "check oauth.client_id, oauth.client_secret, oauth.client_auth and oauth.send_redirect_uri_on_refresh"
        }
        ("unauthorized_client", _) => {
            "the client may not use this grant; check oauth.grant, or ask the server's operator"
        }
        // Also what league says of a body that it could not read.
        ("unsupported_grant_type", _) => "check oauth.grant and oauth.token_format",
        ("invalid_scope", _) => "check oauth.scope",
        ("invalid_request", _) => "check oauth.token_format, oauth.client_auth and oauth.send_redirect_uri_on_refresh",
        _ => "check oauth.token_url and the client's registration",
    };
    (Outcome::Misconfigured, mend)
}

/// What came, in words that hold no secret.
fn said(received: Received<'_>, document: Option<&Document<'_>>, mask: &Mask) -> String {
    let header = |name| received.headers.get(name).and_then(|value| value.to_str().ok());
    if received.status.is_redirection() {
        return header(LOCATION).map_or_else(String::new, |to| format!(" to {}", mask.location(to)));
    }
    match (document, received.cut) {
        (Some(document), _) => error_members(document, mask),
        (None, Some(why)) => format!(", and {}", cut_off(why)),
        (None, None) => header(CONTENT_TYPE).map_or_else(String::new, |media| format!(" ({})", mask.remote(media))),
    }
}

fn cut_off(why: &str) -> String {
    format!("the answer is incomplete: {why}")
}

/// `: code: description (hint)`, of what is there. League 8 has `message` too, a copy of the description; Laravel's own
/// errors have nothing else.
fn error_members(document: &Document<'_>, mask: &Mask) -> String {
    let text = |name| document.text(name).map(|text| mask.remote(&text));
    let mut said = String::new();
    for part in [text("error"), text("error_description").or_else(|| text("message"))].into_iter().flatten() {
        said.push_str(": ");
        said.push_str(&part);
    }
    if let Some(hint) = text("hint") {
        said.push_str(&format!(" ({hint})"));
    }
    said
}

#[cfg(test)]
mod tests;
