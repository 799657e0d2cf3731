//! The formats of responses: JSON, Prometheus text, or a problem (RFC 9457).

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, StatusCode};
use serde::Serialize;
use serde_json::{Value, json};

/// A document in JSON.
#[derive(Debug)]
pub(super) struct Json<T>(pub(super) StatusCode, pub(super) T);

/// The Prometheus text format.
#[derive(Debug)]
pub(super) struct MetricsText(pub(super) String);

/// A problem document.
#[derive(Debug)]
pub(super) struct Problem {
    status: StatusCode,
    /// The word after `urn:bearer-proxy:`.
    kind: &'static str,
    detail: String,
    /// Extension members.
    more: Vec<(&'static str, Value)>,
}

// === impl Json ===

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        let Self(status, document) = self;
        match serde_json::to_vec(&document) {
            Ok(json) => answer(status, "application/json", json),
            Err(error) => {
                tracing::error!(%error, "a response could not be written as JSON");
                answer(StatusCode::INTERNAL_SERVER_ERROR, "text/plain; charset=utf-8", Vec::new())
            }
        }
    }
}

// === impl MetricsText ===

impl IntoResponse for MetricsText {
    fn into_response(self) -> Response {
        answer(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", self.0)
    }
}

// === impl Problem ===

impl Problem {
    pub(super) fn new(status: StatusCode, kind: &'static str, detail: impl Into<String>) -> Self {
        Self { status, kind, detail: detail.into(), more: Vec::new() }
    }

    pub(super) fn with(mut self, member: &'static str, value: impl Into<Value>) -> Self {
        self.more.push((member, value.into()));
        self
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let Self { status, kind, detail, more } = self;
        let mut problem = json!({
            "type": format!("urn:bearer-proxy:{kind}"),
            "title": status.canonical_reason(),
            "status": status.as_u16(),
            "detail": detail,
        });
        for (name, value) in more {
            problem[name] = value;
        }
        answer(status, "application/problem+json", problem.to_string())
    }
}

fn answer(status: StatusCode, content_type: &'static str, body: impl Into<Body>) -> Response {
    let mut answer = Response::new(body.into());
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    answer
}
