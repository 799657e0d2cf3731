//! Requests that a browser sends for a page of another site.

use http::{Method, Request, Response};

use super::{BOTH, assert_own};
use testkit::body::{TestBody, empty, full};
use testkit::connection::{get, request};
use testkit::stage::Stage;
use testkit::within;

const KEY: &str = "0123456789abcdef0123456789abcdef";
const CROSS_SITE: super::Row = (403, "cross-site", "http_request_denied");

/// The clients here ask for the host `localhost` without a port, over both protocols.
fn with(method: &Method, lines: &[(&'static str, &'static str)]) -> Request<TestBody> {
    let body = if *method == Method::POST { full("x") } else { empty() };
    let mut request = request(method.clone(), "/", body);
    for (name, value) in lines {
        request.headers_mut().append(*name, value.parse().unwrap());
    }
    request
}

/// The fields that a browser sends for a page of another site that `guard.origins` does not name.
const FOREIGN: &[&[(&str, &str)]] = &[
    &[("sec-fetch-site", "cross-site"), ("origin", "https://evil.example")],
    // A form, a link and an image.
    &[("sec-fetch-site", "cross-site")],
    &[("sec-fetch-site", "same-site")],
    &[("origin", "https://evil.example")],
    &[("origin", "null")],
    &[("origin", "http://localhost:8081")],
    &[("sec-fetch-site", "cross-site"), ("origin", "null"), ("x-proxy-key", "no key is asked for")],
];

const OWN: &[&[(&str, &str)]] = &[
    &[],
    &[("sec-fetch-site", "same-origin"), ("origin", "http://localhost")],
    &[("sec-fetch-site", "none")],
    &[("origin", "http://localhost")],
    &[("origin", "https://localhost:443")],
];

const NAMED: &[&[(&str, &str)]] = &[
    &[("sec-fetch-site", "cross-site"), ("origin", "https://app.example")],
    &[("origin", "https://app.example:443")],
    &[("origin", "http://localhost:3000")],
];

async fn stage(origins: &str, keys: &str) -> Stage {
    Stage::plain(|mut setup| {
        for (name, value) in [("GUARD__ORIGINS", origins), ("GUARD__CLIENT_KEYS", keys)] {
            setup = if value.is_empty() { setup } else { setup.set(name, value) };
        }
        setup
    })
    .await
}

async fn reaches_no_upstream(stage: &Stage, foreign: &[&[(&'static str, &'static str)]]) {
    let mut record = stage.origin.record("/");
    for protocol in BOTH {
        let mut client = stage.client(protocol).await;
        for lines in foreign {
            for method in [Method::GET, Method::POST, Method::OPTIONS, Method::DELETE] {
                let answer = client.ask(with(&method, lines)).await;
                assert_own(&answer, CROSS_SITE, false, &format!("{method} {lines:?} {protocol:?}"));
            }
        }
        assert!(record.try_recv().is_err(), "it came through");
    }
}

async fn passes(stage: &Stage, lines: &[&[(&'static str, &'static str)]]) {
    let mut record = stage.origin.record("/");
    for protocol in BOTH {
        let mut client = stage.client(protocol).await;
        for lines in lines {
            for method in [Method::GET, Method::POST, Method::OPTIONS] {
                let answer = client.ask(with(&method, lines)).await;
                assert_eq!(answer.status, 200, "{method} {lines:?} {protocol:?}");
                within(record.recv()).await.unwrap();
            }
        }
    }
}

#[tokio::test]
async fn a_page_of_another_site_reaches_no_upstream() {
    let stage = stage("", "").await;
    reaches_no_upstream(&stage, FOREIGN).await;
    reaches_no_upstream(&stage, NAMED).await;
    passes(&stage, OWN).await;
}

#[tokio::test]
async fn a_page_of_a_named_origin_may_ask() {
    let stage = stage("https://app.example,http://localhost:3000", "").await;
    reaches_no_upstream(&stage, FOREIGN).await;
    passes(&stage, OWN).await;
    passes(&stage, NAMED).await;
}

#[tokio::test]
async fn a_page_of_another_site_opens_no_websocket() {
    let stage = stage("", "").await;
    stage.origin.on("/socket", |_| async { Ok(Response::builder().status(426).body(empty()).unwrap()) });
    for (origin, host, status) in [
        ("https://evil.example", "localhost:8080", 403),
        ("null", "localhost:8080", 403),
        ("http://localhost", "localhost:8080", 403),
        ("http://localhost:8080", "localhost:8080", 426),
        ("ws://localhost", "localhost:80", 426),
        ("wss://localhost:443", "localhost", 426),
        ("https://app.example", "localhost:8080", 403),
    ] {
        let mut raw = stage.raw().await;
        raw.send(format!(
            "GET /socket HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nOrigin: {origin}\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        ))
        .await;
        let answer = raw.read_answer().await;
        assert_eq!(answer.status, status, "{origin} of {host}");
    }
}

#[tokio::test]
async fn who_has_a_key_is_no_page() {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, KEY.as_bytes());
    let digest: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    let stage = stage("", &digest).await;
    let _record = stage.origin.record("/");
    let foreign = ("origin", "https://evil.example");
    for protocol in BOTH {
        let mut client = stage.client(protocol).await;
        let answer = client.ask(with(&Method::POST, &[foreign])).await;
        assert_own(&answer, CROSS_SITE, false, "no key");
        let answer = client.ask(with(&Method::POST, &[foreign, ("x-proxy-key", "")])).await;
        assert_own(&answer, CROSS_SITE, false, "an empty key");
        assert_eq!(client.ask(with(&Method::POST, &[foreign, ("x-proxy-key", KEY)])).await.status, 200);
        let answer = client.ask(get("/")).await;
        assert_own(&answer, (403, "client-key-required", "http_request_denied"), false, "own page, no key");
    }
}
