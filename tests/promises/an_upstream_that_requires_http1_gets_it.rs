//! An upstream offers HTTP/2 and answers HTTP_1_1_REQUIRED: the proxy repeats the request over HTTP/1.1, unnoticed by the client.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::Full;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use simulator::{Options, Simulator};
use tokio::net::TcpListener;

use testkit::Proxy;
use testkit::authority::Authority;

struct Upstream {
    port: u16,
    authority: Authority,
    refused: Arc<AtomicUsize>,
}

impl Upstream {
    async fn start() -> Self {
        let authority = Authority::new();
        let acceptor = authority.acceptor(&["localhost"], &["h2", "http/1.1"]);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let refused = Arc::<AtomicUsize>::default();
        let count = Arc::clone(&refused);
        tokio::spawn(async move {
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                let (acceptor, count) = (acceptor.clone(), Arc::clone(&count));
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(tcp).await else { return };
                    if stream.get_ref().1.alpn_protocol() != Some(b"h2") {
                        let service =
                            service_fn(async |_| Ok::<_, hyper::Error>(Response::new(Full::new(Bytes::from("ok")))));
                        let _ = hyper::server::conn::http1::Builder::new()
                            .serve_connection(TokioIo::new(stream), service)
                            .await;
                        return;
                    }
                    let Ok(mut connection) = h2::server::handshake(stream).await else { return };
                    while let Some(Ok((_, mut respond))) = connection.accept().await {
                        count.fetch_add(1, Ordering::Relaxed);
                        respond.send_reset(h2::Reason::HTTP_1_1_REQUIRED);
                    }
                });
            }
        });
        Self { port, authority, refused }
    }
}

#[tokio::test]
async fn an_upstream_that_requires_http1_gets_it() {
    let (simulator, upstream) = (Simulator::start(Options::league8()).await.unwrap(), Upstream::start().await);
    let proxy = Proxy::before(&simulator)
        .set("UPSTREAM__URL", format!("https://localhost:{}", upstream.port))
        .set("OUTBOUND__CA_FILE", upstream.authority.ca_file().display())
        .start()
        .await;
    let mut client = proxy.http2().await;
    for answer in [client.post("/first", "body").await, client.get("/second").await, client.get("/third").await] {
        assert_eq!((answer.status, answer.text().as_str()), (StatusCode::OK, "ok"));
    }
    assert_eq!(upstream.refused.load(Ordering::Relaxed), 1, "HTTP/2 was tried again");
    proxy.stop().await;
}
