//! How much memory a request in flight holds, and how often it may be handed back.

use crate::upstream::failure::FailureKind;

use super::*;

const HTTP1: UpstreamHttp = UpstreamHttp::Http1;

/// Every request in flight touches this memory. Room for another request next to the response would double it.
#[tokio::test(flavor = "local")]
async fn a_request_on_its_way_holds_little_memory() {
    let server = Server::echo_paths().await;
    let (pool, _) = pool::<Empty<Bytes>>(&server, HTTP1);
    let sent = pool.send(get("/"));
    assert!(size_of_val(&sent) <= 320, "{} bytes", size_of_val(&sent));
    within(sent).await.unwrap();
}

/// A request that is handed back goes to another connection up to three times. After that, the caller gets the failure.
#[tokio::test(flavor = "local")]
async fn a_request_is_handed_back_three_times_at_most() {
    for (dead, served) in [(3, true), (4, false)] {
        let (server, gate) = Server::halfway().await;
        let (pool, _) = pool::<Empty<Bytes>>(&server, HTTP1);
        let mut busy = Vec::new();
        for _ in 0..dead {
            busy.push(within(pool.send(get("/"))).await.unwrap());
        }
        gate.open();
        for response in busy {
            text(response).await;
        }
        assert_eq!(pool.idle.borrow().len(), dead);
        // The pool has not noticed yet.
        pool.idle.borrow().iter().for_each(|conn| conn.close());
        match within(pool.send(get("/"))).await {
            Ok(response) => assert!(served && text(response).await == "here"),
            Err(failure) => assert!(!served && failure.kind == FailureKind::HandedBack && failure.reused),
        }
        assert_eq!(server.accepted(), dead + usize::from(served));
    }
}
