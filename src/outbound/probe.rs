//! One connection, step by step: a diagnosis must say which step failed and how long a lookup took.

use std::net::SocketAddr;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::{Instant, timeout, timeout_at};

use super::dial::{self, Reach};
use super::dns::Found;
use super::{ConnectError, Connector, Inner, Offer, Protocol, Stream, tls};
use crate::config::ip_literal;

/// What was found on the way to one origin.
#[derive(Debug)]
pub struct Probe {
    /// `None`: the host is an address, or an HTTP proxy resolves its name.
    pub lookup: Option<Lookup>,
    /// `host:port` of the HTTP proxy.
    pub http_proxy: Option<String>,
    pub connection: Result<(Stream, Protocol), (Step, ConnectError)>,
    /// When the server's certificate ends.
    pub certificate_end: Option<Timestamp>,
}

/// An answer of the name servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lookup {
    pub took: Duration,
    /// The address family for which no answer came.
    pub silent: Option<&'static str>,
}

/// The steps of a connection. A failure names the step that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    Lookup,
    /// The direct connection. Behind an HTTP proxy, it is a part of `Tunnel`.
    Tcp,
    Tls,
    /// `CONNECT`, with the lookup and the connection to the HTTP proxy.
    Tunnel,
}

/// A step that takes longer is a fault, whatever its outcome would be.
const STEP: Duration = Duration::from_secs(3);
/// How long the second address family may take after the first.
const OTHER_FAMILY: Duration = Duration::from_secs(1);

// === impl Connector ===

impl Connector {
    /// Opens one connection, and reports each step. It sends no byte of a request.
    pub async fn probe(&self, offer: Offer, by: Instant) -> Probe {
        let Inner { origin, tls, tunnel, .. } = &*self.0;
        let mut probe = Probe {
            lookup: None,
            http_proxy: tunnel.as_ref().map(super::Tunnel::place),
            connection: Err((Step::Lookup, ConnectError::Timeout(STEP))),
            certificate_end: None,
        };
        let tcp = match tunnel {
            Some(tunnel) => limited(by, tunnel.open()).await.map_err(|error| (Step::Tunnel, error)),
            None => {
                let found = match limited(by, lookup(origin.host())).await {
                    Ok((found, lookup)) => {
                        probe.lookup = lookup;
                        found
                    }
                    Err(error) => {
                        probe.connection = Err((Step::Lookup, error));
                        return probe;
                    }
                };
                let reach = if tls.is_some() { Reach::Anywhere } else { Reach::Loopback };
                let dialing =
                    dial::dial_any(origin.host(), origin.port(), reach, Found { addresses: found, late: None });
                limited(by, dialing).await.map_err(|error| (Step::Tcp, error))
            }
        };
        let tcp = match tcp {
            Ok(tcp) => tcp,
            Err(failed) => {
                probe.connection = Err(failed);
                return probe;
            }
        };
        probe.connection = match tls {
            Some(tls) => {
                limited(by, tls.handshake(origin.host(), tcp, offer)).await.map_err(|error| (Step::Tls, error))
            }
            None => Ok((Stream::Plain(tcp), if offer == Offer::Http2 { Protocol::Http2 } else { Protocol::Http1 })),
        };
        if let Ok((Stream::Tls(stream), _)) = &probe.connection {
            let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
            probe.certificate_end = chain.first().and_then(|certificate| tls::end(certificate));
        }
        probe
    }

    /// Whether the origin is reached by TLS.
    pub fn is_tls(&self) -> bool {
        self.0.tls.is_some()
    }
}

async fn limited<T>(by: Instant, step: impl Future<Output = Result<T, ConnectError>>) -> Result<T, ConnectError> {
    let begun = Instant::now();
    let late = |_| Err(ConnectError::Timeout(begun.elapsed()));
    timeout_at(by.min(begun + STEP), step).await.unwrap_or_else(late)
}

async fn lookup(host: &str) -> Result<(Vec<SocketAddr>, Option<Lookup>), ConnectError> {
    let begun = Instant::now();
    let Found { mut addresses, late } = dial::find(host).await?;
    let took = begun.elapsed();
    let mut silent = None;
    if let Some(late) = late {
        match timeout(OTHER_FAMILY, late).await {
            Ok(answer) => addresses.extend(answer.unwrap_or_default()),
            Err(_) => silent = Some(if addresses.iter().all(SocketAddr::is_ipv4) { "IPv6" } else { "IPv4" }),
        }
    }
    Ok((addresses, ip_literal(host).is_none().then_some(Lookup { took, silent })))
}
