//! The proxy's own responses: each documented row, over both protocols.

mod for_browsers;
mod for_clients;
mod for_operators;
mod for_upstreams;

use testkit::Answer;
use testkit::connection::Protocol;

const BOTH: [Protocol; 2] = [Protocol::Http1, Protocol::Http2];

/// The status, the last part of the problem's type, and the error of RFC 9209.
type Row = (u16, &'static str, &'static str);

/// Checks that this is the proxy's response and cannot be mistaken for the upstream's. `retry`: it has `Retry-After`.
fn assert_own(answer: &Answer, (status, kind, error): Row, retry: bool, what: &str) {
    let said = answer.text();
    assert_eq!(answer.status.as_u16(), status, "{what}: {said}");
    assert_eq!(answer.field("content-type"), "application/problem+json", "{what}: {said}");
    let document: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(document["type"], format!("urn:bearer-proxy:{kind}"), "{what}: {said}");
    assert_eq!(document["status"], status, "{what}");
    assert!(document["title"].as_str().is_some_and(|title| !title.is_empty()), "{what}: {said}");
    assert!(document["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{what}: {said}");
    assert_eq!(answer.field("proxy-status"), format!("bearer-proxy; error={error}"), "{what}: {said}");
    assert_eq!(answer.field("cache-control"), "no-store", "{what}");
    assert_eq!(answer.field("content-length"), answer.body.len().to_string(), "{what}");
    assert!(!answer.headers.contains_key("www-authenticate"), "{what}");
    let seconds = answer.headers.get("retry-after").map(|value| value.to_str().unwrap().parse::<u64>().unwrap());
    assert_eq!(seconds.is_some_and(|seconds| seconds >= 1), retry, "{what}: {seconds:?}");
}
