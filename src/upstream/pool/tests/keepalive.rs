//! Connections that have lost their peer: bytes go out and nothing comes back.

use crate::upstream::failure::FailureKind;
use crate::upstream::pool::keepalive::Times;
use crate::upstream::pool::reaper::ConnectionLimits;

use super::http2::HTTP2;
use super::server::{Frames, HEADERS};
use super::*;

/// Responds to one request on the first connection, and ignores everything after it.
async fn swallows_the_first() -> Server {
    Server::start(|stream, number| async move {
        let mut frames = Frames(stream);
        frames.begin().await;
        let mut answered = false;
        while let Some(stream) = frames.await_frame(HEADERS).await {
            if number > 0 || !std::mem::replace(&mut answered, true) {
                frames.answer(stream).await;
            }
        }
    })
    .await
}

fn pool_with(server: &Server, keepalive: Times) -> Rc<Pool<Empty<Bytes>>> {
    let origin = http_origin(server.address);
    let config = upstream_config(origin.clone(), HTTP2);
    let connector = Connector::new(origin, &direct(), None, LIMIT).unwrap();
    let mut limits = ConnectionLimits::new(&config, usize::MAX);
    limits.keepalive = keepalive;
    Pool::with_limits(connector, &config, limits, OpenConnections::default())
}

#[tokio::test(flavor = "local")]
async fn clients_that_give_up_do_not_keep_a_dead_connection_alive() {
    let server = swallows_the_first().await;
    let times = Times { interval: Duration::from_millis(200), timeout: Duration::from_millis(100) };
    let pool = pool_with(&server, times);
    assert_eq!(fetch(&pool, "/").await, "");
    within(async {
        // None of them waits for as long as the interval.
        while tokio::time::timeout(Duration::from_millis(20), pool.send(get("/"))).await.is_err() {
            tokio::time::sleep(Duration::from_millis(130)).await;
        }
    })
    .await;
    assert_eq!(fetch(&pool, "/").await, "");
    assert_eq!(server.accepted(), 2);
}

#[tokio::test(flavor = "local")]
async fn a_dead_connection_takes_silent_ones_along() {
    let server = Server::start(|stream, number| async move {
        let mut frames = Frames(stream);
        frames.begin().await;
        frames.limit(1).await;
        let mut requests = 0;
        while let Some(stream) = frames.await_frame(HEADERS).await {
            requests += 1;
            if number > 1 || requests == 1 {
                frames.answer(stream).await;
            }
        }
    })
    .await;
    let times = Times { interval: Duration::from_millis(200), timeout: Duration::from_millis(100) };
    let pool = pool_with(&server, times);
    // Two connections, because each takes one request at a time.
    let first = within(pool.send(get("/"))).await.unwrap();
    drop(first);
    until(|| pool.shared.borrow().iter().all(|conn| conn.is_opened() && conn.open() == 0)).await;
    pool.open_one();
    until(|| pool.shared.borrow().len() == 2 && pool.shared.borrow().iter().all(|conn| conn.is_opened())).await;
    let lost = pool.shared.borrow().iter().map(Rc::as_ptr).collect::<Vec<_>>();
    // The second has had no request yet, and has been silent for as long as the first.
    tokio::time::sleep(times.interval).await;
    let failure = failure(within(pool.send(get("/"))).await);
    assert_eq!(failure.kind, FailureKind::Lost);
    assert!(pool.shared.borrow().iter().all(|conn| !lost.contains(&Rc::as_ptr(conn))));
    assert_eq!(fetch(&pool, "/").await, "");
    assert_eq!(server.accepted(), 3);
}
