//! What the errors of HTTP/2 prove, and where requests go after them.

use tokio::io::AsyncWriteExt;

use crate::upstream::failure::FailureKind;

use super::http2::{HTTP2, fetch_all};
use super::server::{Frames, HEADERS, RST_STREAM};
use super::*;

/// How the n-th request on a connection fails if the server does this.
async fn classify<F>(requests: u32, act: impl Fn(Frames, u32) -> F + Clone + 'static) -> (FailureKind, bool)
where
    F: Future<Output = ()> + 'static,
{
    let server = Server::start(move |stream, _| {
        let act = act.clone();
        async move {
            let mut frames = Frames(stream);
            frames.begin().await;
            for _ in 1..requests {
                let stream = frames.await_frame(HEADERS).await.unwrap();
                frames.answer(stream).await;
            }
            let stream = frames.await_frame(HEADERS).await.unwrap();
            act(frames, stream).await;
        }
    })
    .await;
    let (pool, _) = pool(&server, HTTP2);
    for _ in 1..requests {
        assert_eq!(fetch(&pool, "/").await, "");
    }
    let failure = failure(within(pool.send(get("/"))).await);
    assert_eq!(failure.protocol, Some(Protocol::Http2));
    assert!(failure.request.is_none());
    (failure.kind, failure.reused)
}

#[tokio::test(flavor = "local")]
async fn an_error_of_http2_is_told_by_what_it_proves() {
    const REFUSED_STREAM: u8 = 7;
    const CANCEL: u8 = 8;
    let refused = |mut frames: Frames, stream| async move { frames.reset(stream, REFUSED_STREAM).await };
    assert_eq!(classify(1, refused).await, (FailureKind::Refused, false));
    assert_eq!(classify(2, refused).await, (FailureKind::Refused, true));

    let cancelled = |mut frames: Frames, stream| async move { frames.reset(stream, CANCEL).await };
    assert_eq!(classify(2, cancelled).await, (FailureKind::Reset(8), true));

    // The last stream identifier is below that of the request, which was therefore not processed, whatever the error code.
    for code in [0, 2, 11] {
        let gone = move |mut frames: Frames, stream: u32| async move {
            frames.goaway(u8::try_from(stream).unwrap() - 2, code).await;
        };
        assert_eq!(classify(2, gone).await, (FailureKind::GoneAway, true), "error code {code}");
        // Here the upstream may have processed it: only the loss of the connection is certain.
        let lost = move |mut frames: Frames, stream: u32| async move {
            frames.goaway(u8::try_from(stream).unwrap(), code).await;
        };
        assert_eq!(classify(2, lost).await, (FailureKind::Lost, true), "error code {code}");
    }

    let closed = |frames: Frames, _| async move { drop(frames) };
    assert_eq!(classify(1, closed).await, (FailureKind::Lost, false));
    assert_eq!(classify(2, closed).await, (FailureKind::Lost, true));

    let reset = |frames: Frames, _| async move {
        rustix::net::sockopt::set_socket_linger(&frames.0, Some(Duration::ZERO)).unwrap();
    };
    assert_eq!(classify(2, reset).await, (FailureKind::Lost, true));

    let garbage = |mut frames: Frames, _| async move {
        frames.0.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        while frames.next().await.is_some() {}
    };
    assert_eq!(classify(1, garbage).await, (FailureKind::Protocol, false));

    let nonsense = |mut frames: Frames, _| async move {
        // A frame on a stream that does not exist.
        frames.answer(99).await;
        frames.await_frame(99).await;
    };
    assert_eq!(classify(2, nonsense).await, (FailureKind::Protocol, true));
}

#[tokio::test(flavor = "local")]
async fn an_answer_with_two_lengths_is_not_passed_on() {
    for digits in [b"55", b"56"] {
        let answer = move |mut frames: Frames, stream| async move {
            frames.announce(stream, digits).await;
            frames.await_frame(RST_STREAM).await.unwrap();
        };
        assert_eq!(classify(1, answer).await, (FailureKind::Protocol, false));
    }
}

#[tokio::test(flavor = "local")]
async fn an_upstream_that_answers_no_ping_is_lost() {
    let server = Server::start(|stream, _| async move {
        let mut frames = Frames(stream);
        frames.begin().await;
        while frames.next().await.is_some() {}
    })
    .await;
    let (pool, open) = pool(&server, HTTP2);
    let sending = tokio::task::spawn_local({
        let pool = Rc::clone(&pool);
        async move { pool.send(get("/")).await }
    });
    until(|| pool.shared.borrow().iter().any(|conn| conn.is_opened())).await;
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(21)).await;
    tokio::time::sleep(Duration::from_millis(1)).await;
    tokio::time::advance(Duration::from_secs(11)).await;
    tokio::time::resume();
    assert_eq!(failure(within(sending).await.unwrap()).kind, FailureKind::Lost);
    until(|| open_connections(&open) == 0).await;
}

