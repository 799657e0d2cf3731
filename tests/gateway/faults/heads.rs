//! Responses that are not HTTP, or that an intermediary must not forward.

use std::time::Duration;

use http::Method;

use super::{client, start};
use testkit::body::empty;
use testkit::connection::{get, request};
use testkit::raw::Raw;
use testkit::wire::Wire;

/// A response, and the client's error. `None`: the proxy forwards it, with the body `ok`.
const ANSWERS: &[(&str, &str, Option<&str>)] = &[
    ("nothing", "", Some("http_response_incomplete")),
    ("a cut status line", "HTTP/1.1 20", Some("http_response_incomplete")),
    ("a cut head", "HTTP/1.1 200 OK\r\nX-A: b\r\n", Some("http_response_incomplete")),
    ("only 1xx", "HTTP/1.1 100 Continue\r\n\r\n", Some("http_response_incomplete")),
    ("another protocol", "SSH-2.0-OpenSSH_9.9\r\n", Some("http_protocol_error")),
    ("a shoutcast server", "ICY 200 OK\r\n\r\nok", Some("http_protocol_error")),
    ("HTTP/0.9", "<html>ok</html>", Some("http_protocol_error")),
    ("TLS", "\x15\x03\x01\0\x02\x02\x46", Some("http_protocol_error")),
    ("an unknown version", "HTTP/1.2 200 OK\r\nContent-Length: 2\r\n\r\nok", Some("http_protocol_error")),
    ("a version too high", "HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\nok", Some("http_protocol_error")),
    ("a short status", "HTTP/1.1 20 OK\r\nContent-Length: 2\r\n\r\nok", Some("http_protocol_error")),
    ("a long status", "HTTP/1.1 2000 OK\r\nContent-Length: 2\r\n\r\nok", Some("http_protocol_error")),
    ("no number", "HTTP/1.1 abc OK\r\nContent-Length: 2\r\n\r\nok", Some("http_protocol_error")),
    ("a field without colon", "HTTP/1.1 200 OK\r\nContent-Length 2\r\n\r\nok", Some("http_protocol_error")),
    ("a nameless field", "HTTP/1.1 200 OK\r\n: x\r\nContent-Length: 2\r\n\r\nok", Some("http_protocol_error")),
    // RFC 9112 §5.1, §5.2: the proxy has to repair or refuse them.
    ("a blank before the colon", "HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nok", Some("http_protocol_error")),
    ("a folded line", "HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 2\r\n\r\nok", Some("http_protocol_error")),
    // RFC 9110 §5.5.
    ("NUL in a value", "HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 2\r\n\r\nok", Some("http_protocol_error")),
    ("a bare CR in a value", "HTTP/1.1 200 OK\r\nX: a\rb\r\nContent-Length: 2\r\n\r\nok", Some("http_protocol_error")),
    // RFC 9112 §6.3.
    (
        "length and chunks",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        Some("http_protocol_error"),
    ),
    (
        "chunks and length",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 200\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        Some("http_protocol_error"),
    ),
    (
        "two lengths",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nokx",
        Some("http_protocol_error"),
    ),
    (
        "one length twice",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok",
        Some("http_protocol_error"),
    ),
    ("a list of lengths", "HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok", Some("http_protocol_error")),
    ("a negative length", "HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nok", Some("http_protocol_error")),
    ("a signed length", "HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok", Some("http_protocol_error")),
    ("a length in hex", "HTTP/1.1 200 OK\r\nContent-Length: 0x2\r\n\r\nok", Some("http_protocol_error")),
    ("a huge length", "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\nok", Some("http_protocol_error")),
    ("an empty length", "HTTP/1.1 200 OK\r\nContent-Length: \r\n\r\nok", Some("http_protocol_error")),
    (
        "compressed on the hop",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        Some("http_response_transfer_coding"),
    ),
    (
        "chunked in no chunks",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nok",
        Some("http_response_transfer_coding"),
    ),
    (
        "an old coding",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\nok",
        Some("http_response_transfer_coding"),
    ),
    (
        "chunks in 1.0",
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        Some("http_protocol_error"),
    ),
    // RFC 9110 §15.2.2: nobody asked for an upgrade.
    (
        "a switch",
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\nok",
        Some("http_protocol_error"),
    ),
    ("a length", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", None),
    ("a length with zeros", "HTTP/1.1 200 OK\r\nContent-Length: 002\r\n\r\nok", None),
    ("chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;x=y\r\no\r\n1\r\nk\r\n0\r\n\r\n", None),
    ("the end", "HTTP/1.1 200 OK\r\n\r\nok", None),
    ("the end in 1.0", "HTTP/1.0 200 OK\r\n\r\nok", None),
    ("a length in 1.0", "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", None),
    ("no reason", "HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok", None),
    ("line feeds", "HTTP/1.1 200 OK\nContent-Length: 2\n\nok", None),
    (
        "1xx before",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n\
         HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        None,
    ),
];

/// A server that answers `/N` with response N and closes.
async fn wire() -> Wire {
    Wire::start(|stream, _, log| async move {
        let mut raw = Raw::new(Box::new(stream));
        let Some(head) = raw.try_read_head().await else { return };
        log.note(&head);
        let number: usize = head.split(' ').nth(1).unwrap()[1..].parse().unwrap();
        match ANSWERS.get(number) {
            Some((_, bytes, _)) => raw.send(bytes).await,
            // A head of unreasonable size.
            None => raw.send(format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(2 << 20))).await,
        }
        raw.shutdown().await;
        raw.read_to_end().await;
    })
    .await
}

