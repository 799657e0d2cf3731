//! OUTBOUND: one outgoing connection. DNS, TCP (happy eyeballs), `CONNECT` through an HTTP proxy, TLS with ALPN. Both journeys use it.
//!
//! Each connect resolves the name, so that the successor of a retired connection follows DNS. One time limit covers all steps, because a
//! caller does not care which one is slow. A lookup continues after that limit, for the next caller.

use std::fmt;
use std::net::IpAddr;
#[cfg(feature = "postgres")]
use std::net::SocketAddr;
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
mod probe;
mod stream;
mod tls;
mod tunnel;

pub use probe::{Lookup, Probe, Step};
pub use stream::Stream;
pub use tls::TlsError;

/// Opens connections to one origin. A clone is a reference.
#[derive(Clone)]
pub struct Connector(Arc<Inner>);

struct Inner {
    origin: Origin,
    /// `None`: an `http` origin. Its connections go only to loopback addresses.
    tls: Option<TlsSetup>,
    tunnel: Option<Tunnel>,
    timeout: Duration,
}

/// The protocols offered by ALPN.
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

/// Why there is no connection. No byte of a request was sent.
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
    #[error("no connection within {:?}", rounded(*.0))]
    Timeout(Duration),
    #[error(
        "{host} has the address {address}, which is not loopback, and plaintext goes to loopback addresses only: use TLS, or correct \
         the address in /etc/hosts or DNS"
    )]
    NotLoopback { host: String, address: IpAddr },
    #[error("the certificate is not trusted: {0}")]
    Certificate(String),
    /// The certificate has expired, or is not valid yet.
    #[error("the certificate is not trusted: {0}")]
    OutsideValidity(String),
    #[error("the TLS handshake failed: {0}")]
    Tls(String),
    #[error("the HTTP proxy said: {0}")]
    Proxy(String),
}

/// A measured time, without digits that tell a person nothing.
fn rounded(time: Duration) -> Duration {
    let step = if time < Duration::from_secs(1) { 1_000 } else { 100_000 };
    let steps = (time.as_micros() + step / 2) / step;
    Duration::from_micros(u64::try_from(steps * step).unwrap_or(u64::MAX))
}

/// The loopback addresses of `host`, for plaintext by a library that opens its own connections. An error if there are none.
#[cfg(feature = "postgres")]
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
    /// Reads trust anchors and the client certificate now, so that a start or a reload reports a bad file, and not a request.
    pub fn new(
        origin: Origin,
        outbound: &Outbound,
        cert: Option<&ClientCert>,
        timeout: Duration,
    ) -> Result<Self, TlsError> {
        let tls = if origin.is_tls() { Some(TlsSetup::new(outbound.ca_file.as_deref(), cert)?) } else { None };
        // An `http` origin is on loopback, which is reached without a proxy.
        let tunnel = if origin.is_tls() { Tunnel::new(&origin, outbound.proxy.as_ref()) } else { None };
        Ok(Self(Arc::new(Inner { origin, tls, tunnel, timeout })))
    }

    pub fn origin(&self) -> &Origin {
        &self.0.origin
    }

    /// Opens one connection. To an `http` origin, the offered protocol is used by prior knowledge, and HTTP/1.1 if both are offered.
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

#[cfg(test)]
mod tests;
