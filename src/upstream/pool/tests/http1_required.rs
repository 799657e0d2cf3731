//! Upstreams that offer HTTP/2 by ALPN, and respond to a request on it with HTTP_1_1_REQUIRED (RFC 9113 §7).

use crate::outbound::Offer;
use crate::upstream::failure::FailureKind;

use super::server::{Frames, HEADERS, Raw, tls_server};
use super::*;

const REQUIRED: u8 = 0xd;

/// `goaway`: the code concerns the connection, not the stream.
async fn server(authority: &Authority509, goaway: bool) -> Server {
    tls_server(authority, &["h2", "http/1.1"], move |stream, _| async move {
        if stream.get_ref().1.alpn_protocol() != Some(b"h2") {
            let mut raw = Raw(stream);
            while raw.head().await.is_some() {
                raw.answer("", "http/1.1").await;
            }
            return;
        }
        let mut frames = Frames(stream);
        frames.begin().await;
        while let Some(stream) = frames.await_frame(HEADERS).await {
            match goaway {
                true => frames.goaway(0, REQUIRED).await,
                false => frames.reset(stream, REQUIRED).await,
            }
        }
    })
    .await
}

#[tokio::test(flavor = "local")]
async fn after_http_1_1_required_requests_go_over_http1() {
    for goaway in [false, true] {
        let authority = Authority509::new();
        let server = server(&authority, goaway).await;
        let (pool, open) = tls_pool(&server, &authority);
        assert_eq!(failure(within(pool.send(get("/"))).await).kind, FailureKind::Http1Required);
        for _ in 0..3 {
            assert_eq!(fetch(&pool, "/").await, "http/1.1");
        }
        assert_eq!(server.accepted(), 2, "HTTP/2 was tried again");
        until(|| open.count(Protocol::Http2) == 0).await;
        assert_eq!(pool.offer(), Offer::Http1);
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(300)).await;
        assert_eq!(pool.offer(), Offer::Both, "after upstream.connection_age");
        tokio::time::resume();
    }
}

#[tokio::test(flavor = "local")]
async fn where_http2_is_demanded_http_1_1_required_is_a_reset() {
    let authority = Authority509::new();
    let server = server(&authority, false).await;
    let origin = origin(Scheme::HTTPS, "localhost", server.address.port());
    let config = upstream_config(origin.clone(), UpstreamHttp::Http2);
    let connector = Connector::new(origin, &authority.outbound(), None, LIMIT).unwrap();
    let pool = Pool::new(connector, &config, usize::MAX, OpenConnections::default());
    assert_eq!(failure(within(pool.send(get("/"))).await).kind, FailureKind::Reset(REQUIRED.into()));
    assert_eq!(pool.offer(), Offer::Http2);
}
