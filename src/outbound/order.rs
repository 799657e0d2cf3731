//! The order in which the addresses of a name are tried: RFC 6724 §6 decides between the families, which then alternate (RFC 8305 §4).
//!
//! The C library has sorted the addresses of each family. It cannot compare the families, because it is asked for each of them alone.

use std::cmp::Reverse;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

/// The rank of an address; the lowest is tried first. Rules 1, 2, 5, 6 and 8 of RFC 6724 §6. Rule 9 (longest prefix) is omitted, because it
/// would undo the rotation by which DNS distributes load.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    unusable: bool,
    other_scope: bool,
    other_label: bool,
    precedence: Reverse<u8>,
    scope: u8,
}

/// A row of the policy table (RFC 6724 §2.1).
struct Policy {
    prefix: Ipv6Addr,
    length: u32,
    precedence: u8,
    label: u8,
}

const POLICIES: [Policy; 9] = [
    policy([0, 0, 0, 0, 0, 0, 0, 1], 128, 50, 0),
    policy([0, 0, 0, 0, 0, 0xffff, 0, 0], 96, 35, 4),
    policy([0, 0, 0, 0, 0, 0, 0, 0], 96, 1, 3),
    policy([0x2001, 0, 0, 0, 0, 0, 0, 0], 32, 5, 5),
    policy([0x2002, 0, 0, 0, 0, 0, 0, 0], 16, 30, 2),
    policy([0x3ffe, 0, 0, 0, 0, 0, 0, 0], 16, 1, 12),
    policy([0xfec0, 0, 0, 0, 0, 0, 0, 0], 10, 1, 11),
    policy([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7, 3, 13),
    policy([0, 0, 0, 0, 0, 0, 0, 0], 0, 40, 1),
];

const LINK_LOCAL: u8 = 2;
const SITE_LOCAL: u8 = 5;
const GLOBAL: u8 = 14;

/// Sorts the addresses of a name into the order in which they are tried.
pub(super) fn order(mut addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    if addresses.iter().any(SocketAddr::is_ipv4) && addresses.iter().any(SocketAddr::is_ipv6) {
        sort(&mut addresses, source);
    }
    interleave(addresses)
}

fn sort(addresses: &mut [SocketAddr], source: impl Fn(SocketAddr) -> Option<IpAddr>) {
    addresses.sort_by_cached_key(|address| Rank::new(address.ip(), source(*address)));
}

/// The source address of packets to `destination`. No packet is sent. `None`: there is no route.
fn source(destination: SocketAddr) -> Option<IpAddr> {
    let any = if destination.is_ipv6() { IpAddr::from(Ipv6Addr::UNSPECIFIED) } else { Ipv4Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect(destination).ok()?;
    socket.local_addr().ok().map(|address| address.ip())
}

/// Alternates between the families, beginning with the family of the first address.
pub(super) fn interleave(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
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

// === impl Rank ===

impl Rank {
    fn new(destination: IpAddr, source: Option<IpAddr>) -> Self {
        let (policy, scope) = (Policy::find(destination), scope(destination));
        Self {
            unusable: source.is_none(),
            other_scope: source.is_some_and(|source| self::scope(source) != scope),
            other_label: source.is_some_and(|source| Policy::find(source).label != policy.label),
            precedence: Reverse(policy.precedence),
            scope,
        }
    }
}

/// RFC 6724 §3.1, §3.2.
fn scope(address: IpAddr) -> u8 {
    match address.to_canonical() {
        IpAddr::V4(ip) if ip.is_loopback() || ip.is_link_local() => LINK_LOCAL,
        IpAddr::V6(ip) if ip.is_loopback() || ip.is_unicast_link_local() => LINK_LOCAL,
        IpAddr::V6(ip) if ip.segments()[0] & 0xffc0 == 0xfec0 => SITE_LOCAL,
        _ => GLOBAL,
    }
}

// === impl Policy ===

const fn policy([a, b, c, d, e, f, g, h]: [u16; 8], length: u32, precedence: u8, label: u8) -> Policy {
    Policy { prefix: Ipv6Addr::new(a, b, c, d, e, f, g, h), length, precedence, label }
}

impl Policy {
    /// The policy with the longest prefix that matches.
    fn find(address: IpAddr) -> &'static Self {
        let bits = match address {
            IpAddr::V4(ip) => ip.to_ipv6_mapped().to_bits(),
            IpAddr::V6(ip) => ip.to_bits(),
        };
        let matches = |policy: &&Self| {
            let mask = u128::MAX.checked_shl(128 - policy.length).unwrap_or_default();
            bits & mask == policy.prefix.to_bits()
        };
        let [.., rest] = &POLICIES;
        POLICIES.iter().filter(matches).max_by_key(|policy| policy.length).unwrap_or(rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(list: &[&str]) -> Vec<SocketAddr> {
        list.iter().map(|ip| SocketAddr::new(ip.parse().unwrap(), 1)).collect()
    }

    #[test]
    fn families_alternate_beginning_with_the_preferred_one() {
        let rows: &[(&[&str], &[&str])] = &[
            (&[], &[]),
            (&["1.1.1.1"], &["1.1.1.1"]),
            (&["::1", "::2", "1.1.1.1", "1.1.1.2"], &["::1", "1.1.1.1", "::2", "1.1.1.2"]),
            (&["1.1.1.1", "::1", "::2", "::3"], &["1.1.1.1", "::1", "::2", "::3"]),
            (&["1.1.1.1", "1.1.1.2", "::1"], &["1.1.1.1", "::1", "1.1.1.2"]),
        ];
        for (given, expected) in rows {
            assert_eq!(interleave(addresses(given)), addresses(expected), "{given:?}");
        }
    }

    /// RFC 6724 §10.2, and what this machine's routes add to it.
    #[test]
    fn addresses_are_ranked_by_rfc_6724() {
        type Source = (&'static str, &'static str);
        let rows: &[(&[Source], &[&str], &[&str])] = &[
            // Both have a route: IPv6 first.
            (
                &[("198.51.100.121", "198.51.100.117"), ("2001:db8:1::1", "2001:db8:1::2")],
                &["198.51.100.121", "2001:db8:1::1"],
                &["2001:db8:1::1", "198.51.100.121"],
            ),
            // Without a route for IPv6.
            (
                &[("198.51.100.121", "198.51.100.117")],
                &["2001:db8:1::1", "198.51.100.121"],
                &["198.51.100.121", "2001:db8:1::1"],
            ),
            // Only a link-local source for a global destination: its scope does not match.
            (
                &[("198.51.100.121", "198.51.100.117"), ("2001:db8:1::1", "fe80::1")],
                &["2001:db8:1::1", "198.51.100.121"],
                &["198.51.100.121", "2001:db8:1::1"],
            ),
            // A unique local source for a global destination: its label does not match.
            (
                &[("198.51.100.121", "10.0.0.1"), ("2001:db8:1::1", "fd00::1")],
                &["2001:db8:1::1", "198.51.100.121"],
                &["198.51.100.121", "2001:db8:1::1"],
            ),
            // A unique local destination comes after IPv4.
            (&[("10.1.2.3", "10.0.0.1"), ("fd00::2", "fd00::1")], &["fd00::2", "10.1.2.3"], &["10.1.2.3", "fd00::2"]),
            (&[("127.0.0.1", "127.0.0.1"), ("::1", "::1")], &["127.0.0.1", "::1"], &["::1", "127.0.0.1"]),
            // What is equal stays in the order of the C library.
            (
                &[("192.0.2.1", "10.0.0.1"), ("192.0.2.2", "10.0.0.1"), ("2001:db8::1", "2001:db8::9")],
                &["192.0.2.2", "192.0.2.1", "2001:db8::1"],
                &["2001:db8::1", "192.0.2.2", "192.0.2.1"],
            ),
        ];
        for (sources, given, expected) in rows {
            let source = |address: SocketAddr| {
                let (_, source) = sources.iter().find(|(to, _)| address.ip().to_string() == *to)?;
                Some(source.parse().unwrap())
            };
            let mut sorted = addresses(given);
            sort(&mut sorted, source);
            assert_eq!(sorted, addresses(expected), "{given:?}");
        }
    }

    #[test]
    fn loopback_has_a_route_from_itself() {
        assert_eq!(source("127.0.0.1:1".parse().unwrap()), Some("127.0.0.1".parse().unwrap()));
    }
}
