//! Servers that a test scripts, and that count their connections.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;

use bytes::Bytes;
use h2::RecvStream;
use h2::server::SendResponse;
use http::{Request, Response};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::server::TlsStream;

use super::{Authority509, Gate};

pub(super) struct Server {
    pub(super) address: SocketAddr,
    accepted: Rc<Cell<usize>>,
    tasks: Rc<RefCell<Vec<JoinHandle<()>>>>,
}

/// One connection of an HTTP/2 server, frame by frame (RFC 9113 §4.1).
pub(super) struct Frames<S = TcpStream>(pub(super) S);

const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;

/// One connection of a raw HTTP/1 server.
pub(super) struct Raw<S = TcpStream>(pub(super) S);

impl Server {
    /// A server whose responses stop half-way until the gate opens.
    pub(super) async fn halfway() -> (Self, Gate) {
        let gate = Gate::default();
        let server_gate = gate.clone();
        let server = Self::start(move |stream, _| {
            let gate = server_gate.clone();
            async move {
                let mut raw = Raw(stream);
                while raw.head().await.is_some() {
                    raw.write("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nhe").await;
                    gate.wait().await;
                    raw.write("re").await;
                }
            }
        })
        .await;
        (server, gate)
    }

    /// Passes each connection and its number, from 0, to `serve`.
    pub(super) async fn start<F>(serve: impl Fn(TcpStream, usize) -> F + 'static) -> Self
    where
        F: Future<Output = ()> + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let accepted = Rc::new(Cell::new(0));
        let tasks = Rc::new(RefCell::new(Vec::new()));
        let (counted, started) = (Rc::clone(&accepted), Rc::clone(&tasks));
        let accepting = tokio::task::spawn_local(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                stream.set_nodelay(true).unwrap();
                let number = counted.replace(counted.get() + 1);
                started.borrow_mut().push(tokio::task::spawn_local(serve(stream, number)));
            }
        });
        tasks.borrow_mut().push(accepting);
        Self { address, accepted, tasks }
    }

    /// A raw HTTP/1 server that responds to every request with 200 and its path.
    pub(super) async fn echo_paths() -> Self {
        Self::start(|stream, _| async move {
            let mut raw = Raw(stream);
            while let Some(head) = raw.head().await {
                let path = head.split(' ').nth(1).unwrap().to_owned();
                raw.answer("", &path).await;
            }
        })
        .await
    }

    /// An HTTP/2 server that allows `limit` streams, and responds to each request with `answer`.
    pub(super) async fn http2<F>(limit: u32, answer: impl Fn(Exchange) -> F + Clone + 'static) -> Self
    where
        F: Future<Output = ()> + 'static,
    {
        Self::start(move |stream, connection| serve_http2(stream, connection, limit, answer.clone())).await
    }

    pub(super) fn accepted(&self) -> usize {
        self.accepted.get()
    }
}

