//! Faults of the upstream, and of the connections to it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use http::StatusCode;
use simulator::{Options, Simulator};
use testkit::frames::{END_HEADERS, END_STREAM, Frames, HEADERS, PING, frame};
use testkit::stage::before;
use testkit::wire::Wire;
use testkit::{Client, Proxy};
use tokio::time::timeout;

use crate::{PATH, recovered, until_answered};

#[tokio::test]
async fn an_upstream_that_is_down() {
    let simulator = Simulator::start(Options::league8()).await.unwrap();
    let proxy = Proxy::before(&simulator).start().await;
    proxy.ready().await;
    simulator.stop_listening().await;
    for _ in 0..20 {
        assert_eq!(proxy.get(PATH).await.status, StatusCode::BAD_GATEWAY);
    }
    simulator.listen_again().await.unwrap();
    let began = Instant::now();
    until_answered(&proxy).await;
    recovered(
        "The upstream refuses connections, then returns",
        "a request is answered",
        Duration::from_secs(1),
        began.elapsed(),
    );
    proxy.stop().await;
}

/// Only what is received shows that a connection lives, whatever clients send meanwhile.
#[tokio::test]
async fn a_connection_that_falls_silent() {
    let silent = Arc::new(AtomicBool::new(false));
    let gate = Arc::clone(&silent);
    let wire = Wire::start(move |stream, number, _| {
        let gate = Arc::clone(&gate);
        async move {
            let Some(mut frames) = Frames::accept(Box::new(stream)).await else { return };
            while let Some(frame) = frames.next_whenever().await {
                // The first connection is black-holed.
                if number == 1 && gate.load(Ordering::Relaxed) {
                    continue;
                }
                answer(&mut frames, frame.kind, frame.flags, frame.stream, &frame.payload).await;
            }
        }
    })
    .await;
    // One worker, so that all requests use one connection.
    let setup = before(&wire.url()).await.set("UPSTREAM__HTTP", "2").under(&["taskset", "1"]);
    let proxy = setup.start().await;
    proxy.ready().await;
    until_answered(&proxy).await;
    silent.store(true, Ordering::Relaxed);
    let began = Instant::now();
    let address = proxy.address();
    // Clients that give up early, and come again.
    let ask = async || timeout(Duration::from_millis(500), Client::http1(address).await.get(PATH)).await;
    while ask().await.is_err() {}
    recovered(
        "The only HTTP/2 connection to the upstream is black-holed, and clients go on sending requests",
        "a request is answered over another connection",
        // 25 s from the first request, and the patience of a client.
        Duration::from_secs(30),
        began.elapsed(),
    );
    proxy.stop().await;
}

async fn answer(frames: &mut Frames, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    match (kind, flags & 1) {
        // A PING without ACK.
        (PING, 0) => frames.send(frame(PING, 1, 0, payload)).await,
        // :status 200
        (HEADERS, _) => frames.send(frame(HEADERS, END_HEADERS | END_STREAM, stream, &[0x88])).await,
        _ => {}
    }
}