#[tokio::test]
async fn what_is_no_answer_is_told_and_what_is_one_passes() {
    let wire = wire().await;
    let proxy = start(&wire.url(), |setup| setup).await;
    let mut client = client(&proxy).await;
    for (number, (what, _, error)) in ANSWERS.iter().enumerate() {
        let answer = client.ask(get(&format!("/{number}"))).await;
        match error {
            Some(error) => {
                let told = (answer.status.as_u16(), answer.problem(), answer.field("proxy-status"));
                let expected = (502, "upstream-broken".to_owned(), format!("bearer-proxy; error={error}"));
                assert_eq!((told.0, told.1, told.2.to_owned()), expected, "{what}");
            }
            None => {
                assert_eq!((answer.status.as_u16(), answer.text().as_str()), (200, "ok"), "{what}");
                assert!(!answer.headers.contains_key("link"), "{what}: of another response");
            }
        }
        assert_eq!(wire.log().count(&format!("GET /{number} ")), 1, "{what}: asked once");
    }
    let answer = client.ask(get(&format!("/{}", ANSWERS.len()))).await;
    assert_eq!((answer.status.as_u16(), answer.problem().as_str()), (502, "upstream-broken"), "a head of 2 MiB");
}

/// Bytes behind a response must never become the response to the next request (RFC 9112 §9.3.2).
#[tokio::test]
async fn bytes_behind_a_response_answer_nobody() {
    let wire = Wire::start(|stream, _, log| async move {
        let mut raw = Raw::new(Box::new(stream));
        while let Some(head) = raw.try_read_head().await {
            log.note(&head);
            let evil = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil";
            let good = match head.split(' ').next().unwrap() {
                "HEAD" => "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n",
                "DELETE" => "HTTP/1.1 204 No Content\r\n\r\n",
                "POST" => "HTTP/1.1 304 Not Modified\r\nContent-Length: 4\r\n\r\n",
                "PUT" => "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\ngood\r\n0\r\n\r\n",
                _ => "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood",
            };
            // In one write, and in two.
            if head.contains("/at-once") {
                raw.send(format!("{good}{evil}")).await;
            } else {
                raw.send(good).await;
                tokio::time::sleep(Duration::from_millis(20)).await;
                raw.send(evil).await;
            }
        }
    })
    .await;
    let proxy = start(&wire.url(), |setup| setup).await;
    let mut client = client(&proxy).await;
    for path in ["/at-once", "/later"] {
        for method in [Method::GET, Method::HEAD, Method::DELETE, Method::POST, Method::PUT, Method::GET, Method::GET] {
            let answer = client.ask(request(method.clone(), path, empty())).await;
            assert!(answer.status != 502, "{method} {path}");
            assert!(!answer.text().contains("evil"), "{method} {path}");
            if path == "/later" {
                // Bytes that arrive before the next request are not its response. Later ones cannot be told apart.
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}
