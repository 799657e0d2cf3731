//! HTTP/2 by the frame: what is malformed ends its stream or its connection, and never becomes an HTTP/1 request.

mod table;

use std::time::Duration;

use http::Response;

use crate::raw_http1::strict::Strict;
use testkit::body::{empty, full, pattern};
use testkit::connection::{Protocol, connect};
use testkit::frames::{
    DATA, END_HEADERS, END_STREAM, Frame, Frames, GOAWAY, HEADERS, PREFACE, RST_STREAM, SETTINGS, WINDOW_UPDATE, block,
    frame, status,
};
use testkit::stage::{Stage, before};
use testkit::within;

use table::{ANY, Row, Verdict};

/// The stream of the request that follows each row; higher than all others.
const LAST: u32 = 0x7fff_fff1;

/// The result of a row.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    verdict: Verdict,
    seen: Vec<String>,
}

/// Reads until the connection ends or the last request is answered: what became of stream 1, or of the connection.
async fn read(frames: &mut Frames) -> Verdict {
    let mut verdict = None;
    while let Some(Frame { kind, stream, payload, .. }) = frames.next().await {
        let code = |at: usize| u32::from_be_bytes(payload[at..at + 4].try_into().unwrap());
        match (kind, stream) {
            (HEADERS, LAST) => return verdict.unwrap_or(Verdict::Nothing),
            (HEADERS, _) => verdict = verdict.or_else(|| Some(Verdict::Answer(status(&payload)))),
            (RST_STREAM, LAST) => return verdict.unwrap_or(Verdict::Nothing),
            (RST_STREAM, _) => verdict = verdict.or_else(|| Some(Verdict::Reset(code(0)))),
            (GOAWAY, _) => return Verdict::GoAway(code(4)),
            _ => {}
        }
    }
    // Without a word.
    Verdict::Closed
}

async fn run(row: &Row, address: std::net::SocketAddr, upstream: &Strict) -> Outcome {
    let mut frames = Frames::new(connect(address, None).await);
    let mut sent = PREFACE.to_vec();
    if !row.bare {
        sent.extend(frame(SETTINGS, 0, 0, &[]));
    }
    sent.extend((row.frames)());
    frames.send(&sent).await;
    let last = block(&[(":method", "GET"), (":scheme", "http"), (":path", "/last"), (":authority", "localhost")]);
    frames.send(frame(HEADERS, END_STREAM | END_HEADERS, LAST, &last)).await;
    let verdict = read(&mut frames).await;
    // The answer to the last request is no proof that the first was seen or not: but its own answer or reset is.
    let seen = upstream.take().into_iter().filter(|seen| seen != "GET /last").collect();
    Outcome { verdict, seen }
}

#[tokio::test]
async fn every_row_of_the_table() {
    assert!(table::rows().count() >= 40);
    let upstream = Strict::start().await;
    let proxy = before(&upstream.url())
        .await
        .set("GUARD__HEADER_TIMEOUT", "1s")
        .set("UPSTREAM__IDLE_TIMEOUT", "500ms")
        .set("LOG__REQUESTS", "none")
        .start()
        .await;
    proxy.ready().await;
    let only = std::env::var("ROW").ok();
    let mut wrong = Vec::new();
    for row in table::rows().filter(|row| only.as_ref().is_none_or(|only| row.name.contains(only.as_str()))) {
        let expected = Outcome { verdict: row.verdict, seen: row.seen.iter().map(ToString::to_string).collect() };
        match tokio::time::timeout(Duration::from_secs(10), run(row, proxy.address(), &upstream)).await {
            Ok(outcome) if outcome == expected || (row.seen == ANY && outcome.verdict == row.verdict) => {}
            Ok(outcome) => wrong.push(format!("{} ({}): {outcome:?}, not {expected:?}", row.name, row.rule)),
            Err(_) => wrong.push(format!("{} ({}): hangs; {:?}", row.name, row.rule, upstream.take())),
        }
    }
    assert!(wrong.is_empty(), "{} rows:\n{}", wrong.len(), wrong.join("\n"));
    assert_eq!(upstream.violations(), Vec::<String>::new(), "what reached the upstream was not well-formed");
    assert!(proxy.log().iter().all(|line| !line.contains("panicked")), "{:?}", proxy.log());
}

