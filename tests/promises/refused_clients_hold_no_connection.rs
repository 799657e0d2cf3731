//! A client without a key, or with a very slow body, holds no connection that others need.

use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use http::{Request, StatusCode};
use simulator::{Options, Simulator};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use testkit::Proxy;

const PATIENCE: Duration = Duration::from_secs(30);
const KEY: &str = "0123456789abcdef0123456789abcdef";

async fn with_keys(simulator: &Simulator) -> Proxy {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, KEY.as_bytes());
    let digest: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    let proxy = Proxy::before(simulator).set("GUARD__CLIENT_KEYS", digest).start().await;
    proxy.ready().await;
    proxy
}

async fn http2(proxy: &Proxy) -> (SendRequest<Bytes>, tokio::task::JoinHandle<Result<(), h2::Error>>) {
    let tcp = TcpStream::connect(proxy.address()).await.unwrap();
    let (sender, connection) = h2::client::handshake(tcp).await.unwrap();
    (sender, tokio::spawn(connection))
}

fn request(path: &str, key: &str) -> Request<()> {
    let method = if path == "/api/v2/echo" { "POST" } else { "GET" };
    let uri = format!("http://localhost{path}");
    Request::builder().method(method).uri(uri).header("x-proxy-key", key).body(()).unwrap()
}

async fn ask(sender: &SendRequest<Bytes>, key: &str) -> Result<StatusCode, h2::Error> {
    let mut sender = sender.clone().ready().await?;
    let (response, _) = sender.send_request(request("/api/v2/version", key), true)?;
    Ok(response.await?.status())
}

#[tokio::test]
async fn http1_closes_with_the_refusal_and_keeps_a_client_with_a_key() {
    let simulator = Simulator::start(Options::league8()).await.unwrap();
    let proxy = with_keys(&simulator).await;
    let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
    for _ in 0..2 {
        let head = format!("GET /api/v2/version HTTP/1.1\r\nHost: localhost\r\nX-Proxy-Key: {KEY}\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200");
        while !answer.ends_with(b"}") {
            stream.read_exact(&mut answer[11..]).await.unwrap();
        }
    }
    stream.write_all(b"GET /api/v2/version HTTP/1.1\r\nHost: localhost\r\nX-Proxy-Key: wrong\r\n\r\n").await.unwrap();
    let mut rest = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut rest)).await.expect("the connection is closed").unwrap();
    let rest = String::from_utf8_lossy(&rest).to_ascii_lowercase();
    assert!(rest.contains("http/1.1 403") && rest.contains("connection: close"), "{rest}");
    proxy.stop().await;
}

#[tokio::test]
async fn http2_goes_away_after_sixteen_refusals_and_finishes_what_it_accepted() {
    let simulator = Simulator::start(Options::league8()).await.unwrap();
    let proxy = with_keys(&simulator).await;

    let (sender, connection) = http2(&proxy).await;
    for _ in 0..3 {
        for _ in 0..15 {
            assert_eq!(ask(&sender, "wrong").await.unwrap(), StatusCode::FORBIDDEN);
        }
        assert_eq!(ask(&sender, KEY).await.unwrap(), StatusCode::OK, "fifteen in a row are no reason to go");
    }

    let mut ready = sender.clone().ready().await.unwrap();
    let (accepted, mut body) = ready.send_request(request("/api/v2/echo", KEY), false).unwrap();
    body.send_data("half ".into(), false).unwrap();
    for number in 0..16 {
        assert_eq!(ask(&sender, "wrong").await.unwrap(), StatusCode::FORBIDDEN, "{number}");
    }
    // The proxy does not answer the seventeenth request, with or without the key.
    for key in ["wrong", KEY] {
        let refused = timeout(PATIENCE, ask(&sender, key)).await.unwrap().unwrap_err();
        assert!(refused.is_go_away() || refused.reason() == Some(h2::Reason::REFUSED_STREAM), "{refused:?}");
    }
    body.send_data("whole".into(), true).unwrap();
    let response = timeout(PATIENCE, accepted).await.unwrap().unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let mut echoed = Vec::new();
    let mut body = response.into_body();
    while let Some(piece) = body.data().await {
        echoed.extend_from_slice(&piece.unwrap());
    }
    assert!(String::from_utf8_lossy(&echoed).contains(r#""body_length":10,"#), "{}", String::from_utf8_lossy(&echoed));
    // The client keeps its side open. The proxy ends the connection nonetheless.
    let _ = timeout(PATIENCE, connection).await.expect("the connection ends").unwrap();
    drop(sender);
    proxy.stop().await;
}

#[tokio::test]
async fn a_body_below_the_minimum_rate_ends_its_request() {
    let simulator = Simulator::start(Options::league8()).await.unwrap();
    let proxy = Proxy::before(&simulator).set("GUARD__MIN_BODY_RATE", "100").start().await;
    proxy.ready().await;
    let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
    stream.write_all(b"POST /api/v2/echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n").await.unwrap();
    let (mut reading, mut writing) = stream.split();
    let drip = async {
        // At this rate, the body would take a day.
        while writing.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        std::future::pending::<()>().await;
    };
    let mut answer = vec![0; 4096];
    let read = tokio::select! {
        read = timeout(2 * PATIENCE, reading.read(&mut answer)) => read.expect("the request ends").unwrap(),
        () = drip => unreachable!(),
    };
    let answer = String::from_utf8_lossy(&answer[..read]);
    assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("request-timeout"), "{answer}");
    assert!(answer.contains("guard.min_body_rate"), "{answer}");
    proxy.stop().await;
}
