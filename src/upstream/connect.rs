//! One outgoing connection: DNS, TCP (happy eyeballs), an HTTP proxy's `CONNECT`, TLS with ALPN. Used by both journeys.

use std::path::PathBuf;
use std::time::Duration;

use crate::config::{ClientCert, Origin, Outbound};

/// Opens connections to one origin.
#[derive(Clone)]
pub struct Connector {
    origin: Origin,
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

/// Trust anchors or a certificate that could not be used.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {what}", path = path.display())]
pub struct TlsError {
    pub path: PathBuf,
    pub what: String,
}

/// Why there is no connection. Nothing of a request was sent.
#[derive(Debug, thiserror::Error)]
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
    pub fn new(
        origin: Origin,
        outbound: &Outbound,
        cert: Option<&ClientCert>,
        timeout: Duration,
    ) -> Result<Self, TlsError> {
        let _ = (outbound, cert, timeout);
        Ok(Self { origin })
    }

    pub fn origin(&self) -> &Origin {
        &self.origin
    }
}
