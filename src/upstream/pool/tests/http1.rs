use http_body::Frame;
use http_body_util::{Full, StreamBody};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::upstream::failure::FailureKind;

use super::server::Raw;
use super::*;

const HTTP1: UpstreamHttp = UpstreamHttp::Http1;

#[tokio::test(flavor = "local")]
async fn one_after_the_other_share_one_connection() {
    let server = Server::echo_paths().await;
    let (pool, open) = pool(&server, HTTP1);
    for path in ["/a", "/b?x=%2F", "/c"] {
        assert_eq!(fetch(&pool, path).await, path);
    }
    assert_eq!(server.accepted(), 1);
    assert_eq!(open.count(Protocol::Http1), 1);
}

#[tokio::test(flavor = "local")]
async fn a_request_goes_out_in_origin_form_for_the_origins_host() {
    let server = Server::start(|stream, _| async move {
        let mut raw = Raw(stream);
        let head = raw.head().await.unwrap();
        raw.answer("", &head).await;
    })
    .await;
    let (pool, _) = pool::<Empty<Bytes>>(&server, HTTP1);
    let request = Request::get("http://client.example/a%2Fb/?c").header("host", "client.example").body(Empty::new());
    let head = text(within(pool.send(request.unwrap())).await.unwrap()).await;
    assert_eq!(head, format!("GET /a%2Fb/?c HTTP/1.1\r\nhost: {}\r\n\r\n", server.address));
}

#[tokio::test(flavor = "local")]
async fn a_connection_comes_back_only_when_the_body_has_ended() {
    let (server, gate) = Server::halfway().await;
    let (pool, open) = pool(&server, HTTP1);
    let first = within(pool.send(get("/"))).await.unwrap();
    let second = within(pool.send(get("/"))).await.unwrap();
    assert_eq!(server.accepted(), 2);
    gate.open();
    assert_eq!(text(first).await, "here");
    assert_eq!(text(second).await, "here");
    assert_eq!(fetch(&pool, "/").await, "here");
    assert_eq!((server.accepted(), open.count(Protocol::Http1)), (2, 2));
}

#[tokio::test(flavor = "local")]
async fn a_connection_that_the_upstream_closes_while_idle_is_not_used_again() {
    let server = Server::start(|stream, _| async move {
        let mut raw = Raw(stream);
        raw.head().await.unwrap();
        raw.answer("", "once").await;
    })
    .await;
    let (pool, open) = pool(&server, HTTP1);
    for connections in 1..=3 {
        assert_eq!(fetch(&pool, "/").await, "once");
        assert_eq!(server.accepted(), connections);
        until(|| open_connections(&open) == 0).await;
    }
}

#[tokio::test(flavor = "local")]
async fn a_request_that_meets_the_upstreams_close_goes_elsewhere_or_says_that_the_connection_was_reused() {
    let server = Server::start(|stream, _| async move {
        let mut raw = Raw(stream);
        raw.head().await.unwrap();
        raw.answer("", "once").await;
    })
    .await;
    let (pool, _) = pool(&server, HTTP1);
    // Without a wait, so that the close and the next request cross.
    for _ in 0..20 {
        match within(pool.send(get("/"))).await {
            Ok(response) => assert_eq!(text(response).await, "once"),
            Err(failure) => assert!(failure.reused && failure.kind == FailureKind::Lost, "{failure:?}"),
        }
    }
}

#[tokio::test(flavor = "local")]
async fn a_byte_on_an_idle_connection_ends_it() {
    let gate = Gate::default();
    let server_gate = gate.clone();
    let server = Server::start(move |stream, number| {
        let gate = server_gate.clone();
        async move {
            let mut raw = Raw(stream);
            raw.head().await.unwrap();
            raw.answer("", if number == 0 { "first" } else { "second" }).await;
            if number == 0 {
                gate.wait().await;
                // An unsolicited response must not become the response to the next request.
                raw.answer("", "stray").await;
                raw.closed().await;
            } else {
                raw.closed().await;
            }
        }
    })
    .await;
    let (pool, open) = pool(&server, HTTP1);
    assert_eq!(fetch(&pool, "/").await, "first");
    gate.open();
    until(|| open_connections(&open) == 0).await;
    assert_eq!(fetch(&pool, "/").await, "second");
}

