//! Asks the authorization endpoint, as a browser would, whether it knows the client and the redirect URI.
//!
//! A server shows such an error on its own page and does not redirect (RFC 6749 §4.1.2.1), so a login would wait until its timeout.
//! This request has a `state` and a verifier of its own, so it does not affect the request of the login.

use std::time::Duration;

use http::header::{ACCEPT, LOCATION};
use http::{Method, StatusCode};

use super::callback::shown;
use super::{LoginError, Ready};
use crate::config::Outbound;
use crate::outbound::client::{Client, RequestError};
use crate::token::endpoint::{Document, Member};

/// Time limit of the whole request. After a timeout, the login continues with the browser alone.
const LIMIT: Duration = Duration::from_secs(10);
/// An error page is a few KiB.
const MAX_PAGE: usize = 64 * 1024;

/// The names that servers give to an unregistered redirect URI, on a page or in a query.
const MISMATCH: [&str; 3] = ["redirect_uri_mismatch", "invalid_redirect_uri", "redirect_uri did not match"];
/// RFC 6749 §4.1.2.1, and league/oauth2-server, which reports an unknown redirect URI as `invalid_client`.
const REFUSALS: [&str; 5] =
    ["invalid_client", "invalid_request", "unauthorized_client", "unsupported_response_type", "invalid_redirect_uri"];

/// Fails only where the login would fail too.
///
/// # Errors
/// The server refuses the request, or cannot be reached.
pub async fn preflight(
    ready: &Ready,
    outbound: &Outbound,
    registered: &str,
    redirect_uri: &str,
) -> Result<(), LoginError> {
    let authorization = ready.authorization(redirect_uri)?;
    let Some(url) = authorization.url() else { return Ok(()) };
    let client = Client::new(outbound).map_err(|error| LoginError::Configuration(error.to_string()))?;
    let request = client.request(Method::GET, url.clone()).header(ACCEPT, "text/html,application/json;q=0.9,*/*;q=0.8");
    let response = match client.send(request, MAX_PAGE, LIMIT).await {
        Ok(response) => response,
        // The token endpoint has the same origin, so the exchange would fail too. The browser may reach any other origin.
        Err(RequestError::Connect { said, outside_validity, .. }) if ready.token_url().origin() == url.origin() => {
            let said = format!("{}: {said}", url.origin().ascii_serialization());
            return Err(if outside_validity { LoginError::Clock { said } } else { LoginError::Unreachable { said } });
        }
        Err(_) => return Ok(()),
    };
    let location = response.headers.get(LOCATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let page = String::from_utf8_lossy(&response.body);
    match refusal(response.status, location, &page) {
        Some(said) => {
            Err(LoginError::NotRegistered { said, registered: registered.to_owned(), sent: redirect_uri.to_owned() })
        }
        None => Ok(()),
    }
}

/// What the server says against the client or its redirect URI. Pure.
fn refusal(status: StatusCode, location: &str, page: &str) -> Option<String> {
    let mismatch = |text: &str| MISMATCH.iter().find(|known| text.contains(**known)).map(|known| (*known).to_owned());
    if status.is_redirection() {
        return mismatch(location);
    }
    if !status.is_client_error() {
        return None;
    }
    let text = |document: &Document, name: &str| match document.member(name) {
        Member::Text(text) => Some(shown(&text)),
        Member::Absent | Member::Other => None,
    };
    let document = Document::parse(page);
    let error = document.as_ref().and_then(|document| text(document, "error"));
    match (error, document) {
        (Some(error), Some(document)) if REFUSALS.contains(&&*error) => {
            let description = text(&document, "error_description").map(|said| format!(": {said}"));
            Some(format!("{error}{}", description.unwrap_or_default()))
        }
        _ => mismatch(page),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_clear_word_on_the_client_or_the_redirect_uri_ends_a_login() {
        let league = r#"{"error":"invalid_client","error_description":"Client authentication failed","message":"x"}"#;
        let rows = [
            (401, "", league, Some("invalid_client: Client authentication failed")),
            (400, "", r#"{"error":"invalid_redirect_uri"}"#, Some("invalid_redirect_uri")),
            (400, "", "<pre>invalid_redirect_uri</pre>", Some("invalid_redirect_uri")),
            (302, "https://as.example/error?authError=redirect_uri_mismatch", "", Some("redirect_uri_mismatch")),
            (302, "https://as.example/login", "", None),
            (302, "http://127.0.0.1:1/callback?error=access_denied", "", None),
            (200, "", "<form>", None),
            (401, "", r#"{"message":"Unauthenticated."}"#, None),
            (403, "", "<h1>Forbidden</h1>", None),
            (400, "", r#"{"error":"login_required"}"#, None),
            (503, "", league, None),
        ];
        for (status, location, page, expected) in rows {
            let found = refusal(StatusCode::from_u16(status).unwrap(), location, page);
            assert_eq!(found.as_deref(), expected, "{status} {location} {page}");
        }
    }
}
