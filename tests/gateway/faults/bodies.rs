//! Truncated bodies: the client sees the truncation at the same place.

use std::time::{Duration, Instant};

use http::Method;
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{client, start};
use testkit::Proxy;
use testkit::authority::Authority;
use testkit::body::{full, pattern};
use testkit::connection::{Connection, get, request};
use testkit::raw::Raw;
use testkit::wire::Wire;
use testkit::within;

/// The bytes of a body, and whether it ended properly.
pub(super) async fn read(client: &mut Connection, path: &str) -> (String, bool) {
    let mut response = within(client.send(get(path))).await.unwrap();
    assert_eq!(response.status(), 200, "{path}");
    let mut read = String::new();
    loop {
        match within(response.body_mut().frame()).await {
            None => return (read, true),
            Some(Err(_)) => return (read, false),
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    read.push_str(std::str::from_utf8(data).unwrap());
                }
            }
        }
    }
}

/// Answers path N with response N, and closes unless it is `-`.
async fn wire(answers: &'static [(&'static str, &'static str)]) -> Wire {
    Wire::start(move |stream, _, _| async move {
        let mut raw = Raw::new(Box::new(stream));
        let Some(head) = raw.try_read_head().await else { return };
        let path = head.split(' ').nth(1).unwrap();
        let (_, answer) = answers.iter().find(|(name, _)| *name == path).unwrap();
        raw.send(answer).await;
        if path.starts_with("/stall") {
            raw.read_to_end().await;
        }
    })
    .await
}

async fn both(proxy: &Proxy, path: &str) -> [(String, bool); 2] {
    let mut first = client(proxy).await;
    let address = proxy.address();
    let stream = testkit::connection::connect(address, None).await;
    let mut second = Connection::over(stream, testkit::connection::Protocol::Http2, false).await;
    [read(&mut first, path).await, read(&mut second, path).await]
}

#[tokio::test]
async fn a_body_that_is_cut_or_broken_is_cut_for_the_client() {
    let wire = wire(&[
        ("/short", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello"),
        ("/no-last-chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"),
        ("/cut-chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\na\r\nhello"),
        ("/cut-last-chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n"),
        ("/bad-chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n"),
        ("/long-chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhelloworld\r\n0\r\n\r\n"),
        ("/huge-chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nfffffffffffffffff\r\n"),
    ])
    .await;
    let proxy = start(&wire.url(), |setup| setup).await;
    for path in
        ["/short", "/no-last-chunk", "/cut-chunk", "/cut-last-chunk", "/bad-chunk", "/long-chunk", "/huge-chunk"]
    {
        for (read, whole) in both(&proxy, path).await {
            assert!("hello".starts_with(&read), "{path}: {read}");
            assert!(!whole, "{path} was ended as if whole");
        }
    }
}

#[tokio::test]
async fn a_body_that_stops_coming_is_cut_after_the_idle_timeout() {
    let wire = wire(&[
        ("/stall", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello"),
        ("/stall-chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"),
        ("/stall-at-once", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n"),
    ])
    .await;
    let proxy = start(&wire.url(), |setup| setup.set("UPSTREAM__IDLE_TIMEOUT", "300ms")).await;
    for path in ["/stall", "/stall-chunked", "/stall-at-once"] {
        let began = Instant::now();
        for (read, whole) in both(&proxy, path).await {
            assert_eq!((read.as_str(), whole), (if path == "/stall-at-once" { "" } else { "hello" }, false), "{path}");
        }
        assert!(began.elapsed() >= Duration::from_millis(600), "{path}: one limit each");
    }
}

#[tokio::test]
async fn an_upstream_that_takes_nothing_of_the_body_is_given_up() {
    let wire = Wire::start(|stream, _, log| async move {
        let mut raw = Raw::new(Box::new(stream));
        log.note(&raw.try_read_head().await.unwrap_or_default());
        std::future::pending::<()>().await;
    })
    .await;
    let proxy = start(&wire.url(), |setup| {
        setup.set("UPSTREAM__IDLE_TIMEOUT", "300ms").set("UPSTREAM__RESPONSE_TIMEOUT", "400ms")
    })
    .await;
    let mut client = client(&proxy).await;
    let answer = client.ask(request(Method::POST, "/", full(pattern(64 << 20)))).await;
    assert_eq!((answer.status.as_u16(), answer.problem().as_str()), (504, "upstream-timeout"));
    assert_eq!(answer.field("proxy-status"), "bearer-proxy; error=connection_write_timeout");
    assert_eq!(wire.log().count("POST / "), 1);
}

/// A body that ends with its connection is complete only after a close_notify (RFC 8446 §6.1, RFC 9112 §9.8).
#[tokio::test]
async fn a_tls_connection_that_ends_without_close_notify_has_cut_its_body() {
    let authority = Authority::new();
    let acceptor = authority.acceptor(&["localhost"], &["http/1.1"]);
    let wire = Wire::start(move |stream, _, _| {
        let acceptor = acceptor.clone();
        async move {
            let Ok(mut tls) = acceptor.accept(stream).await else { return };
            let mut head = [0; 4096];
            let count = tls.read(&mut head).await.unwrap_or(0);
            let _ = tls.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello").await;
            let _ = tls.flush().await;
            if String::from_utf8_lossy(&head[..count]).contains("/whole") {
                let _ = tls.shutdown().await;
            }
        }
    })
    .await;
    let url = format!("https://localhost:{}", wire.address().port());
    let proxy = start(&url, |setup| {
        setup.set("OUTBOUND__CA_FILE", authority.ca_file().display()).set("OUTBOUND__PROXY", "off")
    })
    .await;
    for (read, whole) in both(&proxy, "/whole").await {
        assert_eq!((read.as_str(), whole), ("hello", true));
    }
    for (read, whole) in both(&proxy, "/cut").await {
        assert_eq!((read.as_str(), whole), ("hello", false));
    }
}