/// How the n-th request on a connection fails if the server does this.
async fn classify(requests: usize, last_words: &'static str) -> (FailureKind, bool) {
    let server = Server::start(move |stream, _| async move {
        let mut raw = Raw(stream);
        for _ in 1..requests {
            raw.head().await.unwrap();
            raw.answer("", "ok").await;
        }
        raw.head().await.unwrap();
        raw.write(last_words).await;
    })
    .await;
    let (pool, open) = pool(&server, HTTP1);
    for _ in 1..requests {
        assert_eq!(fetch(&pool, "/").await, "ok");
    }
    let failure = failure(within(pool.send(get("/"))).await);
    assert!(failure.request.is_none());
    assert_eq!(failure.protocol, Some(Protocol::Http1));
    until(|| open_connections(&open) == 0).await;
    (failure.kind, failure.reused)
}

#[tokio::test(flavor = "local")]
async fn the_end_of_a_connection_is_told_by_what_had_come_of_the_response() {
    assert_eq!(classify(1, "").await, (FailureKind::Lost, false));
    assert_eq!(classify(2, "").await, (FailureKind::Lost, true));
    assert_eq!(classify(1, "HTTP/1.1 200 OK\r\nContent-").await, (FailureKind::Truncated, false));
    assert_eq!(classify(3, "H").await, (FailureKind::Truncated, true));
    assert_eq!(classify(1, "220 smtp.example ESMTP\r\n\r\n").await, (FailureKind::Protocol, false));
}

#[tokio::test(flavor = "local")]
async fn a_reset_connection_is_lost() {
    let server = Server::start(move |stream, _| async move {
        let mut raw = Raw(stream);
        raw.head().await.unwrap();
        rustix::net::sockopt::set_socket_linger(&raw.0, Some(Duration::ZERO)).unwrap();
    })
    .await;
    let (pool, _) = pool(&server, HTTP1);
    assert_eq!(failure(within(pool.send(get("/"))).await).kind, FailureKind::Lost);
}

