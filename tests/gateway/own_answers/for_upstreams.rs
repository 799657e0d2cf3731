//! Failures of the upstream.

use std::net::SocketAddr;
use std::time::Duration;

use http::{Method, Response};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use super::{BOTH, Row, assert_own};
use testkit::authority::Authority;
use testkit::body::{empty, full};
use testkit::connection::{Connection, connect, get, request};
use testkit::stage::{Stage, before};
use testkit::{Proxy, Setup};

async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// A proxy in front of an upstream that cannot be reached.
async fn start(url: &str, configure: impl FnOnce(Setup) -> Setup) -> Proxy {
    let setup = before(url).await.set("OUTBOUND__PROXY", "off").set("UPSTREAM__CONNECT_TIMEOUT", "500ms");
    let proxy = configure(setup).start().await;
    proxy.ready().await;
    proxy
}

async fn assert_answer(proxy: &Proxy, row: Row, what: &str) {
    for protocol in BOTH {
        let mut client = Connection::over(connect(proxy.address(), None).await, protocol, false).await;
        // Nothing was sent. The response says so for every method.
        for asked in [get("/"), request(Method::POST, "/", full("body"))] {
            assert_own(&client.ask(asked).await, row, false, &format!("{what}, {protocol:?}"));
        }
    }
}

#[tokio::test]
async fn nobody_listens_or_the_name_is_unknown_or_the_network_is() {
    let (closed, address) = listener().await;
    drop(closed);
    let too_long = format!("https://{}.invalid", "x".repeat(64));
    for (url, row) in [
        (format!("http://{address}"), (502, "upstream-unreachable", "connection_refused")),
        (too_long, (502, "upstream-unreachable", "dns_error")),
        ("https://255.255.255.255".to_owned(), (502, "upstream-unreachable", "destination_ip_unroutable")),
    ] {
        let proxy = start(&url, |setup| setup).await;
        assert_answer(&proxy, row, &url).await;
    }
}

#[tokio::test]
async fn tls_fails() {
    let (tls, trusted) = (Authority::new(), Authority::new());
    let acceptor = tls.acceptor(&["localhost"], &["http/1.1"]);
    let (strangers, stranger) = listener().await;
    tokio::spawn(async move {
        loop {
            let (tcp, _) = strangers.accept().await.unwrap();
            let _ = acceptor.accept(tcp).await;
        }
    });
    let (plain, no_tls) = listener().await;
    tokio::spawn(async move {
        loop {
            let (mut tcp, _) = plain.accept().await.unwrap();
            let _ = tcp.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
    });
    let (silent, mute) = listener().await;
    for (address, row) in [
        (stranger, (502, "upstream-unreachable", "tls_certificate_error")),
        (no_tls, (502, "upstream-unreachable", "tls_protocol_error")),
        (mute, (504, "upstream-timeout", "connection_timeout")),
    ] {
        let url = format!("https://localhost:{}", address.port());
        let proxy = start(&url, |setup| setup.set("OUTBOUND__CA_FILE", trusted.ca_file().display())).await;
        assert_answer(&proxy, row, row.2).await;
    }
    drop(silent);
}

#[tokio::test]
async fn the_answer_is_broken_or_late() {
    let stage = Stage::plain(|setup| setup.set("UPSTREAM__RESPONSE_TIMEOUT", "300ms").set("VIA", "bearer-proxy")).await;
    stage.origin.on("/late", |_| async move {
        tokio::time::sleep(Duration::from_secs(30)).await;
        Ok(Response::new(empty()))
    });
    stage.origin.on("/closed", |_| async move { Err("closed on purpose".into()) });
    for protocol in BOTH {
        let mut client = stage.client(protocol).await;
        for method in [Method::GET, Method::POST] {
            let answer = client.ask(request(method.clone(), "/late", full("x"))).await;
            assert_own(&answer, (504, "upstream-timeout", "http_response_timeout"), false, &format!("late {method}"));
            let answer = client.ask(request(method.clone(), "/closed", full("x"))).await;
            assert_own(
                &answer,
                (502, "upstream-broken", "http_response_incomplete"),
                false,
                &format!("closed {method}"),
            );
        }
        // Only one request fails: the next one finds a connection.
        stage.origin.on("/", |_| async move { Ok(Response::new(full("ok"))) });
        assert_eq!(client.ask(get("/")).await.text(), "ok");
    }
}
