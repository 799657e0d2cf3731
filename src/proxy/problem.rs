//! The proxy's own responses: problem documents (RFC 9457) with `Proxy-Status` (RFC 9209). Both distinguish them from the
//! upstream's responses.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderName, HeaderValue, Response};
use serde::Serialize;

use super::body::Body;
use super::error::Failure;
use crate::outbound::ConnectError;
use crate::token::refresher::Unavailable;

/// RFC 9457 §3.1.
#[derive(Serialize)]
struct Problem<'a> {
    r#type: String,
    title: &'a str,
    status: u16,
    detail: String,
}

const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");

// === impl Failure ===

impl Failure {
    /// The response that the client gets. `via`: the gateway's name.
    pub fn response(&self, via: &str) -> Response<Body> {
        let (status, kind, error) = self.row();
        let problem = Problem {
            r#type: format!("urn:bearer-proxy:{kind}"),
            title: status.canonical_reason().unwrap_or("Error"),
            status: status.as_u16(),
            detail: self.to_string(),
        };
        // Texts and a number always serialize.
        let document = serde_json::to_vec(&problem).unwrap_or_default();
        let mut response = Response::new(Body::full(Bytes::from(document)));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Ok(value) = HeaderValue::try_from(format!("{via}; error={error}")) {
            headers.insert(PROXY_STATUS, value);
        }
        if let Some(seconds) = self.retry_after() {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }

    /// In seconds.
    fn retry_after(&self) -> Option<u64> {
        match self {
            Self::TokenUnavailable(Unavailable { retry_after, .. }) => Some(*retry_after),
            Self::Overloaded { .. } | Self::Draining | Self::Unreachable(ConnectError::NoDescriptor) => Some(1),
            _ => None,
        }
    }
}
