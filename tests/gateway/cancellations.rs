//! A client that cancels its requests costs the upstream a bounded number of connections.

use std::time::{Duration, Instant};

use http::Response;
use testkit::body::full;
use testkit::connection::{Protocol, get};
use testkit::frames::{
    ACK, END_HEADERS, END_STREAM, Frames, HEADERS, PING, PREFACE, SETTINGS, block, frame, reset, status,
};
use testkit::stage::Stage;

const REQUESTS: usize = 2320;
/// Requests at a time. A client that resets more before the proxy has accepted them loses its connection.
const BATCH: usize = 20;
/// New connections to the upstream in any 5 s, beyond the requests that were answered.
const MOST: usize = 64;

/// Over HTTP/1.1, a cancelled request costs its upstream connection.
#[tokio::test]
async fn requests_cancelled_over_http2_open_few_upstream_connections() {
    let stage = Stage::new(Protocol::Http1, true, |setup| setup.set("LOG__REQUESTS", "none")).await;
    stage.origin.on("/held", |arrived| async move {
        let _held = arrived;
        std::future::pending().await
    });
    stage.origin.on("/ok", |_| async { Ok(Response::new(full("ok"))) });
    let mut client = stage.client(Protocol::Http1).await;
    assert_eq!(client.ask(get("/ok")).await.text(), "ok");

    let head = |path| [(":method", "GET"), (":scheme", "https"), (":path", path), (":authority", "localhost")];
    let ask = |stream, path| frame(HEADERS, END_STREAM | END_HEADERS, stream, &block(&head(path)));
    let mut frames = Frames::new(stage.stream(Protocol::Http2).await);
    frames.send([PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()).await;
    let (began, before) = (Instant::now(), stage.origin.connections());
    let streams: Vec<u32> = (1..).step_by(2).take(REQUESTS).collect();
    for batch in streams.chunks(BATCH) {
        frames.send(batch.iter().map(|stream| ask(*stream, "/held")).collect::<Vec<_>>().concat()).await;
        // The proxy accepts the requests before it reads what follows this acknowledgement.
        frames.send(frame(PING, 0, 0, &[0; 8])).await;
        while frames.next_of(PING).await.expect("the connection is open").flags & ACK == 0 {}
        // Time to open a connection for each. A busy machine opens fewer.
        tokio::time::sleep(Duration::from_millis(25)).await;
        frames.send(batch.iter().map(|stream| reset(*stream, 8)).collect::<Vec<_>>().concat()).await;
    }
    let opened = stage.origin.connections() - before;
    let spans = usize::try_from(began.elapsed().as_secs()).unwrap() / 5 + 1;
    assert!(opened <= MOST * spans, "{opened} connections in {:?}", began.elapsed());
    assert!(opened > 0, "no request reached the upstream");
    // The proxy did not end the client's connection, and serves other clients.
    let last = 2 * u32::try_from(REQUESTS).unwrap() + 1;
    frames.send(ask(last, "/ok")).await;
    let answered = loop {
        let head = frames.next_of(HEADERS).await.expect("the connection is open");
        if head.stream == last {
            break status(&head.payload);
        }
    };
    assert_eq!(answered, 200);
    assert_eq!(client.ask(get("/ok")).await.text(), "ok");
}
