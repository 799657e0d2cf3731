//! The upstream. It records what reaches it and responds as each test says.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;

use crate::body::{BoxError, TestBody, empty, full};
use crate::connection::{Protocol, Stream, connect};

pub struct Origin {
    address: SocketAddr,
    scheme: &'static str,
    routes: Routes,
    connections: Arc<AtomicUsize>,
}

/// A request with an unread body.
pub struct Arrived {
    pub request: Request<Incoming>,
}

/// A request that was read to its end.
#[derive(Clone, Debug)]
pub struct Seen {
    pub method: String,
    /// The path and the query.
    pub target: String,
    /// `Host` or `:authority`.
    pub host: String,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub trailers: Option<HeaderMap>,
}

/// What has reached a route.
pub type Record = mpsc::UnboundedReceiver<Seen>;

/// An error ends the connection (HTTP/1) or resets the stream (HTTP/2).
type Answer = Result<Response<TestBody>, BoxError>;

type Handler = Arc<dyn Fn(Arrived) -> BoxFuture<'static, Answer> + Send + Sync>;

/// The handlers, by path.
type Routes = Arc<Mutex<HashMap<String, Handler>>>;

impl Origin {
    /// TLS negotiates the protocol. Without TLS, all connections speak `protocol`.
    pub async fn start(protocol: Protocol, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let routes = Routes::default();
        let connections = Arc::new(AtomicUsize::new(0));
        let scheme = if tls.is_some() { "https" } else { "http" };
        tokio::spawn({
            let (routes, connections) = (Arc::clone(&routes), Arc::clone(&connections));
            async move {
                loop {
                    let (tcp, _) = listener.accept().await.unwrap();
                    tcp.set_nodelay(true).unwrap();
                    connections.fetch_add(1, Ordering::Relaxed);
                    let (routes, tls) = (Arc::clone(&routes), tls.clone());
                    tokio::spawn(async move {
                        match tls {
                            None => serve(tcp, protocol, routes).await,
                            Some(tls) => {
                                let Ok(tls) = tls.accept(tcp).await else { return };
                                let two = tls.get_ref().1.alpn_protocol() == Some(b"h2");
                                let protocol = if two { Protocol::Http2 } else { Protocol::Http1 };
                                serve(tls, protocol, routes).await;
                            }
                        }
                    });
                }
            }
        });
        Self { address, scheme, routes, connections }
    }

    pub fn url(&self) -> String {
        format!("{}://localhost:{}", self.scheme, self.address.port())
    }

    /// A connection without TLS that bypasses the proxy.
    pub async fn stream(&self) -> Box<dyn Stream> {
        connect(self.address, None).await
    }

    pub fn host(&self) -> String {
        format!("localhost:{}", self.address.port())
    }

    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// Handles requests for this path with any query. `*` handles all other paths.
    pub fn on<F, A>(&self, path: &str, handler: F)
    where
        F: Fn(Arrived) -> A + Send + Sync + 'static,
        A: Future<Output = Answer> + Send + 'static,
    {
        let handler: Handler = Arc::new(move |arrived| handler(arrived).boxed());
        self.routes.lock().unwrap().insert(path.to_owned(), handler);
    }

    /// Reads requests for this path to their end, records them, and responds.
    pub fn answer(&self, path: &str, make: impl Fn(&Seen) -> Response<TestBody> + Send + Sync + 'static) -> Record {
        let (sender, record) = mpsc::unbounded_channel();
        let make = Arc::new(make);
        self.on(path, move |arrived| {
            let (sender, make) = (sender.clone(), Arc::clone(&make));
            async move {
                let seen = arrived.read().await?;
                let response = make(&seen);
                let _ = sender.send(seen);
                Ok(response)
            }
        });
        record
    }

    /// Like [`Self::answer`], with an empty 200.
    pub fn record(&self, path: &str) -> Record {
        self.answer(path, |_| Response::new(empty()))
    }
}

impl Arrived {
    pub async fn read(self) -> Result<Seen, BoxError> {
        let (head, body) = self.request.into_parts();
        let whole = body.collect().await?;
        let field = head.headers.get("host").map(|host| String::from_utf8_lossy(host.as_bytes()).into_owned());
        let host = field.or(head.uri.authority().map(ToString::to_string)).unwrap_or_default();
        let trailers = whole.trailers().cloned();
        Ok(Seen {
            method: head.method.to_string(),
            target: head.uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
            host,
            headers: head.headers,
            body: whole.to_bytes(),
            trailers,
        })
    }
}

impl Seen {
    /// All values of a field, in order.
    pub fn values(&self, name: &str) -> Vec<String> {
        values(&self.headers, name)
    }
}

pub fn values(headers: &HeaderMap, name: &str) -> Vec<String> {
    headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()).collect()
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, protocol: Protocol, routes: Routes) {
    let service = service_fn(move |request: Request<Incoming>| {
        let handler = {
            let routes = routes.lock().unwrap();
            routes.get(request.uri().path()).or_else(|| routes.get("*")).cloned()
        };
        async move {
            match handler {
                Some(handler) => handler(Arrived { request }).await.map_err(std::io::Error::other),
                None => {
                    let mut response = Response::new(full(format!("no route {}", request.uri().path())));
                    *response.status_mut() = StatusCode::NOT_FOUND;
                    Ok(response)
                }
            }
        }
    });
    let io = TokioIo::new(stream);
    // The test judges from the client's side how a connection ends.
    let _ = match protocol {
        Protocol::Http1 => {
            http1::Builder::new()
                .timer(TokioTimer::new())
                .max_headers(2048)
                .serve_connection(io, service)
                .with_upgrades()
                .await
        }
        Protocol::Http2 => http2::Builder::new(TokioExecutor::new()).serve_connection(io, service).await,
    };
}
