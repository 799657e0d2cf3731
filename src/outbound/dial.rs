//! A TCP connection to a name. Every address gets its chance, quickly (happy eyeballs, RFC 8305).

use std::collections::VecDeque;
use std::future::pending;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use rustix::net::sockopt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::config::ip_literal;
use crate::descriptors;

use super::ConnectError;
use super::dns::{self, Found, Late};
use super::order::{interleave, order};

/// The addresses to which a connection may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    Anywhere,
    /// For plaintext: traffic to a loopback address does not leave this machine. A name proves nothing, because a hosts file or a
    /// name server can give `localhost` any address.
    Loopback,
}

/// Delay before the next address is tried in parallel (RFC 8305 §5, "Connection Attempt Delay").
const STAGGER: Duration = Duration::from_millis(250);

/// TCP keepalive detects a vanished peer after 60 s of silence: idle time and three probes.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_PROBES: u32 = 3;

/// Connects to `host`, a name or an IP literal (in brackets if it is IPv6, as in an authority).
pub(super) async fn dial(host: &str, port: u16, reach: Reach) -> Result<TcpStream, ConnectError> {
    dial_any(host, port, reach, find(host).await?).await
}

pub(super) async fn find(host: &str) -> Result<Found, ConnectError> {
    match ip_literal(host) {
        Some(ip) => Ok(Found { addresses: vec![SocketAddr::new(ip, 0)], late: None }),
        None => dns::resolve(host).await.map_err(|error| ConnectError::Dns(error.to_string())),
    }
}

pub(super) async fn dial_any(host: &str, port: u16, reach: Reach, found: Found) -> Result<TcpStream, ConnectError> {
    let Found { addresses, mut late } = found;
    let mut last_error = None;
    let admitted = |mut addresses: Vec<SocketAddr>, last_error: &mut Option<ConnectError>| {
        addresses.iter_mut().for_each(|address| address.set_port(port));
        addresses.retain(|address| match reach.admits(host, address.ip()) {
            Ok(()) => true,
            Err(error) => {
                last_error.get_or_insert(error);
                false
            }
        });
        addresses
    };
    let mut untried = VecDeque::from(order(admitted(addresses, &mut last_error)));
    let mut attempts = JoinSet::new();
    loop {
        if let Some(address) = untried.pop_front() {
            attempts.spawn(open(address));
        }
        let has_next = !untried.is_empty();
        if attempts.is_empty() && !has_next && late.is_none() {
            return Err(last_error.unwrap_or_else(|| ConnectError::Dns("it has no address".into())));
        }
        tokio::select! {
            // The other attempts are dropped with the set.
            Some(outcome) = attempts.join_next() => match outcome {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => last_error = Some(ConnectError::from_dial(error)),
                // An attempt has panicked, or the runtime shuts down: the network is not the cause.
                Err(join_error) => last_error = Some(ConnectError::from_dial(io::Error::other(join_error))),
            },
            () = tokio::time::sleep(STAGGER), if has_next => {}
            addresses = next(&mut late) => {
                let late = admitted(addresses, &mut last_error);
                untried = interleave(late.into_iter().chain(untried).collect()).into();
            }
        }
    }
}

/// The addresses of the family that answers second.
async fn next(late: &mut Option<Late>) -> Vec<SocketAddr> {
    let Some(answer) = late else { return pending().await };
    let addresses = answer.await.unwrap_or_default();
    *late = None;
    addresses
}

async fn open(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    // The last bytes of a request must not wait for an acknowledgement (Nagle's algorithm).
    stream.set_nodelay(true)?;
    sockopt::set_socket_keepalive(&stream, true)?;
    sockopt::set_tcp_keepidle(&stream, KEEPALIVE_IDLE)?;
    sockopt::set_tcp_keepintvl(&stream, KEEPALIVE_INTERVAL)?;
    sockopt::set_tcp_keepcnt(&stream, KEEPALIVE_PROBES)?;
    Ok(stream)
}

// === impl Reach ===

impl Reach {
    /// `host`: the name of the address, for the error.
    pub(super) fn admits(self, host: &str, address: IpAddr) -> Result<(), ConnectError> {
        match self {
            Self::Anywhere => Ok(()),
            Self::Loopback if address.to_canonical().is_loopback() => Ok(()),
            Self::Loopback => Err(ConnectError::NotLoopback { host: host.to_owned(), address }),
        }
    }
}

// === impl ConnectError ===

