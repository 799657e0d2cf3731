//! A TCP connection to a name: every address is given a chance, quickly (RFC 8305).

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use rustix::net::sockopt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::config::ip_literal;

use super::ConnectError;

/// The next address is tried beside those that have not answered after this (RFC 8305 §5, "Connection Attempt Delay").
const STAGGER: Duration = Duration::from_millis(250);

/// A peer that has vanished without a word is noticed after 60 s of silence: idle time and three probes.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_PROBES: u32 = 3;

/// Connects to `host`, a name or an IP literal (in brackets if it is IPv6, as in an authority).
pub(super) async fn dial(host: &str, port: u16) -> Result<TcpStream, ConnectError> {
    if let Some(ip) = ip_literal(host) {
        return open(SocketAddr::new(ip, port)).await.map_err(ConnectError::from_dial);
    }
    let found = tokio::net::lookup_host((host, port)).await.map_err(|error| ConnectError::Dns(error.to_string()))?;
    dial_any(interleave(found.collect())).await
}

async fn dial_any(addresses: Vec<SocketAddr>) -> Result<TcpStream, ConnectError> {
    let mut addresses = addresses.into_iter();
    let mut attempts = JoinSet::new();
    let mut last_error = None;
    loop {
        if let Some(address) = addresses.next() {
            attempts.spawn(open(address));
        }
        let outcome = if addresses.len() == 0 {
            attempts.join_next().await
        } else {
            match tokio::time::timeout(STAGGER, attempts.join_next()).await {
                Ok(outcome) => outcome,
                Err(_elapsed) => continue,
            }
        };
        match outcome {
            // The other attempts are dropped with the set.
            Some(Ok(Ok(stream))) => return Ok(stream),
            Some(Ok(Err(error))) => last_error = Some(error),
            // An attempt panicked or the runtime is going down: not an answer of the network.
            Some(Err(join_error)) => last_error = Some(io::Error::other(join_error)),
            None => break,
        }
    }
    Err(last_error.map_or_else(|| ConnectError::Dns("it has no address".into()), ConnectError::from_dial))
}

/// Alternates between the address families, beginning with the one that the resolver prefers (RFC 8305 §4).
fn interleave(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let Some(first) = addresses.first() else { return addresses };
    let preferred_is_v6 = first.is_ipv6();
    let total = addresses.len();
    let (preferred, other): (Vec<_>, Vec<_>) = addresses.into_iter().partition(|a| a.is_ipv6() == preferred_is_v6);
    let (mut preferred, mut other) = (preferred.into_iter(), other.into_iter());
    let mut mixed = Vec::with_capacity(total);
    while mixed.len() < total {
        mixed.extend(preferred.next());
        mixed.extend(other.next());
    }
    mixed
}

async fn open(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    // A request's last bytes must not wait for an acknowledgement (Nagle).
    stream.set_nodelay(true)?;
    sockopt::set_socket_keepalive(&stream, true)?;
    sockopt::set_tcp_keepidle(&stream, KEEPALIVE_IDLE)?;
    sockopt::set_tcp_keepintvl(&stream, KEEPALIVE_INTERVAL)?;
    sockopt::set_tcp_keepcnt(&stream, KEEPALIVE_PROBES)?;
    Ok(stream)
}

// === impl ConnectError ===

impl ConnectError {
    pub(super) fn from_dial(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Self::Refused,
            _ => Self::Unreachable(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(list: &[&str]) -> Vec<SocketAddr> {
        list.iter().map(|a| a.parse().unwrap()).collect()
    }

    #[test]
    fn families_alternate_beginning_with_the_preferred_one() {
        let rows: &[(&[&str], &[&str])] = &[
            (&[], &[]),
            (&["1.1.1.1:1"], &["1.1.1.1:1"]),
            (&["[::1]:1", "[::2]:1", "1.1.1.1:1", "1.1.1.2:1"], &["[::1]:1", "1.1.1.1:1", "[::2]:1", "1.1.1.2:1"]),
            (&["1.1.1.1:1", "[::1]:1", "[::2]:1", "[::3]:1"], &["1.1.1.1:1", "[::1]:1", "[::2]:1", "[::3]:1"]),
            (&["1.1.1.1:1", "1.1.1.2:1", "[::1]:1"], &["1.1.1.1:1", "[::1]:1", "1.1.1.2:1"]),
        ];
        for (given, expected) in rows {
            assert_eq!(interleave(addresses(given)), addresses(expected), "{given:?}");
        }
    }

    #[tokio::test]
    async fn a_dead_first_address_does_not_hide_a_live_second() {
        let alive = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = alive.local_addr().unwrap();
        let dead = SocketAddr::new("::1".parse().unwrap(), address.port());
        let stream = dial_any(vec![dead, address]).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), address);
    }

    #[tokio::test]
    async fn a_silent_first_address_costs_the_stagger_and_no_more() {
        // A listener whose backlog is full drops further SYNs: an address that never answers.
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let silent = socket.listen(0).unwrap();
        let silent_address = silent.local_addr().unwrap();
        let mut fillers = Vec::new();
        while let Ok(filler) =
            tokio::time::timeout(Duration::from_millis(100), TcpStream::connect(silent_address)).await
        {
            fillers.push(filler);
        }
        let alive = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = alive.local_addr().unwrap();
        let begun = std::time::Instant::now();
        let stream = dial_any(vec![silent_address, address]).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), address);
        assert!(begun.elapsed() >= STAGGER);
        assert!(begun.elapsed() < Duration::from_secs(1), "a SYN's retransmission was waited for");
    }
}
