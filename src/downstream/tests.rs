//! Real sockets, and short limits in real time. A test awaits each event that it expects. To show that something does not happen,
//! it awaits a later event.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use ::http::{Request, Response, StatusCode, header};
use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, mpsc};

use super::service::BoxError;
use super::tls::Tls;
use super::{Limits, Running, Server};
use crate::config::ListenAddress;

mod accept;
mod deadlines;
mod drain;
mod http;
#[cfg(target_os = "linux")]
mod memory;
mod tls;

type Body = UnsyncBoxBody<Bytes, BoxError>;

/// More than the HTTP/2 client of hyper accepts before its user reads.
const BURST: usize = 16 * 1024 * 1024;

/// A server whose service does what the path says.
struct Fixture {
    running: Option<Running>,
    address: SocketAddr,
    app: App,
    events: mpsc::UnboundedReceiver<Event>,
}

#[derive(Clone)]
struct App {
    /// `/hold` and `/chunks` wait for a permit.
    gate: Arc<Semaphore>,
    events: mpsc::UnboundedSender<Event>,
    worker: usize,
}

#[derive(Debug, PartialEq, Eq)]
enum Event {
    Arrived,
    /// The bytes of a tunnel whose other direction was closed.
    Heard(String),
    /// A response body or a future was dropped before its end.
    Abandoned,
}

/// Reports an end that came too early.
struct Abandon(Option<mpsc::UnboundedSender<Event>>);

// === impl Fixture ===

impl Fixture {
    fn new(limits: Limits) -> Self {
        Self::with(limits, 2, None)
    }

    fn with(limits: Limits, workers: usize, tls: Option<Tls>) -> Self {
        let listen = [ListenAddress::Tcp("127.0.0.1:0".parse().unwrap())];
        let server = Server::bind_with(&listen, 0o660, tls, limits).unwrap();
        let [ListenAddress::Tcp(address)] = server.local_addresses()[..] else { panic!() };
        let (app, events) = App::new();
        let running = server.start(NonZeroUsize::new(workers).unwrap(), service(app.clone())).unwrap();
        Self { running: Some(running), address, app, events }
    }

    fn running(&self) -> &Running {
        self.running.as_ref().unwrap()
    }

    /// Drains in the background.
    fn drain(&mut self, grace: Duration) -> tokio::task::JoinHandle<super::drain::Drained> {
        tokio::spawn(self.running.take().unwrap().drain(grace))
    }

    async fn connect(&self) -> TcpStream {
        within(TcpStream::connect(self.address)).await.unwrap()
    }

    /// Connects, and sends a request that is answered.
    async fn connect_and_ask(&self) -> TcpStream {
        let mut client = self.connect().await;
        assert!(ask(&mut client, "/").await.ends_with("ok"));
        client
    }

    async fn event(&mut self) -> Event {
        within(self.events.recv()).await.unwrap()
    }

    fn open_gate(&self) {
        self.app.gate.add_permits(1);
    }

    /// An HTTP/2 client. The task ends with the connection.
    async fn http2(&self) -> (Http2, tokio::task::JoinHandle<hyper::Result<()>>) {
        http2_over(self.connect().await).await
    }
}

type Http2 = hyper::client::conn::http2::SendRequest<Full<Bytes>>;

async fn http2_over(
    io: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
) -> (Http2, tokio::task::JoinHandle<hyper::Result<()>>) {
    let executor = hyper_util::rt::TokioExecutor::new();
    let (client, connection) = hyper::client::conn::http2::handshake(executor, TokioIo::new(io)).await.unwrap();
    (client, tokio::spawn(connection))
}

// === impl App ===

impl App {
    fn new() -> (Self, mpsc::UnboundedReceiver<Event>) {
        let (sender, events) = mpsc::unbounded_channel();
        (Self { gate: Arc::new(Semaphore::new(0)), events: sender, worker: usize::MAX }, events)
    }

    async fn answer(self, mut request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
        let _ = self.events.send(Event::Arrived);
        Ok(match request.uri().path() {
            "/hold" => {
                let mut abandon = self.abandon();
                self.pass_gate().await;
                abandon.0 = None;
                text("held")
            }
            "/chunks" => self.chunks(Bytes::from_static(b"first")),
            "/burst" => self.chunks(Bytes::from(vec![b'-'; BURST])),
            "/endless" => self.endless(),
            "/breaks" => self.breaks(),
            "/worker" => text(self.worker.to_string()),
            "/echo" => text(request.into_body().collect().await.unwrap().to_bytes()),
            "/refuse" => {
                let mut response = text("too much");
                *response.status_mut() = StatusCode::PAYLOAD_TOO_LARGE;
                response
            }
            "/upgrade" => {
                let upgrade = hyper::upgrade::on(&mut request);
                tokio::task::spawn_local(async move {
                    let tunnel = TokioIo::new(upgrade.await.unwrap());
                    let (mut read, mut write) = tokio::io::split(tunnel);
                    let _ = tokio::io::copy(&mut read, &mut write).await;
                    let _ = write.shutdown().await;
                });
                switching_protocols()
            }
            "/upgrade-and-listen" => {
                let upgrade = hyper::upgrade::on(&mut request);
                tokio::task::spawn_local(async move {
                    let mut tunnel = TokioIo::new(upgrade.await.unwrap());
                    tunnel.shutdown().await.unwrap();
                    let mut heard = String::new();
                    tunnel.read_to_string(&mut heard).await.unwrap();
                    let _ = self.events.send(Event::Heard(heard));
                });
                switching_protocols()
            }
            _ => text("ok"),
        })
    }

