//! The outcome of a token endpoint's response. A table, pure except for one warning.
//!
//! | response | class |
//! |---|---|
//! | 2xx with a usable `access_token` of type Bearer (RFC 6749 §5.1) | ok |
//! | 2xx with a token of another type | misconfigured |
//! | 408, 425, 429, 503 | transient |
//! | other 5xx; any other 2xx; a connection that ends before the response is clear | ambiguous |
//! | 4xx or 2xx with an error that refuses the grant itself (`refuses_the_grant`) | rejected |
//! | 3xx, every other 4xx, and 2xx with another known error | misconfigured |
//!
//! **A new refresh token in a 2xx response is kept in every class** ([`found`](super::found)), because the presented one is
//! spent.
//!
//! A grant ends only if the server clearly refuses the grant itself. A status alone is not clear, and neither is a code about the
//! client or the request. In doubt, the grant is kept:
//!
//! * **403, 404, 405, and 4xx without JSON or with an unknown code** are misconfigured. Another program answered (a
//!   firewall), or the server did not check the grant. The grant is presented again later.
//! * **"Token is not linked to client"** is misconfigured, although league calls it an invalid refresh token. The token is
//!   valid, but it was issued to another `client_id`. League spends no token that it refuses, so another attempt costs
//!   nothing.
//! * **An unusable successor** (a `refresh_token` with control characters) with a usable access token is ok without a
//!   successor. The presented token is spent. An ambiguous outcome would discard a live access token too.
//!
//! The `client_credentials` grant is never rejected, because no login could repair it.

use std::time::Duration;

use http::header::{CONTENT_TYPE, LOCATION};
use http::{HeaderMap, StatusCode};
use jiff::Timestamp;

use super::decode;
use super::document::{Document, Member};
use super::found::{Found, Search, trimmed};
use super::mask::Mask;
use super::retry_after::retry_after;
use super::{CallResult, FailureCause, GrantType, Issued, Presented, RefreshFailure, SuccessorOnly};
use crate::token::{AccessToken, RefreshOutcome};

/// A response as far as it arrived.
#[derive(Clone, Copy)]
pub(super) struct Received<'a> {
    pub(super) status: StatusCode,
    pub(super) headers: &'a HeaderMap,
    pub(super) body: &'a [u8],
    /// Why the body is incomplete.
    pub(super) cut: Option<&'a str>,
}

/// League 8 refuses a refresh token with the code of a malformed request. Only the description distinguishes the two
/// (`OAuthServerException::invalidRefreshToken` in versions 8 and 9).
const LEAGUE_INVALID: &str = "The refresh token is invalid.";

/// League's hint that the client is wrong, and not the token.
const LEAGUE_NOT_LINKED: &str = "Token is not linked to client";

/// League's hints that the redirect URI is wrong or missing.
const LEAGUE_REDIRECT_URI: [&str; 2] = ["Invalid redirect URI", "`redirect_uri`"];

/// Why there is no token.
struct Failed {
    outcome: RefreshOutcome,
    error: String,
    /// What to do, if anything.
    advice: &'static str,
}

pub(super) fn classify(received: Received<'_>, presented: Presented<'_>, now: Timestamp, mask: &Mask) -> CallResult {
    let text = decode::text(received.headers, received.body);
    let status = received.status.as_u16();
    if received.status.is_success() {
        let search = Search { presented: presented.refresh_token(), cut: received.cut.is_some() };
        return match success(&search, &text, received.status, presented.grant_type(), mask) {
            Ok(answer) => answer,
            Err((document, Failed { outcome, error, advice })) => {
                let error = match (document.is_some(), received.cut) {
                    (false, Some(why)) => cut_off(why),
                    _ => error,
                };
                failure(received, outcome, format!("HTTP {status}, but {error}"), advice, document.as_ref(), now)
            }
        };
    }
    let search = Search { presented: None, cut: received.cut.is_some() };
    let document = search.error(&text);
    let (outcome, advice) = verdict(received, document.as_ref(), presented.grant_type());
    let said = said(received, document.as_ref(), mask);
    failure(received, outcome, format!("HTTP {status}{said}"), advice, document.as_ref(), now)
}

fn failure(
    received: Received<'_>,
    outcome: RefreshOutcome,
    error: String,
    advice: &'static str,
    document: Option<&Document>,
    now: Timestamp,
) -> CallResult {
    let in_body = document.and_then(|document| document.text("retry-after"));
    CallResult::Failed(RefreshFailure {
        outcome,
        cause: document.map_or(FailureCause::Response, cause),
        error: if advice.is_empty() { error } else { format!("{error}; {advice}") },
        advice,
        retry_after: retry_after(received.headers, in_body.as_deref(), now),
    })
}

