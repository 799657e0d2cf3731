use std::cell::RefCell;

use http::HeaderMap;
use tokio::io::AsyncWriteExt;
use tokio::task::JoinSet;

use crate::upstream::failure::FailureKind;

use super::server::{Exchange, Frames, HEADERS, RST_STREAM};
use super::*;

pub(super) const HTTP2: UpstreamHttp = UpstreamHttp::Http2;

/// Sends so many at once, and gives the answers' texts.
async fn fetch_all(pool: &Rc<Pool<Empty<Bytes>>>, requests: usize) -> Vec<String> {
    let mut all = JoinSet::new();
    for number in 0..requests {
        let pool = Rc::clone(pool);
        all.spawn_local(async move { fetch(&pool, &format!("/{number}")).await });
    }
    within(all.join_all()).await
}

/// Answers only when so many requests are there at the same time, and counts the most on one connection.
#[derive(Clone, Default)]
struct Crowd {
    per_connection: Rc<RefCell<Vec<usize>>>,
    most: Rc<Cell<usize>>,
    gate: Gate,
}

impl Crowd {
    async fn join(self, exchange: Exchange, size: usize) {
        let all = {
            let mut present = self.per_connection.borrow_mut();
            let connections = present.len().max(exchange.connection + 1);
            present.resize(connections, 0);
            present[exchange.connection] += 1;
            self.most.set(self.most.get().max(present[exchange.connection]));
            present.iter().sum::<usize>()
        };
        if all >= size {
            self.gate.open();
        }
        self.gate.wait().await;
        self.per_connection.borrow_mut()[exchange.connection] -= 1;
        exchange.answer_path();
    }
}

#[tokio::test(flavor = "local")]
async fn requests_share_one_connection_at_the_same_time() {
    let crowd = Crowd::default();
    let server = Server::http2(100, {
        let crowd = crowd.clone();
        move |exchange| crowd.clone().join(exchange, 10)
    })
    .await;
    let (pool, open) = pool(&server, HTTP2);
    let mut answers = fetch_all(&pool, 10).await;
    answers.sort();
    assert_eq!(answers, (0..10).map(|number| format!("/{number}")).collect::<Vec<_>>());
    assert_eq!((server.accepted(), open.count(Protocol::Http2)), (1, 1));
    assert_eq!(pool.shared.borrow()[0].open(), 0);
}

#[tokio::test(flavor = "local")]
async fn a_request_never_waits_within_a_connection_that_is_full() {
    let crowd = Crowd::default();
    let server = Server::http2(4, {
        let crowd = crowd.clone();
        move |exchange| crowd.clone().join(exchange, 10)
    })
    .await;
    let (pool, _) = pool(&server, HTTP2);
    // All ten are answered only when all ten are there.
    assert_eq!(fetch_all(&pool, 10).await.len(), 10);
    assert_eq!(crowd.most.get(), 4, "the upstream's limit");
    assert_eq!(server.accepted(), 3);
    assert!(pool.shared.borrow().iter().all(|conn| conn.open() == 0));
    // And again, on the connections that are there now.
    crowd.gate.0.0.set(false);
    assert_eq!(fetch_all(&pool, 10).await.len(), 10);
    assert_eq!(server.accepted(), 3);
}

#[tokio::test(flavor = "local")]
async fn the_first_request_does_not_wait_for_the_upstreams_settings() {
    let server = Server::start(|stream, _| async move {
        let mut frames = Frames(stream);
        frames.preface().await;
        let stream = frames.await_frame(HEADERS).await.unwrap();
        frames.limit(10).await;
        frames.answer(stream).await;
        while let Some(stream) = frames.await_frame(HEADERS).await {
            frames.answer(stream).await;
        }
    })
    .await;
    let (pool, _) = pool(&server, HTTP2);
    assert_eq!(fetch_all(&pool, 3).await, ["", "", ""]);
    assert_eq!(server.accepted(), 1);
}