    fn abandon(&self) -> Abandon {
        Abandon(Some(self.events.clone()))
    }

    async fn pass_gate(&self) {
        self.gate.acquire().await.unwrap().forget();
    }

    /// `first`, then, through the gate, 256 KiB and `last`.
    fn chunks(&self, first: Bytes) -> Response<Body> {
        let app = self.clone();
        let (sender, receiver) = mpsc::channel(1);
        tokio::task::spawn_local(async move {
            let _ = sender.send(first).await;
            app.pass_gate().await;
            for _ in 0..16 {
                let _ = sender.send(Bytes::from(vec![b'x'; 16 * 1024])).await;
            }
            let _ = sender.send(Bytes::from_static(b"last")).await;
        });
        streamed(receiver, Abandon(None))
    }

    /// More than a socket buffers, then, through the gate, an error.
    fn breaks(&self) -> Response<Body> {
        let app = self.clone();
        let broken = async move {
            app.pass_gate().await;
            Err(BoxError::from("broken"))
        };
        let burst = async { Ok(Frame::data(Bytes::from(vec![b'-'; BURST]))) };
        Response::new(StreamBody::new(stream::once(burst).chain(stream::once(broken))).boxed_unsync())
    }

    fn endless(&self) -> Response<Body> {
        let (sender, receiver) = mpsc::channel(1);
        tokio::task::spawn_local(async move { while sender.send(Bytes::from(vec![b'x'; 64 * 1024])).await.is_ok() {} });
        streamed(receiver, self.abandon())
    }
}

// === impl Abandon ===

impl Drop for Abandon {
    fn drop(&mut self) {
        if let Some(events) = &self.0 {
            let _ = events.send(Event::Abandoned);
        }
    }
}

/// Each call makes the service of one worker, and the calls are counted from 0.
fn service(app: App) -> impl Fn() -> Answers + Send + Sync + 'static {
    let made = AtomicUsize::new(0);
    move || Answers(App { worker: made.fetch_add(1, Ordering::Relaxed), ..app.clone() })
}

#[derive(Clone)]
struct Answers(App);

impl tower::Service<Request<Incoming>> for Answers {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>>>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Incoming>) -> Self::Future {
        Box::pin(self.0.clone().answer(request))
    }
}

fn text(text: impl Into<Bytes>) -> Response<Body> {
    Response::new(Full::new(text.into()).map_err(|never| match never {}).boxed_unsync())
}

fn switching_protocols() -> Response<Body> {
    Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header(header::CONNECTION, "upgrade")
        .header(header::UPGRADE, "echo")
        .body(http_body_util::Empty::new().map_err(|never| match never {}).boxed_unsync())
        .unwrap()
}

fn streamed(chunks: mpsc::Receiver<Bytes>, abandon: Abandon) -> Response<Body> {
    Response::new(StreamBody::new(Chunks { chunks, _abandon: abandon }).boxed_unsync())
}

struct Chunks {
    chunks: mpsc::Receiver<Bytes>,
    _abandon: Abandon,
}

impl futures_core::Stream for Chunks {
    type Item = Result<Frame<Bytes>, BoxError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.chunks.poll_recv(cx).map(|chunk| chunk.map(|chunk| Ok(Frame::data(chunk))))
    }
}

/// Limits that no test reaches. A test shortens the one that it is about.
fn limits() -> Limits {
    Limits {
        max_connections: 100,
        header_timeout: Duration::from_secs(60),
        idle_timeout: Duration::from_secs(60),
        stall_timeout: Duration::from_secs(60),
        max_head: 64 * 1024,
    }
}

/// Fails instead of hanging.
async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(20), future).await.expect("nothing happened")
}

async fn send(client: &mut (impl AsyncWrite + Unpin), bytes: impl AsRef<[u8]>) {
    within(client.write_all(bytes.as_ref())).await.unwrap();
}

/// A request on a kept connection, and its response.
async fn ask(client: &mut (impl AsyncRead + AsyncWrite + Unpin), path: &str) -> String {
    send(client, format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n")).await;
    response(client).await
}

/// One response with a `Content-Length`.
async fn response(client: &mut (impl AsyncRead + Unpin)) -> String {
    let mut received = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&received).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "))
                .map_or(0, |length| length.parse().unwrap());
            if body.len() >= length {
                return text;
            }
        }
        let read = within(client.read_buf(&mut received)).await.unwrap();
        assert_ne!(read, 0, "closed after {text:?}");
    }
}

/// All bytes until the server closes, by FIN or RST.
async fn rest(client: &mut (impl AsyncRead + Unpin)) -> Vec<u8> {
    let mut received = Vec::new();
    while within(client.read_buf(&mut received)).await.is_ok_and(|read| read > 0) {}
    received
}

/// How long the server keeps a connection on which nothing is sent.
async fn time_until_closed(client: &mut (impl AsyncRead + Unpin)) -> Duration {
    let start = Instant::now();
    let received = rest(client).await;
    assert_eq!(received, b"", "{}", received.escape_ascii());
    start.elapsed()
}

fn get(path: &str) -> Request<Full<Bytes>> {
    Request::get(format!("http://a{path}")).body(Full::default()).unwrap()
}

async fn get2(client: &mut Http2, path: &str) -> String {
    let response = within(client.send_request(get(path))).await.unwrap();
    let body = within(response.into_body().collect()).await.unwrap().to_bytes();
    String::from_utf8_lossy(&body).into_owned()
}