impl Drop for Server {
    // A failed task fails the test, unless the test is already failing.
    fn drop(&mut self) {
        for task in self.tasks.borrow_mut().drain(..) {
            task.abort();
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Raw<S> {
    /// The head of the next request. `None`: the connection ended.
    pub(super) async fn head(&mut self) -> Option<String> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(self.0.read_u8().await.ok()?);
        }
        Some(String::from_utf8(head).unwrap())
    }

    pub(super) async fn write(&mut self, text: &str) {
        // In some tests the peer is gone.
        let _ = self.0.write_all(text.as_bytes()).await;
        let _ = self.0.flush().await;
    }

    /// Sends 200 with a body. `fields` are complete lines.
    pub(super) async fn answer(&mut self, fields: &str, body: &str) {
        self.write(&format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: {}\r\n\r\n{body}", body.len())).await;
    }

    /// Waits for the peer to close.
    pub(super) async fn closed(&mut self) {
        let mut rest = Vec::new();
        let _ = self.0.read_to_end(&mut rest).await;
        assert_eq!(String::from_utf8_lossy(&rest), "");
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Frames<S> {
    /// Reads the preface, and sends SETTINGS without limits.
    pub(super) async fn begin(&mut self) {
        self.preface().await;
        self.write(SETTINGS, 0, 0, &[]).await;
    }

    pub(super) async fn preface(&mut self) {
        let mut preface = [0; 24];
        self.0.read_exact(&mut preface).await.unwrap();
        assert_eq!(&preface, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    }

    /// Type, stream and payload of the next frame. `None`: the connection ended.
    pub(super) async fn next(&mut self) -> Option<(u8, u32, Vec<u8>)> {
        let mut head = [0; 9];
        self.0.read_exact(&mut head).await.ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        let mut payload = vec![0; length as usize];
        self.0.read_exact(&mut payload).await.ok()?;
        Some((head[3], stream, payload))
    }

    /// The stream of the next frame of this type.
    pub(super) async fn await_frame(&mut self, wanted: u8) -> Option<u32> {
        loop {
            let (kind, stream, _) = self.next().await?;
            if kind == wanted {
                return Some(stream);
            }
        }
    }

    async fn write(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let mut frame = vec![0, 0, u8::try_from(payload.len()).unwrap(), kind, flags];
        frame.extend(stream.to_be_bytes());
        frame.extend(payload);
        let _ = self.0.write_all(&frame).await;
        let _ = self.0.flush().await;
    }

    /// Acknowledges the peer's SETTINGS: its windows count from then on.
    pub(super) async fn acknowledge(&mut self) {
        self.write(SETTINGS, 1, 0, &[]).await;
    }

    /// SETTINGS_MAX_CONCURRENT_STREAMS.
    pub(super) async fn limit(&mut self, streams: u8) {
        self.write(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, streams]).await;
    }

    /// Sends 200 without a body: END_STREAM and END_HEADERS, and `:status: 200` from the static table of HPACK.
    pub(super) async fn answer(&mut self, stream: u32) {
        self.write(HEADERS, 0x1 | 0x4, stream, &[0x88]).await;
    }

    /// Sends 200 with one `content-length` per digit, as literals without indexing (28 in the static table of HPACK).
    pub(super) async fn announce(&mut self, stream: u32, digits: &[u8]) {
        let fields = digits.iter().flat_map(|digit| [0x0f, 28 - 15, 1, *digit]);
        let block: Vec<u8> = std::iter::once(0x88).chain(fields).collect();
        self.write(HEADERS, 0x4, stream, &block).await;
    }

    pub(super) async fn data(&mut self, stream: u32, data: &[u8]) {
        self.write(DATA, 0, stream, data).await;
    }

    pub(super) async fn reset(&mut self, stream: u32, code: u8) {
        self.write(RST_STREAM, 0, stream, &[0, 0, 0, code]).await;
    }

    pub(super) async fn goaway(&mut self, last_stream: u8, code: u8) {
        self.write(GOAWAY, 0, 0, &[0, 0, 0, last_stream, 0, 0, 0, code]).await;
    }
}

/// The TLS handshake of a server.
pub(super) async fn tls_server<F>(
    authority: &Authority509,
    alpn: &[&str],
    serve: impl Fn(TlsStream<TcpStream>, usize) -> F + Clone + 'static,
) -> Server
where
    F: Future<Output = ()> + 'static,
{
    let acceptor = authority.acceptor("localhost", alpn);
    Server::start(move |tcp, number| {
        let (acceptor, serve) = (acceptor.clone(), serve.clone());
        async move {
            if let Ok(stream) = acceptor.accept(tcp).await {
                serve(stream, number).await;
            }
        }
    })
    .await
}

/// A request that an HTTP/2 server received.
pub(super) struct Exchange {
    /// The number of its connection.
    pub(super) connection: usize,
    pub(super) request: Request<RecvStream>,
    pub(super) respond: SendResponse<Bytes>,
}

impl Exchange {
    pub(super) fn answer(mut self, body: &str) {
        let mut stream = self.respond.send_response(Response::new(()), false).unwrap();
        stream.send_data(Bytes::copy_from_slice(body.as_bytes()), true).unwrap();
    }

    pub(super) fn answer_path(self) {
        let path = self.request.uri().path().to_owned();
        self.answer(&path);
    }
}

pub(super) async fn serve_http2<S, F>(stream: S, connection: usize, limit: u32, answer: impl Fn(Exchange) -> F)
where
    S: AsyncRead + AsyncWrite + Unpin,
    F: Future<Output = ()> + 'static,
{
    let mut builder = h2::server::Builder::new();
    builder.max_concurrent_streams(limit);
    let Ok(mut http2) = builder.handshake::<_, Bytes>(stream).await else { return };
    while let Some(Ok((request, respond))) = http2.accept().await {
        tokio::task::spawn_local(answer(Exchange { connection, request, respond }));
    }
}