/// What the server refused.
fn cause(document: &Document) -> FailureCause {
    match document.text("error").as_deref() {
        Some("invalid_client") => return FailureCause::Client,
        // Google.
        Some("redirect_uri_mismatch") => return FailureCause::RedirectUri,
        _ => {}
    }
    let mut texts = ["error_description", "message", "hint"].into_iter().filter_map(|name| document.text(name));
    let is_league = |text: String| LEAGUE_REDIRECT_URI.iter().any(|known| text.contains(known));
    if texts.any(is_league) { FailureCause::RedirectUri } else { FailureCause::Response }
}

/// Classifies a 2xx response: issued tokens, a successor alone, or a failure.
fn success(
    search: &Search<'_>,
    text: &str,
    status: StatusCode,
    grant_type: GrantType,
    mask: &Mask,
) -> Result<CallResult, (Option<Document>, Failed)> {
    let Found { document, successor } = search.success(text);
    let tokens = |document: &Document| ["access_token", "refresh_token"].map(|name| document.text(name));
    let mut issued: Vec<String> = document.iter().flat_map(tokens).flatten().collect();
    issued.extend(successor.iter().map(|token| token.secret().expose().to_owned()));
    // A short value is more likely to be a word than a token.
    let mask = mask.hiding(issued.iter().map(|token| trimmed(token)).filter(|token| token.len() >= 16));
    match (understand(document.as_ref(), grant_type, &mask), successor) {
        (Ok((access, lifetime)), refresh) => {
            if refresh.is_none() && document.is_some_and(|document| search.is_unusable(&document)) {
                tracing::warn!(
                    "the server's new refresh token can't be used: the grant ends with its access token; log in before that"
                );
            }
            Ok(CallResult::Issued(Issued { access, refresh, lifetime }))
        }
        (Err(failed), None) => Err((document, failed)),
        (Err(Failed { outcome, error, advice }), Some(refresh)) => {
            // Whatever else the server reports, the grant continues with the successor.
            let outcome = if outcome == RefreshOutcome::Misconfigured { outcome } else { RefreshOutcome::Ambiguous };
            let error = if advice.is_empty() { error } else { format!("{error}; {advice}") };
            let error = format!("HTTP {}, but {error}; its new refresh token is stored", status.as_u16());
            let cause = FailureCause::Response;
            let failure = RefreshFailure { outcome, cause, error, advice: "", retry_after: None };
            Ok(CallResult::SuccessorOnly(SuccessorOnly { refresh, failure }))
        }
    }
}

/// The access token, or what is wrong. The text can reach a log, so it never quotes the body.
fn understand(
    document: Option<&Document>,
    grant_type: GrantType,
    mask: &Mask,
) -> Result<(AccessToken, Option<Duration>), Failed> {
    let failed = |outcome, error: String| Failed { outcome, error, advice: "" };
    let ambiguous = |error: &str| failed(RefreshOutcome::Ambiguous, error.to_owned());
    let document = document.ok_or_else(|| ambiguous("the body is not a JSON object with a token"))?;
    let access = match document.member("access_token") {
        Member::Text(text) => text,
        Member::Absent => return Err(without_token(document, grant_type, mask)),
        Member::Other => return Err(ambiguous("the access_token is not a string")),
    };
    match document.member("token_type") {
        // Passolution's documentation shows none; Priava writes it in capitals; Apigee writes `BearerToken`.
        Member::Absent => {}
        Member::Text(found) if is_bearer(&found) => {}
        // RFC 6749 §7.1: a token of an unknown type must not be used.
        Member::Text(found) => {
            let error = format!("the token's type is `{}`, not `Bearer`", mask.remote(&found));
            return Err(failed(RefreshOutcome::Misconfigured, error));
        }
        Member::Other => {
            return Err(failed(RefreshOutcome::Misconfigured, "the token_type is not a string".to_owned()));
        }
    }
    // Some servers write the scheme into the token.
    let access = trimmed(&access);
    let access = match access.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => trimmed(token),
        _ => access,
    };
    let access = AccessToken::parse(access).map_err(|_| ambiguous("no header field can carry the access_token"))?;
    Ok((access, document.lifetime()))
}

fn is_bearer(token_type: &str) -> bool {
    let token_type = trimmed(token_type);
    token_type.is_empty() || token_type.get(..6).is_some_and(|start| start.eq_ignore_ascii_case("bearer"))
}

/// A 2xx response without an access token. GitHub, Slack and Zoho refuse a refresh with status 200.
fn without_token(document: &Document, grant_type: GrantType, mask: &Mask) -> Failed {
    let error = format!("there is no access_token in it{}", error_members(document, mask));
    let (outcome, advice) = refusal(document, grant_type).unwrap_or((RefreshOutcome::Ambiguous, ""));
    Failed { outcome, error, advice }
}

