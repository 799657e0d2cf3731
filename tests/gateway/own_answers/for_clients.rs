//! Refusals because of the client's request.

use std::time::Duration;

use http::{HeaderMap, Method, Request};

use super::{BOTH, assert_own};
use testkit::body::{TestBody, empty, fed, full, pattern, pieces};
use testkit::connection::{get, read, request};
use testkit::stage::Stage;
use testkit::within;

fn sha256_hex(text: &str) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn with(mut request: Request<TestBody>, name: &'static str, value: &str) -> Request<TestBody> {
    request.headers_mut().append(name, value.parse().unwrap());
    request
}

#[tokio::test]
async fn what_is_malformed_or_too_large_or_comes_back() {
    let stage =
        Stage::plain(|setup| setup.set("GUARD__MAX_BODY_SIZE", "1KiB").set("GUARD__MAX_HEADER_SIZE", "8KiB")).await;
    let mut record = stage.origin.record("/");
    let bad_request = (400, "bad-request", "http_request_error");
    let misdirected = (421, "misdirected-request", "http_request_denied");
    let too_large = (413, "body-too-large", "http_request_error");
    let long = "x".repeat(9000);
    for protocol in BOTH {
        for (asked, row, what) in [
            (with(get("/"), "via", "1.1 other, 1.1 Bearer-Proxy"), (508, "loop", "proxy_loop_detected"), "loop"),
            (request(Method::TRACE, "/", empty()), (501, "method-not-supported", "http_request_denied"), "TRACE"),
            (with(get("/"), "x-long", &long), (431, "headers-too-large", "http_request_error"), "a long field"),
            (get(&format!("/?{long}")), (431, "headers-too-large", "http_request_error"), "a long target"),
            (request(Method::POST, "/", full(pattern(1025))), too_large, "a long body"),
            (request(Method::POST, "/", pieces(&[pattern(1000), pattern(25)], None)), too_large, "a long chunked body"),
            (with(request(Method::POST, "/", full(pattern(1025))), "expect", "100-continue"), too_large, "before 100"),
        ] {
            let mut client = stage.client(protocol).await;
            assert_own(&client.ask(asked).await, row, false, &format!("{what}, {protocol:?}"));
        }
        // Just within the limits.
        let mut client = stage.client(protocol).await;
        let fits = with(request(Method::POST, "/", full(pattern(1024))), "x-long", &"x".repeat(7900));
        assert_eq!(client.ask(fits).await.status, 200);
        assert_eq!(within(record.recv()).await.unwrap().body.len(), 1024);
    }
    // Requests that client libraries do not send.
    for (bytes, row) in [
        ("OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n", bad_request),
        ("GET ftp://localhost/ HTTP/1.1\r\nHost: localhost\r\n\r\n", bad_request),
        ("GET / HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n", bad_request),
        ("GET / HTTP/1.1\r\n\r\n", bad_request),
        ("POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", bad_request),
        ("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", bad_request),
        ("GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n", misdirected),
        ("GET / HTTP/1.1\r\nHost: localhost.evil.example:80\r\n\r\n", misdirected),
        ("GET / HTTP/1.0\r\n\r\n", misdirected),
        ("GET http://evil.example/ HTTP/1.1\r\nHost: localhost\r\n\r\n", misdirected),
        (
            "CONNECT evil.example:443 HTTP/1.1\r\nHost: localhost\r\n\r\n",
            (501, "method-not-supported", "http_request_denied"),
        ),
    ] {
        let mut raw = stage.raw().await;
        raw.send(bytes).await;
        assert_own(&raw.read_answer().await, row, false, bytes);
    }
    assert!(record.try_recv().is_err(), "no other request came through");
}

