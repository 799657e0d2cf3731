//! Many requests at once, before the first connection is open.

use std::future::poll_fn;
use std::task::Poll;

use tokio::task::JoinSet;

use crate::outbound::ConnectError;
use crate::upstream::failure::FailureKind;

use super::server::{Exchange, Raw, serve_http2, tls_server};
use super::*;

async fn outcomes(pool: &Rc<Pool<Empty<Bytes>>>, requests: usize) -> Vec<SendResult<Empty<Bytes>>> {
    let mut all = JoinSet::new();
    for _ in 0..requests {
        let pool = Rc::clone(pool);
        all.spawn_local(async move { pool.send(get("/")).await });
    }
    within(all.join_all()).await
}

#[tokio::test(flavor = "local")]
async fn many_first_requests_open_one_connection_if_the_upstream_speaks_http2() {
    let authority = Authority509::new();
    let server = tls_server(&authority, &["h2", "http/1.1"], |stream, number| {
        serve_http2(stream, number, 100, |exchange: Exchange| async move { exchange.answer("ok") })
    })
    .await;
    let (pool, open) = tls_pool(&server, &authority);
    for outcome in outcomes(&pool, 50).await {
        assert_eq!(text(outcome.unwrap()).await, "ok");
    }
    assert_eq!((server.accepted(), open.count(Protocol::Http2)), (1, 1));
}

#[tokio::test(flavor = "local")]
async fn many_first_requests_open_one_connection_each_if_it_speaks_http1() {
    let authority = Authority509::new();
    let gate = Gate::default();
    let arrived = Rc::new(Cell::new(0));
    let (server_gate, counted) = (gate.clone(), Rc::clone(&arrived));
    let server = tls_server(&authority, &["http/1.1"], move |stream, _| {
        let (gate, arrived) = (server_gate.clone(), Rc::clone(&counted));
        async move {
            let mut raw = Raw(stream);
            while raw.head().await.is_some() {
                arrived.set(arrived.get() + 1);
                if arrived.get() == 5 {
                    gate.open();
                }
                gate.wait().await;
                raw.answer("", "ok").await;
            }
        }
    })
    .await;
    let (pool, open) = tls_pool(&server, &authority);
    for outcome in outcomes(&pool, 5).await {
        assert_eq!(text(outcome.unwrap()).await, "ok");
    }
    assert_eq!((server.accepted(), open.count(Protocol::Http1)), (5, 5));
}

#[tokio::test(flavor = "local")]
async fn all_who_wait_for_a_connection_hear_that_it_failed() {
    let (authority, stranger) = (Authority509::new(), Authority509::new());
    let server = tls_server(&authority, &["h2"], |_, _| async {}).await;
    let (pool, open) = tls_pool(&server, &stranger);
    for round in 1..=2 {
        for outcome in outcomes(&pool, 20).await {
            let failure = failure(outcome);
            assert!(matches!(failure.kind, FailureKind::Connect(ConnectError::Certificate(_))), "{failure:?}");
            assert_eq!(failure.request.as_ref().unwrap().uri(), "/");
            assert_eq!((failure.reused, failure.protocol), (false, None));
        }
        assert_eq!(server.accepted(), round, "one attempt for all");
    }
    assert_eq!(open_connections(&open), 0);
}

#[tokio::test(flavor = "local")]
async fn a_request_that_is_dropped_does_not_take_the_connection_from_the_others() {
    let authority = Authority509::new();
    let acceptor = authority.acceptor("localhost", &["h2"]);
    let gate = Gate::default();
    let server_gate = gate.clone();
    let server = Server::start(move |tcp, number| {
        let (acceptor, gate) = (acceptor.clone(), server_gate.clone());
        async move {
            gate.wait().await;
            let stream = acceptor.accept(tcp).await.unwrap();
            serve_http2(stream, number, 100, |exchange: Exchange| async move { exchange.answer("ok") }).await;
        }
    })
    .await;
    let (pool, open) = tls_pool(&server, &authority);
    let first = tokio::task::spawn_local({
        let pool = Rc::clone(&pool);
        async move { pool.send(get("/")).await }
    });
    until(|| server.accepted() == 1).await;
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    gate.open();
    assert_eq!(fetch(&pool, "/").await, "ok");
    assert_eq!((server.accepted(), open.count(Protocol::Http2)), (1, 1));
    assert_eq!(pool.shared.borrow()[0].open(), 0);
}

#[tokio::test(flavor = "local")]
async fn who_waits_for_a_new_connection_takes_what_comes_free_first() {
    for alpn in ["h2", "http/1.1"] {
        let authority = Authority509::new();
        let acceptor = authority.acceptor("localhost", &[alpn]);
        let gate = Gate::default();
        let server_gate = gate.clone();
        let server = Server::start(move |tcp, number| {
            let (acceptor, gate) = (acceptor.clone(), server_gate.clone());
            async move {
                if number > 0 {
                    // A handshake that never happens.
                    return std::future::pending().await;
                }
                let stream = acceptor.accept(tcp).await.unwrap();
                if alpn == "h2" {
                    let answer = move |exchange: Exchange| {
                        let gate = gate.clone();
                        async move {
                            gate.wait().await;
                            exchange.answer("ok");
                        }
                    };
                    return serve_http2(stream, number, 1, answer).await;
                }
                let mut raw = Raw(stream);
                while raw.head().await.is_some() {
                    gate.wait().await;
                    raw.answer("", "ok").await;
                }
            }
        })
        .await;
        let (pool, _) = tls_pool(&server, &authority);
        let ask = || {
            let pool = Rc::clone(&pool);
            tokio::task::spawn_local(async move { fetch(&pool, "/").await })
        };
        let first = ask();
        until(|| server.accepted() == 1 && !pool.queue.is_opening()).await;
        let second = ask();
        until(|| server.accepted() == 2).await;
        gate.open();
        assert_eq!(within(first).await.unwrap(), "ok", "{alpn}");
        assert_eq!(within(second).await.unwrap(), "ok", "{alpn}");
    }
}

