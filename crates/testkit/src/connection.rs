//! A client with streamed bodies, on one connection: HTTP/1.1 or HTTP/2, with or without TLS.

use std::net::SocketAddr;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};
use http::{Method, Request, Response, Uri};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

use crate::body::{TestBody, empty};
use crate::client::Answer;
use crate::within;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Http1,
    Http2,
}

pub struct Connection {
    sender: Sender,
    scheme: &'static str,
    connection: tokio::task::JoinHandle<()>,
}

enum Sender {
    One(http1::SendRequest<TestBody>),
    Two(http2::SendRequest<TestBody>),
}

/// A duplex stream of bytes.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Stream for S {}

pub async fn connect(address: SocketAddr, tls: Option<TlsConnector>) -> Box<dyn Stream> {
    let tcp = TcpStream::connect(address).await.unwrap();
    tcp.set_nodelay(true).unwrap();
    match tls {
        None => Box::new(tcp),
        Some(tls) => Box::new(tls.connect(ServerName::try_from("localhost").unwrap(), tcp).await.unwrap()),
    }
}

pub fn get(path: &str) -> Request<TestBody> {
    request(Method::GET, path, empty())
}

pub fn request(method: Method, path: &str, body: TestBody) -> Request<TestBody> {
    Request::builder().method(method).uri(path).body(body).unwrap()
}

impl Connection {
    pub async fn over(stream: Box<dyn Stream>, protocol: Protocol, tls: bool) -> Self {
        let io = TokioIo::new(stream);
        let scheme = if tls { "https" } else { "http" };
        match protocol {
            Protocol::Http1 => {
                let (sender, connection) = http1::handshake(io).await.unwrap();
                let connection = tokio::spawn(async move { drop(connection.with_upgrades().await) });
                Self { sender: Sender::One(sender), scheme, connection }
            }
            Protocol::Http2 => {
                let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
                let connection = tokio::spawn(async move { drop(connection.await) });
                Self { sender: Sender::Two(sender), scheme, connection }
            }
        }
    }

    /// Waits for the head of the response.
    pub async fn send(&mut self, request: Request<TestBody>) -> Result<Response<Incoming>, hyper::Error> {
        self.begin(request).await.await
    }

    /// Sends the request. The returned future waits for the head of the response.
    pub async fn begin(
        &mut self,
        mut request: Request<TestBody>,
    ) -> BoxFuture<'static, Result<Response<Incoming>, hyper::Error>> {
        match &mut self.sender {
            Sender::One(sender) => {
                request.headers_mut().entry("host").or_insert_with(|| "localhost".parse().unwrap());
                match sender.ready().await {
                    Ok(()) => sender.send_request(request).boxed(),
                    Err(error) => ready(Err(error)).boxed(),
                }
            }
            Sender::Two(sender) => {
                let target = request.uri().path_and_query().unwrap();
                let uri = Uri::builder().scheme(self.scheme).authority("localhost").path_and_query(target.clone());
                *request.uri_mut() = uri.build().unwrap();
                match sender.ready().await {
                    Ok(()) => sender.send_request(request).boxed(),
                    Err(error) => ready(Err(error)).boxed(),
                }
            }
        }
    }

    /// Reads the response to its end.
    pub async fn ask(&mut self, request: Request<TestBody>) -> Answer {
        within(async { read(self.send(request).await.unwrap()).await }).await
    }

    /// Closes the connection at once.
    pub async fn close(self) {
        self.connection.abort();
        let _ = self.connection.await;
    }
}

pub async fn read(response: Response<Incoming>) -> Answer {
    let (head, body) = response.into_parts();
    let whole = body.collect().await.unwrap();
    let trailers = whole.trailers().cloned();
    Answer { status: head.status, headers: head.headers, body: whole.to_bytes(), trailers }
}
