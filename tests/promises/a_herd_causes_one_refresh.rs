//! A thousand requests with a revoked token cause one token call. Each client gets its response, with either protocol on each side.

use http::{Method, StatusCode};
use simulator::{Kind, Options, Revocation, Simulator};
use tokio::task::JoinSet;

use testkit::{Client, Proxy};

const REQUESTS: usize = 1000;
/// Requests that share one connection of an HTTP/2 client. With HTTP/1.1, each request has a connection of its own.
const STREAMS_A_CONNECTION: usize = 100;

#[derive(Clone, Copy, Debug)]
enum Version {
    Http1,
    Http2,
}

#[tokio::test]
async fn http1_to_http1() {
    herd(Version::Http1, "1", Method::GET).await;
}

#[tokio::test]
async fn http1_to_http2() {
    herd(Version::Http1, "2", Method::POST).await;
}

#[tokio::test]
async fn http2_to_http1() {
    herd(Version::Http2, "1", Method::POST).await;
}

#[tokio::test]
async fn http2_to_http2() {
    herd(Version::Http2, "2", Method::GET).await;
}

async fn herd(downstream: Version, upstream: &str, method: Method) {
    let simulator = Simulator::start(Options::league8()).await.unwrap();
    let proxy = Proxy::before(&simulator).set("UPSTREAM__HTTP", upstream).start().await;
    proxy.ready().await;
    let calls = simulator.with_ledger(|ledger| ledger.token_calls().len());
    assert_eq!(calls, 1, "the first refresh token's exchange");

    // Connecting first lets all requests arrive together.
    let mut clients = Vec::new();
    match downstream {
        Version::Http1 => {
            for _ in 0..REQUESTS {
                clients.push(proxy.http1().await);
            }
        }
        Version::Http2 => {
            for _ in 0..REQUESTS / STREAMS_A_CONNECTION {
                let Client::Http2(sender) = proxy.http2().await else { unreachable!() };
                clients.extend((0..STREAMS_A_CONNECTION).map(|_| Client::Http2(sender.clone())));
            }
        }
    }
    simulator.revoke(Revocation::All(Kind::Access));
    let mut herd = JoinSet::new();
    for (number, mut client) in clients.into_iter().enumerate() {
        let method = method.clone();
        herd.spawn(async move {
            let body = if method == Method::POST { format!("body of {number}") } else { String::new() };
            let request = http::Request::builder().method(method).uri("/api/v2/echo");
            let request = request.body(http_body_util::Full::new(bytes::Bytes::from(body.clone()))).unwrap();
            let answer = client.send(request).await.unwrap();
            (answer.status, answer.json()["body_length"] == body.len())
        });
    }
    let outcomes = herd.join_all().await;
    assert_eq!(outcomes.len(), REQUESTS);
    let bad: Vec<_> = outcomes.iter().filter(|outcome| **outcome != (StatusCode::OK, true)).collect();
    assert!(bad.is_empty(), "{} of {REQUESTS} failed: {:?}\n{}", bad.len(), bad.first(), proxy.log().join("\n"));
    let calls = simulator.with_ledger(|ledger| ledger.token_calls().len());
    assert_eq!(calls, 2, "one refresh for the whole herd");
    proxy.stop().await;
}
