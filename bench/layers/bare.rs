//! hyper with TLS and the header, and nothing else: the minimum that every proxy on hyper costs.
//!
//! There is no pool. An HTTP/1.1 connection to the origin belongs to one client connection. A hundred client connections share an
//! HTTP/2 connection.

use std::cell::RefCell;
use std::convert::Infallible;
use std::fs;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use bearer_proxy::internals::config::{Config, GrantConfig, ListenAddress, SecretSource, UpstreamHttp};
use bytes::Bytes;
use http::header::{AUTHORIZATION, HOST, HeaderValue};
use http::uri::{Authority, Scheme};
use http::{Request, Response, StatusCode, Uri, Version};
use http_body_util::{Either, Empty};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper::rt::Executor;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::Mutex;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::Outcome;

/// How many client connections share one HTTP/2 connection to the origin: fewer than the streams that origins allow.
const SHARERS: usize = 100;

/// How to reach the origin.
#[derive(Clone)]
pub struct Bare {
    listen: SocketAddr,
    authority: Authority,
    host: HeaderValue,
    bearer: HeaderValue,
    tls: TlsConnector,
    http2: bool,
}

/// The connections of one thread to the origin.
struct Origin {
    bare: Bare,
    shared: Mutex<Vec<Shared>>,
}

/// Sends the requests of one client connection to the origin.
pub struct Client {
    origin: Rc<Origin>,
    sender: Rc<RefCell<Option<Sender>>>,
}

enum Sender {
    One(http1::SendRequest<Incoming>),
    Two(Shared),
}

/// An HTTP/2 connection. The references to `users` count its client connections.
#[derive(Clone)]
struct Shared {
    sender: http2::SendRequest<Incoming>,
    users: Rc<()>,
}

#[derive(Clone, Copy)]
struct Local;

// === impl Bare ===

impl Bare {
    pub fn new(config: &Config) -> Outcome<Self> {
        let [ListenAddress::Tcp(listen)] = config.listen[..] else {
            return Err("invalid listen: expected one TCP address".into());
        };
        let GrantConfig::Static { access_token: SecretSource::File(token) } = &config.oauth.grant else {
            return Err("oauth.access_token_file is missing".into());
        };
        let mut roots = RootCertStore::empty();
        for certificate in
            CertificateDer::pem_file_iter(config.outbound.ca_file.as_ref().ok_or("outbound.ca_file is missing")?)?
        {
            roots.add(certificate?)?;
        }
        let http2 = config.upstream.http != UpstreamHttp::Http1;
        let mut tls = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        tls.alpn_protocols = vec![if http2 { b"h2".to_vec() } else { b"http/1.1".to_vec() }];
        let authority = config.upstream.origin.authority.clone();
        Ok(Self {
            listen,
            host: HeaderValue::try_from(authority.as_str())?,
            authority,
            bearer: HeaderValue::try_from(format!("Bearer {}", fs::read_to_string(token)?.trim_end()))?,
            tls: TlsConnector::from(Arc::new(tls)),
            http2,
        })
    }

    /// Serves for ever on this thread.
    pub fn serve(self) -> Outcome<()> {
        let runtime = Builder::new_current_thread().enable_io().enable_time().build_local(LocalOptions::default())?;
        runtime.block_on(async move {
            let listener = TcpListener::bind(self.listen).await?;
            let first = self.client();
            loop {
                let (tcp, _) = listener.accept().await?;
                tcp.set_nodelay(true)?;
                let client = first.clone();
                let service = service_fn(move |request| client.another_call().forward(request));
                let connection =
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(tcp), service);
                tokio::task::spawn_local(connection);
            }
        })
    }

    pub fn client(self) -> Client {
        let origin = Rc::new(Origin { bare: self, shared: Mutex::default() });
        Client { origin, sender: Rc::default() }
    }

    async fn connect(&self) -> Outcome<TokioIo<TlsStream<TcpStream>>> {
        let (name, port) = (self.authority.host(), self.authority.port_u16().unwrap_or(443));
        let tcp = TcpStream::connect((name, port)).await?;
        tcp.set_nodelay(true)?;
        Ok(TokioIo::new(self.tls.connect(ServerName::try_from(name.to_owned())?, tcp).await?))
    }

    fn fit(&self, request: &mut Request<Incoming>) -> Outcome<()> {
        request.headers_mut().insert(AUTHORIZATION, self.bearer.clone());
        if self.http2 {
            let mut parts = std::mem::take(request.uri_mut()).into_parts();
            parts.scheme = Some(Scheme::HTTPS);
            parts.authority = Some(self.authority.clone());
            *request.uri_mut() = Uri::from_parts(parts)?;
            *request.version_mut() = Version::HTTP_2;
            request.headers_mut().remove(HOST);
        } else {
            request.headers_mut().insert(HOST, self.host.clone());
        }
        Ok(())
    }
}

// === impl Origin ===

impl Origin {
    async fn sender(&self) -> Outcome<Sender> {
        if !self.bare.http2 {
            let (sender, connection) = http1::handshake(self.bare.connect().await?).await?;
            tokio::task::spawn_local(connection);
            return Ok(Sender::One(sender));
        }
        // Locked while a connection is opened, so that simultaneous clients share it.
        let mut open = self.shared.lock().await;
        let free = |shared: &&Shared| Rc::strong_count(&shared.users) <= SHARERS && !shared.sender.is_closed();
        if let Some(shared) = open.iter().find(free) {
            return Ok(Sender::Two(shared.clone()));
        }
        let (sender, connection) = http2::Builder::new(Local).handshake(self.bare.connect().await?).await?;
        tokio::task::spawn_local(connection);
        let shared = Shared { sender, users: Rc::new(()) };
        open.push(shared.clone());
        Ok(Sender::Two(shared))
    }
}

// === impl Client ===

impl Client {
    fn another_call(&self) -> Self {
        Self { origin: Rc::clone(&self.origin), sender: Rc::clone(&self.sender) }
    }

    async fn forward(self, mut request: Request<Incoming>) -> Outcome<Response<Incoming>> {
        let kept = self.sender.take();
        let mut sender = match kept {
            Some(sender) => sender,
            None => self.origin.sender().await?,
        };
        self.origin.bare.fit(&mut request)?;
        let response = match &mut sender {
            Sender::One(sender) => {
                sender.ready().await?;
                sender.send_request(request).await?
            }
            Sender::Two(shared) => shared.sender.send_request(request).await?,
        };
        self.sender.replace(Some(sender));
        Ok(response)
    }
}

/// A clone serves another client connection.
impl Clone for Client {
    fn clone(&self) -> Self {
        Self { origin: Rc::clone(&self.origin), sender: Rc::default() }
    }
}

impl tower::Service<Request<Incoming>> for Client {
    type Response = Response<Either<Incoming, Empty<Bytes>>>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>>>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Incoming>) -> Self::Future {
        let call = self.another_call();
        Box::pin(async move {
            Ok(call.forward(request).await.map_or_else(|_| bad_gateway(), |response| response.map(Either::Left)))
        })
    }
}

pub fn bad_gateway<B>() -> Response<Either<B, Empty<Bytes>>> {
    let mut response = Response::new(Either::Right(Empty::new()));
    *response.status_mut() = StatusCode::BAD_GATEWAY;
    response
}

// === impl Local ===

impl<F: Future<Output = ()> + 'static> Executor<F> for Local {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}