#[tokio::test]
async fn who_has_no_key_or_asks_for_what_is_not_allowed() {
    let key = "0123456789abcdef0123456789abcdef";
    let stage = Stage::plain(|setup| {
        setup
            .set("GUARD__CLIENT_KEYS", format!("{},{}", sha256_hex("another"), sha256_hex(key)))
            .set("GUARD__ALLOW", "GET /api/*,POST /api/*/things")
            .set("GUARD__HOSTS", "localhost")
    })
    .await;
    let mut record = stage.origin.record("/api/a");
    let no_key = (403, "client-key-required", "http_request_denied");
    let not_allowed = (403, "not-allowed", "http_request_denied");
    for protocol in BOTH {
        for (asked, row, what) in [
            (get("/api/a"), no_key, "no key"),
            (with(get("/api/a"), "x-proxy-key", "wrong"), no_key, "a wrong key"),
            (with(get("/api/a"), "authorization", &format!("Basic {key}")), no_key, "another scheme"),
            (get("/elsewhere"), no_key, "no key comes before the list"),
            (with(get("/elsewhere"), "x-proxy-key", key), not_allowed, "another path"),
            (with(request(Method::DELETE, "/api/a", empty()), "x-proxy-key", key), not_allowed, "another method"),
            (with(get("/api/a/../b"), "x-proxy-key", key), not_allowed, "dots"),
            (with(get("/api//"), "x-proxy-key", key), not_allowed, "an empty segment"),
            (with(get("/api/a%2fb"), "x-proxy-key", key), not_allowed, "an encoded slash"),
            (with(get("/api/a?_method=DELETE"), "x-proxy-key", key), not_allowed, "a method in the query"),
            (with(get("/api/a?x&%5fmethod[]=DELETE"), "x-proxy-key", key), not_allowed, "an encoded one"),
            (with(get("/api/a"), "x-proxy-key", ""), no_key, "an empty key"),
        ] {
            // A refused key ends an HTTP/1 connection.
            let mut client = stage.client(protocol).await;
            assert_own(&client.ask(asked).await, row, false, &format!("{what}, {protocol:?}"));
        }
        let mut client = stage.client(protocol).await;
        for (name, value) in [("x-proxy-key", key.to_owned()), ("authorization", format!("bearer {key}"))] {
            let mut asked = with(get("/api/a?b"), name, &value);
            for override_of_the_guard in
                ["x-http-method-override", "x-original-url", "x-rewrite-url", "x-original-path"]
            {
                asked = with(asked, override_of_the_guard, "DELETE");
            }
            assert_eq!(client.ask(asked).await.status, 200, "{name}");
            let seen = within(record.recv()).await.unwrap();
            assert_eq!((seen.target.as_str(), seen.values("authorization").len()), ("/api/a?b", 1));
            assert!(!format!("{:?}", seen.headers).contains(key), "the key went upstream");
            assert!(!format!("{:?}", seen.headers).contains("DELETE"), "{:?}", seen.headers);
        }
    }
    // The guard checks the host before the key.
    let mut raw = stage.raw().await;
    raw.send("GET /api/a HTTP/1.1\r\nHost: evil.example\r\n\r\n").await;
    let misdirected = (421, "misdirected-request", "http_request_denied");
    assert_own(&raw.read_answer().await, misdirected, false, "host and key");
    assert!(record.try_recv().is_err());
}

#[tokio::test]
async fn a_body_that_stalls() {
    let stage = Stage::plain(|setup| setup.set("UPSTREAM__IDLE_TIMEOUT", "300ms")).await;
    let record = stage.origin.record("/");
    for protocol in BOTH {
        let mut client = stage.client(protocol).await;
        let (feed, body) = fed();
        assert!(feed.send("begun").await);
        let answer = within(async { read(client.send(request(Method::POST, "/", body)).await.unwrap()).await }).await;
        assert_own(&answer, (408, "request-timeout", "http_request_error"), false, &format!("{protocol:?}"));
        drop(feed);
    }
    assert!(record.is_empty(), "what stalled was never whole");
    // Slow is not stalled.
    let mut client = stage.client(BOTH[0]).await;
    let (feed, body) = fed();
    let asking = tokio::spawn(async move { client.ask(request(Method::POST, "/", body)).await });
    for _ in 0..5 {
        assert!(feed.send("piece").await);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    feed.trailers(HeaderMap::new()).await;
    assert_eq!(within(asking).await.unwrap().status, 200);
}