#[tokio::test(flavor = "local")]
async fn a_request_goes_out_with_the_origin_as_its_authority() {
    let server = Server::http2(10, |exchange: Exchange| async move {
        let seen = format!("{} {:?}", exchange.request.uri(), exchange.request.headers());
        exchange.answer(&seen);
    })
    .await;
    let (pool, _) = pool::<Empty<Bytes>>(&server, HTTP2);
    let request = Request::get("/a%2Fb/?c").header("host", "client.example").body(Empty::new()).unwrap();
    let seen = text(within(pool.send(request)).await.unwrap()).await;
    assert_eq!(seen, format!("http://{}/a%2Fb/?c {:?}", server.address, HeaderMap::new()));
}

/// What becomes of the n-th request on a connection, when the server does this with it.
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

    // The last stream identifier is below the request's: it was not processed, whatever the error code.
    for code in [0, 2, 11] {
        let gone = move |mut frames: Frames, stream: u32| async move {
            frames.goaway(u8::try_from(stream).unwrap() - 2, code).await;
        };
        assert_eq!(classify(2, gone).await, (FailureKind::GoneAway, true), "error code {code}");
        // It may have been: then all that is known is that the connection is lost.
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
    // hyper gives no sign of the GOAWAY to those who have not asked: they must not fail.
    assert_eq!(fetch_all(&pool, 3).await, ["", "", ""]);
    assert_eq!(server.accepted(), 2);
    gate.open();
    assert_eq!(within(first).await.unwrap(), "");
    until(|| open_connections(&open) == 1).await;
}

/// The repetition is the only one that a request has: not to be spent on the same connection.
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
                // Not even one was answered, and the first is still being processed.
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

#[tokio::test(flavor = "local")]
async fn a_dropped_request_resets_its_stream_and_leaves_its_place() {
    let gate = Gate::default();
    let server_gate = gate.clone();
    let server = Server::start(move |stream, _| {
        let gate = server_gate.clone();
        async move {
            let mut frames = Frames(stream);
            frames.begin().await;
            let asked = frames.await_frame(HEADERS).await.unwrap();
            assert_eq!(frames.await_frame(RST_STREAM).await, Some(asked));
            gate.open();
            let asked = frames.await_frame(HEADERS).await.unwrap();
            frames.answer(asked).await;
            frames.next().await;
        }
    })
    .await;
    let (pool, open) = pool(&server, HTTP2);
    let answer = tokio::time::timeout(Duration::from_millis(50), pool.send(get("/"))).await;
    assert!(answer.is_err());
    within(gate.wait()).await;
    assert_eq!(pool.shared.borrow()[0].open(), 0);
    assert_eq!(fetch(&pool, "/").await, "");
    assert_eq!((server.accepted(), open.count(Protocol::Http2)), (1, 1));
}

#[tokio::test(flavor = "local")]
async fn a_streams_place_is_taken_until_its_body_ends_or_is_dropped() {
    let server = Server::http2(1, |exchange: Exchange| async move { exchange.answer("body") }).await;
    let (pool, _) = pool(&server, HTTP2);
    let first = within(pool.send(get("/"))).await.unwrap();
    assert_eq!(pool.shared.borrow()[0].open(), 1);
    let second = within(pool.send(get("/"))).await.unwrap();
    assert_eq!(server.accepted(), 2);
    drop(first);
    assert_eq!(pool.shared.borrow()[0].open(), 0);
    assert_eq!(text(second).await, "body");
    assert_eq!(pool.shared.borrow()[1].open(), 0);
    assert_eq!(fetch(&pool, "/").await, "body");
    assert_eq!(server.accepted(), 2);
}

#[tokio::test(flavor = "local")]
async fn an_old_connection_goes_when_its_successor_is_there_and_finishes_its_streams() {
    let gate = Gate::default();
    let server_gate = gate.clone();
    let server = Server::http2(100, move |exchange: Exchange| {
        let gate = server_gate.clone();
        async move {
            if exchange.request.uri().path() == "/slow" {
                gate.wait().await;
            }
            let connection = exchange.connection.to_string();
            exchange.answer(&connection);
        }
    })
    .await;
    let (pool, open) = pool_with_age(&server, HTTP2, Duration::from_millis(400));
    let slow = tokio::task::spawn_local({
        let pool = Rc::clone(&pool);
        async move { fetch(&pool, "/slow").await }
    });
    until(|| server.accepted() == 1).await;
    assert_eq!(fetch(&pool, "/").await, "0");
    // Nobody asks: the successor comes because the first is old and in use.
    until(|| server.accepted() == 2 && pool.shared.borrow().len() == 1).await;
    assert_eq!(fetch(&pool, "/").await, "1");
    assert_eq!(open_connections(&open), 2);
    gate.open();
    assert_eq!(within(slow).await.unwrap(), "0");
    // Idle and old needs no successor.
    until(|| open_connections(&open) == 0).await;
    assert_eq!(server.accepted(), 2);
}