/// The outcome of a response that is not a success, and what to do.
fn verdict(
    received: Received<'_>,
    document: Option<&Document>,
    grant_type: GrantType,
) -> (RefreshOutcome, &'static str) {
    let status = received.status.as_u16();
    match status {
        408 | 425 | 429 | 503 => (RefreshOutcome::Transient, ""),
        300..400 => (RefreshOutcome::Misconfigured, "a token call is never redirected; check oauth.token_url"),
        // Laravel's answer to a form without its CSRF token.
        419 => (RefreshOutcome::Misconfigured, "this is a page for browsers; check oauth.token_url"),
        400..500 => match document {
            Some(document) => refusal(document, grant_type)
                .unwrap_or((RefreshOutcome::Misconfigured, "check oauth.token_url and the client's registration")),
            // The complete body could have refused the grant, or the client.
            None if received.cut.is_some() => (RefreshOutcome::Ambiguous, ""),
            None => (RefreshOutcome::Misconfigured, "check oauth.token_url"),
        },
        // Also 1xx: hyper skips the valid ones, so this one ended the exchange without a response.
        _ => (RefreshOutcome::Ambiguous, ""),
    }
}

/// The outcome of an error response, and what to do. `None`: the error code is unknown.
fn refusal(document: &Document, grant_type: GrantType) -> Option<(RefreshOutcome, &'static str)> {
    let code = document.text("error").unwrap_or_default();
    let hints = |text: &str| document.text("hint").is_some_and(|found| found.trim() == text);
    let no = refuses_the_grant(&code, document) || grant_type == GrantType::Code && refuses_the_code(&code, document);
    let mend = match (code.as_str(), grant_type) {
        _ if no && hints(LEAGUE_NOT_LINKED) => "it was issued to another client; check oauth.client_id",
        (_, GrantType::RefreshToken) if no => return Some((RefreshOutcome::Rejected, "a new login is needed")),
        (_, GrantType::Code) if no => {
            return Some((RefreshOutcome::Rejected, "log in again"));
        }
        (_, GrantType::ClientCredentials) if no => "check oauth.client_id, oauth.client_secret and oauth.grant",
        // League 8 also uses this code for an unexpected `redirect_uri`.
        ("invalid_client", _) => {
            "check oauth.client_id, oauth.client_secret, oauth.client_auth and oauth.send_redirect_uri_on_refresh"
        }
        ("unauthorized_client", _) => {
            "the client may not use this grant; check oauth.grant, or ask the server's operator"
        }
        // League also uses this code for a body that it can't read.
        ("unsupported_grant_type", _) => "check oauth.grant and oauth.token_format",
        ("invalid_scope", _) => "check oauth.scope",
        ("invalid_request", _) => "check oauth.token_format, oauth.client_auth and oauth.send_redirect_uri_on_refresh",
        _ => return None,
    };
    Some((RefreshOutcome::Misconfigured, mend))
}

/// League 8 reports an expired or used code as a malformed request. Only its hint shows the difference.
fn refuses_the_code(code: &str, document: &Document) -> bool {
    code == "invalid_request" && document.text("hint").is_some_and(|hint| hint.contains("uthorization code"))
}

/// Whether the server clearly refuses the refresh token or the code itself.
fn refuses_the_grant(code: &str, document: &Document) -> bool {
    let description = document.text("error_description").unwrap_or_default();
    match code {
        "invalid_grant" => true,
        // League 8.
        "invalid_request" => description.trim() == LEAGUE_INVALID,
        // GitHub, Slack.
        "bad_refresh_token" | "invalid_refresh_token" | "expired_refresh_token" => true,
        // Spring. RFC 6750 §3.1 defines this code for access tokens, but a token endpoint receives none.
        "invalid_token" => true,
        // Entra. OpenID Connect Core §3.1.2.6: a person must take part.
        "interaction_required" | "login_required" | "consent_required" => true,
        // Atlassian. Other servers mean a grant type that the client may not use. Then the token is valid.
        "unauthorized_client" => {
            let description = description.to_ascii_lowercase().replace(['_', '-'], " ");
            description.contains("refresh token") && !description.contains("grant type")
        }
        _ => false,
    }
}

/// What the server reported. Holds no secret.
fn said(received: Received<'_>, document: Option<&Document>, mask: &Mask) -> String {
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

/// `: code: description (hint)`, as far as present. In League 8, `message` copies the description. Laravel's own errors have
/// only `message`.
fn error_members(document: &Document, mask: &Mask) -> String {
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