const BIG: &[(&str, &str)] = &[(":method", "GET"), (":scheme", "http"), (":path", "/big"), (":authority", "localhost")];
const HELD: &[(&str, &str)] =
    &[(":method", "POST"), (":scheme", "http"), (":path", "/held"), (":authority", "localhost")];
const SHORT: &[(&str, &str)] =
    &[(":method", "GET"), (":scheme", "http"), (":path", "/short"), (":authority", "localhost")];

/// A stage with this `upstream.idle_timeout`, and a connection whose client has said that it takes nothing of any body.
async fn closed_window(idle_timeout: &str) -> (Stage, Frames) {
    let stage = Stage::plain(|setup| setup.set("UPSTREAM__IDLE_TIMEOUT", idle_timeout)).await;
    stage.origin.on("/big", |_| async { Ok(Response::new(full(pattern(4 << 20)))) });
    stage.origin.on("/short", |_| async { Ok(Response::new(empty())) });
    let mut frames = Frames::new(stage.stream(Protocol::Http2).await);
    frames.send(PREFACE).await;
    // SETTINGS_INITIAL_WINDOW_SIZE of 0.
    frames.send(frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0])).await;
    (stage, frames)
}

#[tokio::test]
async fn a_client_that_takes_nothing_of_a_body_loses_its_stream_and_nothing_else() {
    let (_stage, mut frames) = closed_window("500ms").await;
    frames.send(frame(HEADERS, END_STREAM | END_HEADERS, 1, &block(BIG))).await;
    let head = frames.next_of(HEADERS).await.unwrap();
    assert_eq!((head.stream, status(&head.payload)), (1, 200));
    assert_eq!(frames.next_of(RST_STREAM).await.unwrap().stream, 1);
    frames.send(frame(HEADERS, END_STREAM | END_HEADERS, 3, &block(SHORT))).await;
    assert_eq!(frames.next_of(HEADERS).await.unwrap().stream, 3);
}

#[tokio::test]
async fn a_client_that_takes_a_byte_now_and_then_gets_its_body() {
    // Longer than a busy machine needs for all bytes, so that the timeout has no part in it.
    let (_stage, mut frames) = closed_window("60s").await;
    frames.send(frame(HEADERS, END_STREAM | END_HEADERS, 1, &block(BIG))).await;
    frames.next_of(HEADERS).await.unwrap();
    let one = frame(WINDOW_UPDATE, 0, 1, &1u32.to_be_bytes());
    for expected in &pattern(4 << 20)[..20] {
        frames.send(&one).await;
        assert_eq!(frames.next_of(DATA).await.unwrap().payload, std::slice::from_ref(expected));
    }
}

#[tokio::test]
async fn a_client_that_sends_beyond_its_window_loses_its_connection() {
    let stage = Stage::plain(|setup| setup).await;
    stage.origin.on("/held", |arrived| async move {
        let _held = arrived;
        std::future::pending().await
    });
    let mut frames = Frames::new(stage.stream(Protocol::Http2).await);
    frames.send([PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()).await;
    frames.send(frame(HEADERS, END_HEADERS, 1, &block(HELD))).await;
    let sending = async {
        // As fast as it goes, whatever the window: the kernel's buffers and the upstream's take some of it.
        for _ in 0..4096 {
            frames.send(frame(DATA, 0, 1, &[0; 16_384])).await;
        }
        frames.next_of(GOAWAY).await
    };
    let goaway = within(sending).await.unwrap();
    assert_eq!(goaway.payload[4..8], 3u32.to_be_bytes(), "FLOW_CONTROL_ERROR");
}
