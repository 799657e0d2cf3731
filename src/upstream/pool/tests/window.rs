use futures_util::future::join_all;

use super::server::{Exchange, Frames, HEADERS, serve_http2, tls_server};
use super::*;

const LENGTH: usize = 1 << 20;

async fn answers(pool: &Rc<Pool<Empty<Bytes>>>, count: usize) -> Vec<Response<UpstreamBody>> {
    within(join_all((0..count).map(|_| pool.send(get("/"))))).await.into_iter().map(Result::unwrap).collect()
}

/// Each response is longer than the window of a stream.
async fn large_answers(authority: &Authority509) -> Server {
    tls_server(authority, &["h2"], |stream, number| {
        serve_http2(stream, number, 100, |exchange: Exchange| async move { exchange.answer(&"x".repeat(LENGTH)) })
    })
    .await
}

#[tokio::test(flavor = "local")]
async fn readers_that_stall_stop_no_other() {
    let authority = Authority509::new();
    let server = large_answers(&authority).await;
    let (pool, _) = tls_pool(&server, &authority);
    no_other_is_stopped(&pool, &server).await;
}

#[tokio::test(flavor = "local")]
async fn readers_that_stall_stop_no_other_without_tls() {
    let server = Server::http2(100, |exchange| async move { exchange.answer(&"x".repeat(LENGTH)) }).await;
    let (pool, _) = pool(&server, UpstreamHttp::Http2);
    // The upstream has used up its first window.
    for _ in 0..60 {
        assert_eq!(fetch(&pool, "/").await.len(), LENGTH);
    }
    no_other_is_stopped(&pool, &server).await;
}

async fn no_other_is_stopped(pool: &Rc<Pool<Empty<Bytes>>>, server: &Server) {
    // Twenty responses hold ten times the first window.
    let mut stalled = answers(pool, 21).await;
    assert_eq!(text(stalled.remove(20)).await.len(), LENGTH);
    for _ in 0..3 {
        assert_eq!(fetch(pool, "/").await.len(), LENGTH);
    }
    for stalled in stalled {
        assert_eq!(text(stalled).await.len(), LENGTH);
    }
    assert_eq!(server.accepted(), 1);
}

#[tokio::test(flavor = "local")]
async fn what_was_given_up_takes_no_room_for_good() {
    let authority = Authority509::new();
    let server = large_answers(&authority).await;
    let (pool, _) = tls_pool(&server, &authority);
    for _ in 0..20 {
        drop(answers(&pool, 5).await);
        assert_eq!(fetch(&pool, "/").await.len(), LENGTH);
    }
    let shared = pool.shared.borrow().clone();
    until(|| shared.iter().all(|conn| conn.waiting() == 0)).await;
    assert_eq!((shared.len(), server.accepted()), (1, 1));
}

/// A response in short lines that waits for a slow client.
#[tokio::test(flavor = "local")]
async fn small_pieces_that_wait_end_no_connection() {
    const LINES: usize = 6000;
    let authority = Authority509::new();
    let server = tls_server(&authority, &["h2"], |stream, _| async move {
        let mut frames = Frames(stream);
        frames.begin().await;
        frames.acknowledge().await;
        let slow = frames.await_frame(HEADERS).await.unwrap();
        frames.announce(slow, &[]).await;
        for _ in 0..LINES {
            frames.data(slow, &[b'x'; 60]).await;
        }
        while let Some(stream) = frames.await_frame(HEADERS).await {
            frames.answer(stream).await;
        }
    })
    .await;
    let (pool, _) = tls_pool(&server, &authority);
    let mut slow = within(pool.send(get("/"))).await.unwrap();
    assert_eq!(fetch(&pool, "/").await, "");
    let mut length = 0;
    while length < LINES * 60 {
        let frame = within(slow.body_mut().frame()).await.unwrap().unwrap();
        length += frame.into_data().unwrap().len();
    }
    assert_eq!(server.accepted(), 1);
}
