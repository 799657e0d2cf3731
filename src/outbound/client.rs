//! The HTTP client of the control plane: reqwest, with the DNS, the trust anchors and the proxy decision of this program.
//!
//! It sends each request once, on a connection of its own, and follows no redirect. Token calls do not use it: an abandoned token
//! call must reset its connection at once, and reqwest cannot do that.

use std::error::Error;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::{ClientBuilder, Proxy, RequestBuilder, redirect, retry};
use tokio::time::timeout;
use tokio_rustls::rustls::crypto::aws_lc_rs;
#[cfg(feature = "kubernetes")]
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore};
use url::Url;
use zeroize::Zeroizing;

use crate::config::{Outbound, OutboundProxy};

use super::tls::failure::explain;
use super::tls::{TlsError, TlsSetup};
use super::tunnel::bypasses;
use super::{ConnectError, dns, order};

/// Sends requests. A clone shares its settings.
#[derive(Clone, Debug)]
pub struct Client(reqwest::Client);

/// A whole response.
#[derive(Clone, Debug)]
pub struct Response {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// A response whose body is still arriving, and may last longer than a call.
#[cfg(feature = "kubernetes")]
#[derive(Debug)]
pub struct Arriving(reqwest::Response);

/// Why there is no response. The texts hold nothing of the request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// Nothing of the request was sent.
    #[error("{said}")]
    Connect {
        kind: io::ErrorKind,
        said: String,
        /// The server's certificate has expired, or is not valid yet.
        outside_validity: bool,
    },
    #[error("no response within {0:?}")]
    TimedOut(Duration),
    #[error("{0}")]
    Broken(String),
}

/// One limit for DNS, TCP, `CONNECT` and TLS.
const CONNECT: Duration = Duration::from_secs(5);
const USER_AGENT: &str = concat!("bearer-proxy/", env!("CARGO_PKG_VERSION"));

// === impl Client ===

impl Client {
    /// For servers on the network.
    ///
    /// # Errors
    /// `outbound.ca_file` cannot be used.
    pub fn new(outbound: &Outbound) -> Result<Self, TlsError> {
        let builder = builder(TlsSetup::new(outbound.ca_file.as_deref(), None)?.client_config());
        build(match &outbound.proxy {
            Some(proxy) => builder.proxy(through(proxy)?),
            None => builder,
        })
    }

    /// For a plaintext address that is never reached through an HTTP proxy.
    ///
    /// # Errors
    /// TLS cannot be set up.
    pub fn direct() -> Result<Self, TlsError> {
        build(builder(plaintext()?))
    }

    /// For the API server of a Kubernetes cluster. It trusts `anchors` alone, and never uses an HTTP proxy. A connection stays open for the
    /// next call of the same refresh.
    ///
    /// # Errors
    /// A certificate cannot be a trust anchor.
    #[cfg(feature = "kubernetes")]
    pub fn cluster(anchors: &[CertificateDer<'static>]) -> Result<Self, TlsError> {
        let mut roots = RootCertStore::empty();
        for anchor in anchors {
            roots.add(anchor.clone()).map_err(|error| unusable(&error))?;
        }
        build(builder(trusting(roots)?).pool_max_idle_per_host(1).pool_idle_timeout(Duration::from_secs(10)))
    }

    /// For a unix socket. The host of a URL then only becomes `Host`.
    ///
    /// # Errors
    /// TLS cannot be set up.
    pub fn unix(socket: &Path) -> Result<Self, TlsError> {
        build(builder(plaintext()?).unix_socket(socket))
    }

    pub fn request(&self, method: Method, url: Url) -> RequestBuilder {
        self.0.request(method, url)
    }

    /// Sends a request of this client and reads the response, which has at most `max_body` bytes.
    ///
    /// # Errors
    /// There is no whole response in time.
    pub async fn send(
        &self,
        request: RequestBuilder,
        max_body: usize,
        within: Duration,
    ) -> Result<Response, RequestError> {
        let exchange = async {
            let mut response = request.send().await.map_err(|error| RequestError::new(&error))?;
            let mut body = BytesMut::new();
            while let Some(chunk) = response.chunk().await.map_err(|error| RequestError::new(&error))? {
                if body.len() + chunk.len() > max_body {
                    return Err(RequestError::Broken(format!("the response is larger than {max_body} bytes")));
                }
                body.extend_from_slice(&chunk);
            }
            let (status, headers) = (response.status(), std::mem::take(response.headers_mut()));
            Ok(Response { status, headers, body: body.freeze() })
        };
        timeout(within, exchange).await.unwrap_or(Err(RequestError::TimedOut(within)))
    }

    /// Sends a request and returns after the head of the response.
    ///
    /// # Errors
    /// There is no head in time.
    #[cfg(feature = "kubernetes")]
    pub async fn open(&self, request: RequestBuilder, within: Duration) -> Result<Arriving, RequestError> {
        let sent = timeout(within, request.send()).await.map_err(|_| RequestError::TimedOut(within))?;
        sent.map(Arriving).map_err(|error| RequestError::new(&error))
    }
}

// === impl Arriving ===

#[cfg(feature = "kubernetes")]
impl Arriving {
    pub fn status(&self) -> StatusCode {
        self.0.status()
    }