#[tokio::test(flavor = "local")]
async fn those_who_gave_up_waiting_are_given_no_connections() {
    let authority = Authority509::new();
    // It accepts, but never completes a handshake.
    let server = Server::start(|tcp, _| async move {
        let _tcp = tcp;
        std::future::pending().await
    })
    .await;
    let mut config = upstream_config(origin(Scheme::HTTPS, "localhost", server.address.port()), UpstreamHttp::Http1);
    config.connect_timeout = Duration::from_secs(5);
    let connector = Connector::new(config.origin.clone(), &authority.outbound(), None, LIMIT).unwrap();
    let pool = Pool::<Empty<Bytes>>::new(connector, &config, usize::MAX, OpenConnections::default());
    for _ in 0..5 {
        let answer = tokio::time::timeout(Duration::from_millis(20), pool.send(get("/"))).await;
        assert!(answer.is_err());
    }
    assert_eq!(server.accepted(), 1, "the connection that is being opened serves whoever waits when it is there");
}

#[tokio::test(flavor = "local")]
async fn a_tls_alert_after_the_handshake_is_told_as_such() {
    for alpn in ["h2", "http/1.1"] {
        let authority = Authority509::new();
        let params = rcgen::CertificateParams::new(vec!["localhost".into()]).unwrap();
        // With TLS 1.3, the server refuses a missing client certificate after the client has finished its handshake.
        let acceptor = authority.acceptor_with(params, &[alpn], true);
        let server = Server::start(move |tcp, _| {
            let acceptor = acceptor.clone();
            async move { assert!(acceptor.accept(tcp).await.is_err()) }
        })
        .await;
        let (pool, open) = tls_pool(&server, &authority);
        let failure = failure(within(pool.send(get("/"))).await);
        assert_eq!((failure.kind, failure.reused), (FailureKind::Tls, false), "{alpn}");
        until(|| open_connections(&open) == 0).await;
    }
}

#[tokio::test(flavor = "local")]
async fn a_connection_that_comes_for_a_request_that_is_gone_is_kept_for_the_next() {
    for alpn in ["h2", "http/1.1"] {
        let authority = Authority509::new();
        let server = tls_server(&authority, &[alpn], move |stream, number| async move {
            if alpn == "h2" {
                let answer = |exchange: Exchange| async move { exchange.answer("ok") };
                return serve_http2(stream, number, 1, answer).await;
            }
            let mut raw = Raw(stream);
            while raw.head().await.is_some() {
                raw.answer("", "ok").await;
            }
        })
        .await;
        let (pool, open) = tls_pool(&server, &authority);
        let mut sending = Box::pin(pool.send(get("/")));
        assert!(poll_fn(|cx| Poll::Ready(sending.as_mut().poll(cx).is_pending())).await);
        until(|| open_connections(&open) == 1 && !pool.queue.is_opening()).await;
        // The connection goes to a request that is never polled again.
        assert!(pool.checkout().is_none(), "{alpn}");
        drop(sending);
        assert_eq!(fetch(&pool, "/").await, "ok");
        assert_eq!(server.accepted(), 1, "{alpn}");
    }
}

#[tokio::test(flavor = "local")]
async fn an_upstream_that_closes_each_connection_at_once_fails_all_who_wait() {
    for alpn in ["h2", "http/1.1"] {
        let authority = Authority509::new();
        let server = tls_server(&authority, &[alpn], |stream, _| async move { drop(stream) }).await;
        let (pool, open) = tls_pool(&server, &authority);
        for outcome in outcomes(&pool, 20).await {
            assert!(!failure(outcome).reused);
        }
        assert!(server.accepted() <= 20, "{alpn}: {}", server.accepted());
        until(|| open_connections(&open) == 0).await;
    }
}

#[test]
fn a_worker_may_end_at_any_moment() {
    for alpn in ["h2", "http/1.1"] {
        let authority = Authority509::new();
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build_local(Default::default()).unwrap();
        let (sending, server) = runtime.block_on(async {
            let server = tls_server(&authority, &[alpn], |stream, _| async move {
                let _stream = stream;
                std::future::pending().await
            })
            .await;
            let (pool, open) = tls_pool::<Empty<Bytes>>(&server, &authority);
            let mut sending = Box::pin({
                let pool = Rc::clone(&pool);
                async move { pool.send(get("/")).await }
            });
            assert!(poll_fn(|cx| Poll::Ready(sending.as_mut().poll(cx).is_pending())).await);
            until(|| open_connections(&open) == 1 && pool.checkout().is_none()).await;
            (sending, server)
        });
        // The holder of a connection may be dropped with the runtime, or after it, when no task can be spawned.
        drop(server);
        drop(runtime);
        drop(sending);
    }
}
