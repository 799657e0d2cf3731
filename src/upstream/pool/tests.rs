//! Tests on real sockets, against servers that a test controls byte by byte (HTTP/1) or frame by frame (HTTP/2).

mod chaos;
mod cold;
mod early;
mod http1;
mod http1_required;
mod http2;
mod http2_errors;
mod keepalive;
mod send;
mod server;
mod window;

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::uri::Scheme;
use http::{Request, Response};
use http_body_util::{BodyExt, Empty};

use crate::config::UpstreamHttp;
use crate::outbound::{Connector, Protocol};
use crate::upstream::failure::SendFailure;
use crate::upstream::testing::{Authority509, LIMIT, direct, http_origin, origin, upstream_config};

use super::{OpenConnections, Pool, RequestBody, SendResult, UpstreamBody};

use server::Server;

/// A pool for a server without TLS, and its count of open connections.
fn pool<B: RequestBody>(server: &Server, http: UpstreamHttp) -> (Rc<Pool<B>>, OpenConnections) {
    pool_with_age(server, http, Duration::from_secs(300))
}

fn pool_with_age<B: RequestBody>(server: &Server, http: UpstreamHttp, age: Duration) -> (Rc<Pool<B>>, OpenConnections) {
    let origin = http_origin(server.address);
    let mut config = upstream_config(origin.clone(), http);
    config.connection_age = age;
    let connector = Connector::new(origin, &direct(), None, LIMIT).unwrap();
    let open = OpenConnections::default();
    (Pool::new(connector, &config, usize::MAX, open.clone()), open)
}

/// A pool for a TLS server on `localhost`. ALPN decides the protocol.
fn tls_pool<B: RequestBody>(server: &Server, authority: &Authority509) -> (Rc<Pool<B>>, OpenConnections) {
    let origin = origin(Scheme::HTTPS, "localhost", server.address.port());
    let config = upstream_config(origin.clone(), UpstreamHttp::Auto);
    let connector = Connector::new(origin, &authority.outbound(), None, LIMIT).unwrap();
    let open = OpenConnections::default();
    (Pool::new(connector, &config, usize::MAX, open.clone()), open)
}

fn get(path: &str) -> Request<Empty<Bytes>> {
    Request::get(path).body(Empty::new()).unwrap()
}

/// Sends a request, and returns the whole body as text.
async fn fetch(pool: &Rc<Pool<Empty<Bytes>>>, path: &str) -> String {
    let response = within(pool.send(get(path))).await.unwrap();
    text(response).await
}

async fn text(response: Response<UpstreamBody>) -> String {
    let body = within(response.into_body().collect()).await.unwrap().to_bytes();
    String::from_utf8(body.to_vec()).unwrap()
}

fn failure<B>(outcome: SendResult<B>) -> Box<SendFailure<B>> {
    match outcome {
        Ok(response) => panic!("an answer came: {}", response.status()),
        Err(failure) => failure,
    }
}

/// Fails and does not hang.
async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(LIMIT, future).await.expect("it takes too long")
}

/// Lets other tasks run until `condition` holds.
async fn until(mut condition: impl FnMut() -> bool) {
    within(async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
}

fn open_connections(open: &OpenConnections) -> i64 {
    open.count(Protocol::Http1) + open.count(Protocol::Http2)
}

/// Releases all waiting tasks when it opens.
#[derive(Clone, Default)]
struct Gate(Rc<(Cell<bool>, tokio::sync::Notify)>);

impl Gate {
    fn open(&self) {
        self.0.0.set(true);
        self.0.1.notify_waiters();
    }

    async fn wait(&self) {
        while !self.0.0.get() {
            self.0.1.notified().await;
        }
    }
}
