//! One outgoing connection: DNS, TCP (happy eyeballs), an HTTP proxy's `CONNECT`, TLS with ALPN. Used by both journeys.
//!
//! The name is resolved at each connect, so that a retired connection's successor follows DNS. One time limit covers
//! the whole, since a caller does not care which step is slow. A lookup goes on after that limit, for the next caller.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use crate::config::{ClientCert, Origin, Outbound};

use dial::Reach;
use tls::TlsSetup;
use tunnel::Tunnel;

pub mod client;
mod dial;
mod dns;
mod order;
mod stream;
mod tls;
mod tunnel;

pub use stream::Stream;
pub use tls::TlsError;

/// Opens connections to one origin. A clone is a reference.
#[derive(Clone)]
pub struct Connector(Arc<Inner>);

struct Inner {
    origin: Origin,
    /// `None`: an `http` origin. Connections to it reach loopback addresses alone.
    tls: Option<TlsSetup>,
    tunnel: Option<Tunnel>,
    timeout: Duration,
}

/// Which protocols are offered by ALPN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offer {
    /// `h2`, then `http/1.1`.
    Both,
    Http1,
    Http2,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Http1,
    Http2,
}

/// Why there is no connection. Nothing of a request was sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    #[error("the name could not be resolved: {0}")]
    Dns(String),
    #[error("connection refused")]
    Refused,
    #[error("{0}")]
    Unreachable(String),
    #[error("this process has no file descriptor left for a connection: raise its limit of open files")]
    NoDescriptor,
    #[error("no connection within {0:?}")]
    Timeout(Duration),
    #[error(
        "{host} has the address {address}, which is not loopback, and plaintext goes to loopback addresses only: use TLS, or correct \
         the address in /etc/hosts or DNS"
    )]
    NotLoopback { host: String, address: IpAddr },
    #[error("the certificate is not trusted: {0}")]
    Certificate(String),
    #[error("the TLS handshake failed: {0}")]
    Tls(String),
    #[error("the HTTP proxy said: {0}")]
    Proxy(String),
}

/// The loopback addresses of `host`, for plaintext over a library that connects by itself. An error if there are none.
pub async fn loopback_addresses(host: &str) -> Result<Vec<IpAddr>, ConnectError> {
    let found = dial::find(host).await?;
    let mut refused = None;
    let mut admitted = |addresses: Vec<SocketAddr>| -> Vec<_> {
        let admits =
            |ip: &IpAddr| Reach::Loopback.admits(host, *ip).map_err(|error| refused.get_or_insert(error)).is_ok();
        addresses.iter().map(SocketAddr::ip).filter(admits).collect()
    };
    let mut addresses = admitted(found.addresses);
    if addresses.is_empty()
        && let Some(late) = found.late
    {
        addresses = admitted(late.await.unwrap_or_default());
    }
    match refused {
        Some(refused) if addresses.is_empty() => Err(refused),
        _ => Ok(addresses),
    }
}

// === impl Connector ===

impl Connector {
    /// Reads trust anchors and the client certificate now: a bad file is found at start-up or reload, not by a request.
    pub fn new(
        origin: Origin,
        outbound: &Outbound,
        cert: Option<&ClientCert>,
        timeout: Duration,
    ) -> Result<Self, TlsError> {
        let tls = if origin.is_tls() { Some(TlsSetup::new(outbound.ca_file.as_deref(), cert)?) } else { None };
        // An `http` origin is on the loopback, which no proxy is asked for.
        let tunnel = if origin.is_tls() { Tunnel::to(&origin, outbound.proxy.as_ref()) } else { None };
        Ok(Self(Arc::new(Inner { origin, tls, tunnel, timeout })))
    }

    pub fn origin(&self) -> &Origin {
        &self.0.origin
    }

    /// Opens one connection. `http` origins speak what is offered by prior knowledge, and HTTP/1.1 when both are.
    pub async fn connect(&self, offer: Offer) -> Result<(Stream, Protocol), ConnectError> {
        let timeout = self.0.timeout;
        tokio::time::timeout(timeout, self.open(offer)).await.unwrap_or(Err(ConnectError::Timeout(timeout)))
    }

    async fn open(&self, offer: Offer) -> Result<(Stream, Protocol), ConnectError> {
        let Inner { origin, tls, tunnel, .. } = &*self.0;
        let reach = if tls.is_some() { Reach::Anywhere } else { Reach::Loopback };
        let tcp = match tunnel {
            Some(tunnel) => tunnel.open().await?,
            None => dial::dial(origin.host(), origin.port(), reach).await?,
        };
        match tls {
            Some(tls) => tls.handshake(origin.host(), tcp, offer).await,
            None => Ok((Stream::Plain(tcp), if offer == Offer::Http2 { Protocol::Http2 } else { Protocol::Http1 })),
        }
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector").field("origin", &self.0.origin).finish_non_exhaustive()
    }
}

// === impl Protocol ===

impl Protocol {
    /// The value of the metric's label.
    pub fn name(self) -> &'static str {
        match self {
            Self::Http1 => "http1",
            Self::Http2 => "http2",
        }
    }
}

#[cfg(test)]
mod tests;