#[tokio::test(flavor = "local")]
async fn a_request_body_that_fails_is_not_the_upstreams_fault() {
    let server = Server::start(|stream, _| async move {
        let mut raw = Raw(stream);
        raw.head().await.unwrap();
        let _ = raw.0.read_to_end(&mut Vec::new()).await;
    })
    .await;
    type Frames = Vec<Result<Frame<Bytes>, std::io::Error>>;
    struct Iter(std::vec::IntoIter<Result<Frame<Bytes>, std::io::Error>>);
    impl futures_core::Stream for Iter {
        type Item = Result<Frame<Bytes>, std::io::Error>;
        fn poll_next(
            mut self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Self::Item>> {
            std::task::Poll::Ready(self.0.next())
        }
    }
    let frames: Frames = vec![Ok(Frame::data(Bytes::from_static(b"x"))), Err(std::io::Error::other("downstream"))];
    let (pool, open) = pool(&server, HTTP1);
    let request = Request::post("/").body(StreamBody::new(Iter(frames.into_iter()))).unwrap();
    assert_eq!(failure(within(pool.send(request)).await).kind, FailureKind::RequestBody);
    until(|| open_connections(&open) == 0).await;
}

#[tokio::test(flavor = "local")]
async fn a_dropped_request_closes_its_connection() {
    let gate = Gate::default();
    let server_gate = gate.clone();
    let server = Server::start(move |stream, _| {
        let gate = server_gate.clone();
        async move {
            let mut raw = Raw(stream);
            raw.head().await.unwrap();
            raw.closed().await;
            gate.open();
        }
    })
    .await;
    let (pool, open) = pool(&server, HTTP1);
    {
        let mut sending = std::pin::pin!(pool.send(get("/")));
        let answer = tokio::time::timeout(Duration::from_millis(50), &mut sending).await;
        assert!(answer.is_err());
        assert_eq!(open_connections(&open), 1);
    }
    within(gate.wait()).await;
    until(|| open_connections(&open) == 0).await;
    assert!(pool.idle.borrow().is_empty());
}

#[tokio::test(flavor = "local")]
async fn a_dropped_response_closes_its_connection() {
    let server = Server::start(|stream, _| async move {
        let mut raw = Raw(stream);
        raw.head().await.unwrap();
        raw.write("HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\nbegun").await;
        raw.closed().await;
    })
    .await;
    let (pool, open) = pool(&server, HTTP1);
    let response = within(pool.send(get("/"))).await.unwrap();
    assert_eq!(open_connections(&open), 1);
    drop(response);
    until(|| open_connections(&open) == 0).await;
}

#[tokio::test(flavor = "local")]
async fn an_old_connection_is_not_used_again() {
    let server = Server::echo_paths().await;
    let (pool, open) = pool_with_age(&server, HTTP1, Duration::from_millis(100));
    fetch(&pool, "/").await;
    assert_eq!(open_connections(&open), 1);
    until(|| open_connections(&open) == 0).await;
    fetch(&pool, "/").await;
    assert_eq!(server.accepted(), 2);
}

#[tokio::test(flavor = "local")]
async fn an_idle_connection_is_closed_before_common_upstreams_would() {
    let server = Server::echo_paths().await;
    let (pool, open) = pool(&server, HTTP1);
    fetch(&pool, "/").await;
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(50)).await;
    tokio::time::resume();
    fetch(&pool, "/").await;
    assert_eq!(server.accepted(), 1);
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(57)).await;
    tokio::time::resume();
    until(|| open_connections(&open) == 0).await;
}

#[tokio::test(flavor = "local")]
async fn an_upstream_that_announces_its_idle_time_is_believed() {
    let server = Server::start(|stream, _| async move {
        let mut raw = Raw(stream);
        while raw.head().await.is_some() {
            raw.answer("Keep-Alive: timeout=2\r\n", "ok").await;
        }
    })
    .await;
    let (pool, open) = pool(&server, HTTP1);
    fetch(&pool, "/").await;
    until(|| open_connections(&open) == 0).await;
}

#[tokio::test(flavor = "local")]
async fn a_drained_pool_closes_what_is_idle_and_finishes_what_is_in_flight() {
    let gate = Gate::default();
    let server_gate = gate.clone();
    let server = Server::start(move |stream, number| {
        let gate = server_gate.clone();
        async move {
            let mut raw = Raw(stream);
            while raw.head().await.is_some() {
                if number == 0 {
                    gate.wait().await;
                }
                raw.answer("", "ok").await;
            }
        }
    })
    .await;
    let (pool, open) = pool(&server, HTTP1);
    let in_flight = tokio::task::spawn_local({
        let pool = Rc::clone(&pool);
        async move { fetch(&pool, "/").await }
    });
    until(|| server.accepted() == 1).await;
    fetch(&pool, "/").await;
    assert_eq!(open_connections(&open), 2);
    pool.drain();
    until(|| open_connections(&open) == 1).await;
    gate.open();
    assert_eq!(in_flight.await.unwrap(), "ok");
    until(|| open_connections(&open) == 0).await;
    // A late replay is still sent, and leaves no connection open.
    assert_eq!(fetch(&pool, "/").await, "ok");
    until(|| open_connections(&open) == 0).await;
}

#[tokio::test(flavor = "local")]
async fn a_pool_that_is_gone_leaves_no_connection() {
    let server = Server::echo_paths().await;
    let (pool, open) = pool(&server, HTTP1);
    fetch(&pool, "/").await;
    assert_eq!(open_connections(&open), 1);
    drop(pool);
    until(|| open_connections(&open) == 0).await;
}