#[tokio::test(flavor = "local")]
async fn after_a_goaway_requests_go_to_a_new_connection_and_those_in_flight_are_answered() {
    let (gate, asked) = (Gate::default(), Gate::default());
    let (server_gate, server_asked) = (gate.clone(), asked.clone());
    let server = Server::start(move |stream, number| {
        let (gate, asked) = (server_gate.clone(), server_asked.clone());
        async move {
            let mut frames = Frames(stream);
            frames.begin().await;
            while let Some(stream) = frames.await_frame(HEADERS).await {
                if number == 0 {
                    frames.goaway(u8::try_from(stream).unwrap(), 0).await;
                    asked.open();
                    gate.wait().await;
                }
                frames.answer(stream).await;
            }
        }
    })
    .await;
    let (pool, open) = pool(&server, HTTP2);
    let first = tokio::task::spawn_local({
        let pool = Rc::clone(&pool);
        async move { fetch(&pool, "/").await }
    });
    within(asked.wait()).await;
    // Requests that have not polled h2 do not see the GOAWAY, and must not fail.
    assert_eq!(fetch_all(&pool, 3).await, ["", "", ""]);
    assert_eq!(server.accepted(), 2);
    gate.open();
    assert_eq!(within(first).await.unwrap(), "");
    until(|| open_connections(&open) == 1).await;
}

/// A request is sent again only once, which must not happen on the same connection.
#[tokio::test(flavor = "local")]
async fn who_met_a_goaway_goes_to_another_connection() {
    const BURST: usize = 5;
    let server = Server::start(|stream, number| async move {
        let mut frames = Frames(stream);
        frames.begin().await;
        let mut streams = Vec::new();
        while let Some(stream) = frames.await_frame(HEADERS).await {
            streams.push(stream);
            match number {
                // No request got a response, and the first one is still being processed.
                0 if streams.len() == BURST => frames.goaway(u8::try_from(streams[0]).unwrap(), 0).await,
                0 => {}
                _ => frames.answer(stream).await,
            }
        }
    })
    .await;
    let (pool, _) = pool(&server, HTTP2);
    let answered = Rc::new(Cell::new(0));
    for _ in 0..BURST {
        let (pool, answered) = (Rc::clone(&pool), Rc::clone(&answered));
        tokio::task::spawn_local(async move {
            let failure = failure(pool.send(get("/")).await);
            assert_eq!(failure.kind, FailureKind::GoneAway);
            assert_eq!(fetch(&pool, "/").await, "");
            answered.set(answered.get() + 1);
        });
    }
    until(|| answered.get() == BURST - 1).await;
    assert_eq!(server.accepted(), 2);
}

#[tokio::test(flavor = "local")]
async fn a_connection_that_closes_while_idle_is_not_used_again() {
    let server = Server::start(|stream, _| async move {
        let mut frames = Frames(stream);
        frames.begin().await;
        let stream = frames.await_frame(HEADERS).await.unwrap();
        frames.answer(stream).await;
        frames.goaway(1, 0).await;
    })
    .await;
    let (pool, open) = pool(&server, HTTP2);
    for connections in 1..=3 {
        assert_eq!(fetch(&pool, "/").await, "");
        assert_eq!(server.accepted(), connections);
        until(|| open_connections(&open) == 0).await;
    }
}

#[tokio::test(flavor = "local")]
async fn an_upstream_that_always_closes_at_once_is_not_asked_for_ever() {
    let server = Server::start(|stream, _| async move { drop(stream) }).await;
    let (pool, _) = pool(&server, HTTP2);
    let failure = failure(within(pool.send(get("/"))).await);
    assert!(matches!(failure.kind, FailureKind::Lost | FailureKind::HandedBack), "{failure:?}");
    assert!(!failure.reused);
    assert!(server.accepted() <= 2, "{}", server.accepted());
}