    pub fn headers(&self) -> &HeaderMap {
        self.0.headers()
    }

    /// The next piece of the body. `None`: its end.
    ///
    /// # Errors
    /// The connection is lost, or silent for longer than `idle`.
    pub async fn chunk(&mut self, idle: Duration) -> Result<Option<Bytes>, RequestError> {
        let chunk = timeout(idle, self.0.chunk()).await.map_err(|_| RequestError::TimedOut(idle))?;
        chunk.map_err(|error| RequestError::new(&error))
    }
}

/// Trusts no server: the trust anchors of each plaintext client would be built for nothing.
fn plaintext() -> Result<ClientConfig, TlsError> {
    trusting(RootCertStore::empty())
}

fn trusting(roots: RootCertStore) -> Result<ClientConfig, TlsError> {
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().map_err(|error| unusable(&error))?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

fn builder(tls: ClientConfig) -> ClientBuilder {
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        // The environment's proxy is part of the configuration already.
        .no_proxy()
        .dns_resolver(Names)
        .redirect(redirect::Policy::none())
        .retry(retry::never())
        .connect_timeout(CONNECT)
        .pool_max_idle_per_host(0)
        .user_agent(USER_AGENT)
}

fn build(builder: ClientBuilder) -> Result<Client, TlsError> {
    builder.build().map(Client).map_err(|error| unusable(&error))
}

/// Through the HTTP proxy, unless this program's own rule says otherwise.
fn through(proxy: &OutboundProxy) -> Result<Proxy, TlsError> {
    let OutboundProxy { host, port, credentials, no_proxy } = proxy;
    let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
    let url: Url = format!("http://{host}:{port}").parse().map_err(|error| unusable(&error))?;
    let no_proxy = no_proxy.clone();
    let decided = Proxy::custom(move |to: &Url| {
        let direct = bypasses(to.host_str().unwrap_or_default(), to.port_or_known_default().unwrap_or(0), &no_proxy);
        (!direct).then(|| url.clone())
    });
    let Some(credentials) = credentials else { return Ok(decided) };
    let encoded = Zeroizing::new(BASE64_STANDARD.encode(credentials.expose()));
    let mut value = HeaderValue::try_from(format!("Basic {}", &*encoded)).map_err(|error| unusable(&error))?;
    value.set_sensitive(true);
    Ok(decided.custom_http_auth(value))
}

fn unusable(error: &dyn Error) -> TlsError {
    TlsError { path: "outbound".into(), what: chain(error) }
}

/// The lookups of [`dns`], for reqwest.
struct Names;

// === impl Names ===

impl Resolve for Names {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = dns::resolve(name.as_str()).await?;
            let addresses: Addrs = Box::new(order::order(found.addresses).into_iter());
            Ok(addresses)
        })
    }
}

// === impl RequestError ===

impl RequestError {
    fn new(error: &reqwest::Error) -> Self {
        let mut io = None;
        let mut tls = None;
        walk(error, &mut |error| {
            if let Some(found) = error.downcast_ref::<io::Error>() {
                if found.get_ref().is_some_and(|inner| inner.is::<rustls::Error>()) {
                    tls = Some(explain(found, None));
                }
                io = Some((found.kind(), found.to_string()));
            }
        });
        if !error.is_connect() {
            return Self::Broken(chain(error));
        }
        if error.is_timeout() {
            let said = format!("no connection within {CONNECT:?}");
            return Self::Connect { kind: io::ErrorKind::TimedOut, said, outside_validity: false };
        }
        let (kind, said) = io.unwrap_or_else(|| (io::ErrorKind::Other, chain(error)));
        let outside_validity = matches!(tls, Some(ConnectError::OutsideValidity(_)));
        Self::Connect { kind, said: tls.map_or(said, |error| error.to_string()), outside_validity }
    }
}

/// Visits an error and its causes. The `source` of an I/O error skips the error that it wraps.
fn walk<'a>(error: &'a (dyn Error + 'static), visit: &mut dyn FnMut(&'a (dyn Error + 'static))) {
    visit(error);
    let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    if let Some(inner) = inner {
        walk(inner, visit);
    } else if let Some(source) = error.source() {
        walk(source, visit);
    }
}

/// An error with its causes. reqwest's own text may have the URL, whose query may be secret.
fn chain(error: &dyn Error) -> String {
    let mut causes = Vec::new();
    let mut next = error.source();
    while let Some(cause) = next {
        causes.push(cause.to_string());
        next = cause.source();
    }
    if causes.is_empty() { "the request failed".to_owned() } else { causes.join(": ") }
}

#[cfg(test)]
mod tests;