#[tokio::test(flavor = "local")]
async fn an_upgraded_connection_becomes_a_tunnel_and_is_not_pooled() {
    let server = Server::start(|stream, _| async move {
        let mut raw = Raw(stream);
        assert!(raw.head().await.unwrap().contains("\r\nupgrade: echo\r\n"));
        raw.write("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n").await;
        let (mut reader, mut writer) = raw.0.into_split();
        let _ = tokio::io::copy(&mut reader, &mut writer).await;
    })
    .await;
    // An upstream that otherwise speaks HTTP/2.
    let (pool, open) = pool::<Empty<Bytes>>(&server, UpstreamHttp::Http2);
    let request = Request::get("/").header("connection", "upgrade").header("upgrade", "echo").body(Empty::new());
    let response = within(pool.send_upgrade(request.unwrap())).await.unwrap();
    assert_eq!(response.status(), 101);
    let upgraded = within(hyper::upgrade::on(response)).await.unwrap();
    let mut tunnel = hyper_util::rt::TokioIo::new(upgraded);
    tunnel.write_all(b"ping").await.unwrap();
    let mut echo = [0; 4];
    within(tunnel.read_exact(&mut echo)).await.unwrap();
    assert_eq!(&echo, b"ping");
    assert_eq!(open.count(Protocol::Http1), 1);
    drop(tunnel);
    until(|| open_connections(&open) == 0).await;
}

#[tokio::test(flavor = "local")]
async fn an_upgrade_that_is_refused_is_an_ordinary_answer() {
    let server = Server::echo_paths().await;
    let (pool, open) = pool::<Empty<Bytes>>(&server, HTTP1);
    let request = Request::get("/no").header("connection", "upgrade").header("upgrade", "echo").body(Empty::new());
    let response = within(pool.send_upgrade(request.unwrap())).await.unwrap();
    assert_eq!(text(response).await, "/no");
    until(|| open_connections(&open) == 0).await;
}

#[tokio::test(flavor = "local")]
async fn a_body_is_sent_with_its_length() {
    let server = Server::start(|stream, _| async move {
        let mut raw = Raw(stream);
        let head = raw.head().await.unwrap();
        assert!(head.contains("\r\ncontent-length: 4\r\n"), "{head}");
        let mut body = [0; 4];
        raw.0.read_exact(&mut body).await.unwrap();
        raw.answer("", std::str::from_utf8(&body).unwrap()).await;
    })
    .await;
    let (pool, _) = pool(&server, HTTP1);
    let request = Request::post("/").body(Full::new(Bytes::from_static(b"body"))).unwrap();
    assert_eq!(text(within(pool.send(request)).await.unwrap()).await, "body");
}

/// A cancelled request costs its connection, but the pool does not open a new one for each of the next requests.
#[tokio::test(flavor = "local")]
async fn cancelled_requests_do_not_open_connections_without_end() {
    let server = Server::start(|stream, _| async move {
        let mut raw = Raw(stream);
        while let Some(head) = raw.head().await {
            if head.starts_with("GET /answered ") {
                raw.answer("", "ok").await;
            }
        }
    })
    .await;
    let (pool, _) = pool::<Empty<Bytes>>(&server, HTTP1);
    let began = tokio::time::Instant::now();
    let mut answered = 0;
    for round in 0..600 {
        let sent: Vec<_> = (0..4).map(|_| Box::pin(pool.send(get("/silent")))).collect();
        for mut sending in sent {
            // Until the request is sent, or waits for a connection.
            let _ = tokio::time::timeout(Duration::from_millis(1), &mut sending).await;
        }
        if round % 100 == 99 {
            assert_eq!(fetch(&pool, "/answered").await, "ok", "others still get their turn");
            answered += 1;
        }
    }
    let windows = began.elapsed().as_secs() / 5 + 1;
    let most = answered + usize::try_from(windows).unwrap() * 64;
    assert!(server.accepted() <= most, "{} connections for {answered} answered requests", server.accepted());
    assert!(server.accepted() > 40, "{}: the requests were not sent at all", server.accepted());
}
