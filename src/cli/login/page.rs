//! What the browser shows after the redirect. No script, no token, nothing that the request brought.

use bytes::Bytes;
use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::Full;

/// The result of the login, or of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Page {
    Stored,
    NotStored,
    /// The `state` belongs to another login.
    Foreign,
    NotFound,
    WrongMethod,
}

const STYLE: &str = "body{font:1.1rem/1.5 system-ui,sans-serif;max-width:32rem;margin:15vh auto;padding:0 1rem}";
/// SHA-256 of [`STYLE`].
const POLICY: &str = "default-src 'none'; style-src 'sha256-Lo3IIpN9Qqr+UYJdNH+J6WeaO3KMY8zug7pk/FXJ5p0='; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

// === impl Page ===

impl Page {
    pub(super) fn response(self) -> Response<Full<Bytes>> {
        let (status, title, text) = match self {
            Self::Stored => (StatusCode::OK, "Logged in", "The grant is stored. You can close this page."),
            Self::NotStored => (
                StatusCode::BAD_REQUEST,
                "The login did not succeed",
                "The terminal in which it was started says why, and what to do. You can close this page.",
            ),
            Self::Foreign => (
                StatusCode::BAD_REQUEST,
                "This response was ignored",
                "It belongs to another login than the one that is waiting. Open the URL that the terminal shows.",
            ),
            Self::NotFound => {
                (StatusCode::NOT_FOUND, "Not found", "A login waits here for its redirect, and nothing else.")
            }
            Self::WrongMethod => (StatusCode::METHOD_NOT_ALLOWED, "Method not allowed", "Only GET is allowed."),
        };
        let page = format!(
            "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title><style>{STYLE}</style></head>\
             <body><h1>{title}</h1><p>{text}</p></body></html>\n"
        );
        let mut response = Response::new(Full::new(Bytes::from(page)));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
        headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        if self == Self::WrongMethod {
            headers.insert(ALLOW, HeaderValue::from_static("GET"));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::digest::{SHA256, digest};
    use base64::Engine;
    use base64::prelude::BASE64_STANDARD;

    use super::*;

    #[test]
    fn the_policy_allows_the_style_and_nothing_else() {
        let hash = BASE64_STANDARD.encode(digest(&SHA256, STYLE.as_bytes()));
        assert!(POLICY.contains(&format!("style-src 'sha256-{hash}';")), "{hash}");
        assert!(POLICY.starts_with("default-src 'none'"));
        let response = Page::Stored.response();
        assert_eq!(response.headers()[CONTENT_SECURITY_POLICY], POLICY);
    }
}
