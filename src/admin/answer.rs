//! The formats of responses: JSON, Prometheus text, or a problem (RFC 9457).

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::Full;
use serde::Serialize;
use serde_json::{Value, json};

pub(super) type Answer = Response<Full<Bytes>>;

pub(super) fn document(status: StatusCode, document: &impl Serialize) -> Answer {
    match serde_json::to_vec(document) {
        Ok(json) => answer(status, "application/json", json),
        Err(error) => {
            tracing::error!(%error, "a response could not be written as JSON");
            answer(StatusCode::INTERNAL_SERVER_ERROR, "text/plain; charset=utf-8", Vec::new())
        }
    }
}

/// `kind` is the word after `urn:bearer-proxy:`. `more` are extension members.
pub(super) fn problem(status: StatusCode, kind: &str, detail: &str, more: &[(&str, Value)]) -> Answer {
    let mut problem = json!({
        "type": format!("urn:bearer-proxy:{kind}"),
        "title": status.canonical_reason(),
        "status": status.as_u16(),
        "detail": detail,
    });
    for (name, value) in more {
        problem[*name] = value.clone();
    }
    answer(status, "application/problem+json", problem.to_string())
}

/// The Prometheus text format.
pub(super) fn metrics(text: String) -> Answer {
    answer(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", text)
}

fn answer(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    answer
}
