//! Upgrades (WebSocket) use HTTP/1.1 on both sides, whatever else the upstream speaks.

use http::Response;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::Scene;
use testkit::body::{empty, full};
use testkit::connection::Protocol;
use testkit::stage::TOKEN;
use testkit::within;

const ASKED: &str = "GET /tunnel HTTP/1.1\r\nHost: localhost\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
                     Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";

/// HTTP/2 has no `Upgrade`, and neither has an upstream with HTTP/2 by prior knowledge.
fn applies(scene: &Scene) -> bool {
    scene.is_http1() && (scene.stage.up == Protocol::Http1 || scene.stage.is_tls())
}

pub async fn an_upgraded_connection_carries_bytes_both_ways(scene: Scene) {
    if !applies(&scene) {
        return;
    }
    let (seen, mut asked) = tokio::sync::mpsc::unbounded_channel();
    scene.stage.origin.on("/tunnel", move |mut arrived| {
        let seen = seen.clone();
        async move {
            let upgrade = hyper::upgrade::on(&mut arrived.request);
            let _ = seen.send(arrived.request.headers().clone());
            tokio::spawn(async move {
                let mut stream = TokioIo::new(upgrade.await.unwrap());
                // The server speaks first.
                stream.write_all(b"hello").await.unwrap();
                let mut bytes = [0; 4096];
                loop {
                    let count = stream.read(&mut bytes).await.unwrap();
                    if count == 0 {
                        stream.write_all(b"bye").await.unwrap();
                        return stream.shutdown().await.unwrap();
                    }
                    stream.write_all(&bytes[..count].to_ascii_uppercase()).await.unwrap();
                }
            });
            let response = Response::builder().status(101).header("connection", "Upgrade");
            let response = response.header("upgrade", "websocket").header("sec-websocket-accept", "s3pPLMBi");
            Ok(response.body(empty()).unwrap())
        }
    });
    let mut raw = scene.raw().await;
    raw.send(ASKED).await;
    let head = raw.read_head().await.to_ascii_lowercase();
    assert!(head.starts_with("http/1.1 101 switching protocols\r\n"), "{head}");
    for line in ["\r\nconnection: upgrade\r\n", "\r\nupgrade: websocket\r\n", "\r\nsec-websocket-accept: s3pplmbi\r\n"]
    {
        assert!(head.contains(line), "{head}");
    }
    let asked = within(asked.recv()).await.unwrap();
    assert_eq!(asked["upgrade"], "websocket");
    assert_eq!(asked["connection"].to_str().unwrap().to_ascii_lowercase(), "upgrade");
    assert_eq!(asked["sec-websocket-key"], "dGhlIHNhbXBsZSBub25jZQ==");
    assert_eq!(asked["authorization"], format!("Bearer {TOKEN}"));

    assert_eq!(raw.read_exact(5).await, "hello");
    for message in ["one", "GET / HTTP/1.1\r\n\r\n", &"x".repeat(100_000)] {
        raw.send(message).await;
        assert_eq!(raw.read_exact(message.len()).await, message.to_ascii_uppercase());
    }
    raw.shutdown().await;
    assert_eq!(raw.read_to_end().await, "bye", "each side ends by itself");
}

pub async fn a_refused_upgrade_is_an_ordinary_answer(scene: Scene) {
    if !applies(&scene) {
        return;
    }
    scene.stage.origin.on("/tunnel", |_| async move {
        Ok(Response::builder().status(426).header("x-why", "version").body(full("no")).unwrap())
    });
    let mut raw = scene.raw().await;
    for _ in 0..2 {
        // The connection goes on.
        raw.send(ASKED).await;
        let head = raw.read_head().await;
        assert!(head.starts_with("HTTP/1.1 426 "), "{head}");
        assert!(head.contains("x-why: version\r\n"), "{head}");
        assert_eq!(raw.read_exact(2).await, "no");
    }
}