#[tokio::test(flavor = "local")]
async fn an_old_connection_that_rests_between_requests_has_its_successor_before_the_next() {
    let server = Server::http2(100, |exchange: Exchange| async move { exchange.answer_path() }).await;
    let age = Duration::from_millis(400);
    let (pool, _) = pool_with_age(&server, HTTP2, age);
    let begun = std::time::Instant::now();
    while begun.elapsed() < age * 3 {
        fetch(&pool, "/").await;
        tokio::time::sleep(Duration::from_millis(10)).await;
        // Never is there none: no request waits for a handshake.
        assert!(!pool.shared.borrow().is_empty());
    }
    assert!(server.accepted() >= 3, "{}", server.accepted());
}

#[tokio::test(flavor = "local")]
async fn an_upstream_that_sends_no_settings_is_used_one_request_at_a_time() {
    let server = Server::start(|stream, _| async move {
        let mut frames = Frames(stream);
        frames.preface().await;
        // Nothing is read from it until it answers, and it answers only when it is asked twice.
        frames.await_frame(HEADERS).await.unwrap();
        frames.await_frame(HEADERS).await;
    })
    .await;
    let (pool, _) = pool::<Empty<Bytes>>(&server, HTTP2);
    let sending: Vec<_> = (0..2)
        .map(|_| {
            let pool = Rc::clone(&pool);
            tokio::task::spawn_local(async move { pool.send(get("/")).await })
        })
        .collect();
    until(|| server.accepted() == 1 && pool.shared.borrow().len() == 1).await;
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(3)).await;
    tokio::time::resume();
    until(|| server.accepted() == 2).await;
    assert!(pool.shared.borrow().iter().all(|conn| conn.open() <= 1));
    assert!(sending.iter().all(|sending| !sending.is_finished()));
}

#[tokio::test(flavor = "local")]
async fn a_connection_ends_with_its_last_answer_though_its_pool_has_gone() {
    let gate = Gate::default();
    let server_gate = gate.clone();
    let server = Server::http2(100, move |mut exchange: Exchange| {
        let gate = server_gate.clone();
        async move {
            let mut stream = exchange.respond.send_response(Response::new(()), false).unwrap();
            gate.wait().await;
            stream.send_data(Bytes::from_static(b"ok"), true).unwrap();
        }
    })
    .await;
    let (pool, open) = pool(&server, HTTP2);
    let answer = within(pool.send(get("/"))).await.unwrap();
    drop(pool);
    gate.open();
    assert_eq!(text(answer).await, "ok");
    until(|| open_connections(&open) == 0).await;
}

#[tokio::test(flavor = "local")]
async fn a_drained_pool_finishes_its_streams_and_keeps_no_connection() {
    let gate = Gate::default();
    let server_gate = gate.clone();
    let server = Server::http2(100, move |exchange: Exchange| {
        let gate = server_gate.clone();
        async move {
            gate.wait().await;
            exchange.answer("ok");
        }
    })
    .await;
    let (pool, open) = pool(&server, HTTP2);
    let in_flight = tokio::task::spawn_local({
        let pool = Rc::clone(&pool);
        async move { fetch(&pool, "/").await }
    });
    until(|| pool.shared.borrow().iter().any(|conn| conn.open() == 1)).await;
    pool.drain();
    assert_eq!(open_connections(&open), 1);
    gate.open();
    assert_eq!(within(in_flight).await.unwrap(), "ok");
    until(|| open_connections(&open) == 0).await;
    assert_eq!(fetch_all(&pool, 3).await, ["ok", "ok", "ok"]);
    until(|| open_connections(&open) == 0).await;
}
