//! One outgoing connection: DNS, TCP (happy eyeballs), an HTTP proxy's `CONNECT`, TLS with ALPN. Used by both journeys.
//!
//! The name is resolved at each connect, so that a retired connection's successor follows DNS. One time limit covers
//! the whole, since a caller does not care which step is slow.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::config::{ClientCert, Origin, Outbound};

use tls::TlsSetup;
use tunnel::Tunnel;

mod dial;
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
    /// `None`: an `http` origin, which the configuration allows on the loopback alone.
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
    #[error("no connection within {0:?}")]
    Timeout(Duration),
    #[error("the certificate is not trusted: {0}")]
    Certificate(String),
    #[error("the TLS handshake failed: {0}")]
    Tls(String),
    #[error("the HTTP proxy said: {0}")]
    Proxy(String),
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
        let tcp = match tunnel {
            Some(tunnel) => tunnel.open().await?,
            None => dial::dial(origin.host(), origin.port()).await?,
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
