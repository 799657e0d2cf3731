use std::cell::RefCell;

use http::HeaderMap;
use tokio::task::JoinSet;

use super::server::{Exchange, Frames, HEADERS, RST_STREAM};
use super::*;

pub(super) const HTTP2: UpstreamHttp = UpstreamHttp::Http2;

/// Sends this many requests at once, and returns the response bodies as text.
pub(super) async fn fetch_all(pool: &Rc<Pool<Empty<Bytes>>>, requests: usize) -> Vec<String> {
    let mut all = JoinSet::new();
    for number in 0..requests {
        let pool = Rc::clone(pool);
        all.spawn_local(async move { fetch(&pool, &format!("/{number}")).await });
    }
    within(all.join_all()).await
}

/// Responds only when a number of requests are in flight at the same time, and records the maximum per connection.
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
    // The server responds only when all ten have arrived.
    assert_eq!(fetch_all(&pool, 10).await.len(), 10);
    assert_eq!(crowd.most.get(), 4, "the upstream's limit");
    assert_eq!(server.accepted(), 3);
    assert!(pool.shared.borrow().iter().all(|conn| conn.open() == 0));
    // And again, on the connections that are open now.
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
    // The successor opens without a request, because the first connection is old and in use.
    until(|| server.accepted() == 2 && pool.shared.borrow().len() == 1).await;
    assert_eq!(fetch(&pool, "/").await, "1");
    assert_eq!(open_connections(&open), 2);
    gate.open();
    assert_eq!(within(slow).await.unwrap(), "0");
    // An old connection that is idle needs no successor.
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
        // There is always a connection, so no request waits for a handshake.
        assert!(!pool.shared.borrow().is_empty());
    }
    assert!(server.accepted() >= 3, "{}", server.accepted());
}

#[tokio::test(flavor = "local")]
async fn an_upstream_that_sends_no_settings_is_used_one_request_at_a_time() {
    let server = Server::start(|stream, _| async move {
        let mut frames = Frames(stream);
        frames.preface().await;
        // The server sends nothing, not even SETTINGS, until two requests have arrived.
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