impl ConnectError {
    pub(super) fn from_dial(error: io::Error) -> Self {
        match error.kind() {
            _ if descriptors::are_exhausted(&error) => {
                descriptors::warn_exhausted(&error, "cannot connect to the upstream or the token endpoint");
                Self::NoDescriptor
            }
            io::ErrorKind::ConnectionRefused => Self::Refused,
            _ => Self::Unreachable(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn dial_all(addresses: Vec<SocketAddr>) -> Result<TcpStream, ConnectError> {
        let port = addresses[0].port();
        dial_any("test", port, Reach::Anywhere, Found { addresses, late: None }).await
    }

    #[test]
    fn exhausted_descriptors_are_not_the_networks_fault() {
        for code in [23, 24] {
            let error = || io::Error::from_raw_os_error(code);
            assert_eq!(ConnectError::from_dial(error()), ConnectError::NoDescriptor);
        }
        assert_eq!(ConnectError::from_dial(io::Error::from_raw_os_error(111)), ConnectError::Refused);
        assert!(matches!(ConnectError::from_dial(io::Error::from_raw_os_error(113)), ConnectError::Unreachable(_)));
    }

    #[tokio::test]
    async fn a_dead_first_address_does_not_hide_a_live_second() {
        let alive = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = alive.local_addr().unwrap();
        let dead = SocketAddr::new("::1".parse().unwrap(), address.port());
        let stream = dial_all(vec![dead, address]).await.unwrap();
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
        let alive = tokio::net::TcpListener::bind(("127.0.0.2", silent_address.port())).await.unwrap();
        let address = alive.local_addr().unwrap();
        let begun = std::time::Instant::now();
        let stream = dial_all(vec![silent_address, address]).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), address);
        assert!(begun.elapsed() >= STAGGER);
        assert!(begun.elapsed() < Duration::from_secs(1), "a SYN's retransmission was waited for");
    }

    /// The addresses of the other family, which answers when the sender is used.
    fn late() -> (tokio::sync::oneshot::Sender<Vec<SocketAddr>>, Late) {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        (sender, Box::pin(async move { Ok(receiver.await.unwrap_or_default()) }))
    }

    #[tokio::test]
    async fn a_family_that_answers_late_is_tried_beside_the_first() {
        let alive = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = alive.local_addr().unwrap();
        let (answer, late) = late();
        let found = Found { addresses: vec!["[::1]:0".parse().unwrap()], late: Some(late) };
        let dialing = tokio::spawn(dial_any("test", address.port(), Reach::Anywhere, found));
        answer.send(vec!["127.0.0.1:0".parse().unwrap()]).unwrap();
        assert_eq!(dialing.await.unwrap().unwrap().peer_addr().unwrap(), address);
    }

    #[tokio::test]
    async fn without_a_late_answer_the_error_is_the_attempts_own() {
        let port = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
        let (answer, late) = late();
        let found = Found { addresses: vec!["127.0.0.1:0".parse().unwrap()], late: Some(late) };
        let dialing = tokio::spawn(dial_any("test", port, Reach::Anywhere, found));
        drop(answer);
        assert_eq!(dialing.await.unwrap().unwrap_err(), ConnectError::Refused);
    }

    #[tokio::test]
    async fn plaintext_goes_to_the_loopback_addresses_of_a_name_alone() {
        let alive = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = alive.local_addr().unwrap();
        let (foreign, own) = ("192.0.2.1:0".parse().unwrap(), "127.0.0.1:0".parse().unwrap());
        let dial = |addresses, late| dial_any("localhost", address.port(), Reach::Loopback, Found { addresses, late });
        let stream = dial(vec![foreign, own], None).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), address);
        let (answer, late) = late();
        answer.send(vec![own]).unwrap();
        let stream = dial(vec![foreign], Some(late)).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), address);
        let error = dial(vec![foreign], None).await.unwrap_err();
        assert_eq!(error, ConnectError::NotLoopback { host: "localhost".into(), address: foreign.ip() });
    }

    #[test]
    fn loopback_is_judged_by_the_address() {
        for (address, admitted) in [
            ("127.0.0.1", true),
            ("127.9.9.9", true),
            ("::1", true),
            ("::ffff:127.0.0.1", true),
            ("0.0.0.0", false),
            ("::", false),
            ("10.0.0.1", false),
            ("::ffff:10.0.0.1", false),
            ("fe80::1", false),
            ("169.254.1.1", false),
        ] {
            assert_eq!(Reach::Loopback.admits("localhost", address.parse().unwrap()).is_ok(), admitted, "{address}");
        }
    }
}
