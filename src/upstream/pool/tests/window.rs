use futures_util::future::join_all;

use super::server::{Exchange, serve_http2};
use super::*;

const LENGTH: usize = 1 << 20;

/// Of one connection to a server whose answers are longer than a stream's window.
async fn answers(pool: &Rc<Pool<Empty<Bytes>>>, count: usize) -> Vec<Response<UpstreamBody>> {
    within(join_all((0..count).map(|_| pool.send(get("/"))))).await.into_iter().map(Result::unwrap).collect()
}

async fn large_answers(authority: &Authority509) -> Server {
    let acceptor = authority.acceptor("localhost", &["h2"]);
    Server::start(move |tcp, number| {
        let acceptor = acceptor.clone();
        async move {
            let stream = acceptor.accept(tcp).await.unwrap();
            serve_http2(stream, number, 100, |exchange: Exchange| async move { exchange.answer(&"x".repeat(LENGTH)) })
                .await;
        }
    })
    .await
}

#[tokio::test(flavor = "local")]
async fn readers_that_stall_stop_no_other() {
    let authority = Authority509::new();
    let server = large_answers(&authority).await;
    let (pool, _) = tls_pool(&server, &authority);
    // Twenty hold ten times what fills the path.
    let mut stalled = answers(&pool, 21).await;
    assert_eq!(text(stalled.remove(20)).await.len(), LENGTH);
    for _ in 0..3 {
        assert_eq!(fetch(&pool, "/").await.len(), LENGTH);
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
