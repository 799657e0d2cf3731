//! HTTP/2 exchanges in which one half ends before the other, or too early.

use std::convert::Infallible;

use futures_util::stream;
use http_body::Frame;
use http_body_util::StreamBody;

use super::http2::HTTP2;
use super::server::{Frames, HEADERS, RST_STREAM};
use super::*;
use crate::upstream::failure::FailureKind;

/// NO_ERROR asks the client not to send the rest of the request. It does not make a partial response complete.
#[tokio::test(flavor = "local")]
async fn an_answer_that_is_reset_before_its_length_has_broken_off() {
    for (digits, data, code, whole) in [
        (&b"5"[..], &b"abcde"[..], 0, true),
        (b"5", b"abc", 0, false),
        (b"5", b"abcde", 8, false),
        (b"", b"abc", 8, false),
        // h2 would have reported the end if it had arrived.
        (b"", b"abc", 0, false),
    ] {
        let server = Server::start(move |stream, _| async move {
            let mut frames = Frames(stream);
            frames.begin().await;
            let stream = frames.await_frame(HEADERS).await.unwrap();
            frames.announce(stream, digits).await;
            frames.data(stream, data).await;
            frames.reset(stream, code).await;
            frames.next().await;
        })
        .await;
        let (pool, _) = pool(&server, HTTP2);
        let response = within(pool.send(get("/"))).await.unwrap();
        let read = within(response.into_body().collect()).await;
        assert_eq!(read.is_ok(), whole, "{digits:?} {data:?} {code}");
        until(|| pool.shared.borrow().iter().all(|conn| conn.open() == 0)).await;
    }
}

/// In pieces, and more than an upstream's first window.
fn large_post() -> Request<impl RequestBody> {
    let pieces = std::iter::repeat_n(Bytes::from(vec![b'x'; 20_000]), 20).map(|piece| Ok(Frame::data(piece)));
    Request::post("/").body(StreamBody::new(stream::iter(pieces.collect::<Vec<Result<_, Infallible>>>()))).unwrap()
}

/// An upstream that responds early with these lengths, and reads only its first window of the request body.
async fn answers_early(digits: &'static [u8], reset: Gate) -> Server {
    Server::start(move |stream, _| {
        let reset = reset.clone();
        async move {
            let mut frames = Frames(stream);
            frames.begin().await;
            let stream = frames.await_frame(HEADERS).await.unwrap();
            frames.announce(stream, digits).await;
            assert_eq!(frames.await_frame(RST_STREAM).await, Some(stream));
            reset.open();
            frames.next().await;
        }
    })
    .await
}

#[tokio::test(flavor = "local")]
async fn who_takes_no_more_of_an_early_answer_sends_no_more_either() {
    let reset = Gate::default();
    let server = answers_early(b"5", reset.clone()).await;
    let (pool, _) = pool(&server, HTTP2);
    let response = within(pool.send(large_post())).await.unwrap();
    // One place for the response, and one for the upload.
    assert_eq!(pool.shared.borrow()[0].open(), 2);
    drop(response);
    within(reset.wait()).await;
    until(|| pool.shared.borrow()[0].open() == 0).await;
}

#[tokio::test(flavor = "local")]
async fn an_early_answer_that_is_not_passed_on_ends_the_request_too() {
    let reset = Gate::default();
    let server = answers_early(b"56", reset.clone()).await;
    let (pool, _) = pool(&server, HTTP2);
    assert_eq!(failure(within(pool.send(large_post())).await).kind, FailureKind::Protocol);
    within(reset.wait()).await;
    until(|| pool.shared.borrow()[0].open() == 0).await;
}

/// The client already got an error for it.
#[tokio::test(flavor = "local")]
async fn a_request_given_up_before_its_stream_was_allowed_is_never_sent() {
    let given_up = Gate::default();
    let server_gate = given_up.clone();
    let sent = Rc::new(Cell::new(0));
    let seen = Rc::clone(&sent);
    let server = Server::start(move |stream, number| {
        let (gate, sent) = (server_gate.clone(), Rc::clone(&seen));
        async move {
            let mut frames = Frames(stream);
            frames.preface().await;
            frames.limit(if number == 0 { 0 } else { 100 }).await;
            let mut allowed = number > 0;
            while let Some(stream) = frames.await_frame(HEADERS).await {
                sent.set(sent.get() + 1);
                frames.answer(stream).await;
                if !allowed {
                    gate.wait().await;
                    frames.limit(100).await;
                    allowed = true;
                }
            }
        }
    })
    .await;
    let (pool, _) = pool(&server, HTTP2);
    assert_eq!(fetch(&pool, "/").await, "");
    let answer = tokio::time::timeout(Duration::from_millis(50), pool.send(get("/"))).await;
    assert!(answer.is_err(), "the upstream allows no stream");
    given_up.open();
    assert_eq!(fetch(&pool, "/").await, "");
    assert_eq!(server.accepted(), 2);
    assert_eq!(sent.get(), 2);
}
