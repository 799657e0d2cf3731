//! `NO_PROXY`: the hosts that are reached without the outbound proxy.
//!
//! There is no standard for the list. This parser accepts what curl and Go accept: `*`; a name with all its subdomains, with or without a
//! leading dot; an address, or a block of addresses. Each may have a port.

use std::net::IpAddr;

use url::Host;

use super::ip::ip_literal;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NoProxy(Vec<Entry>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    hosts: Hosts,
    /// `None`: any port.
    port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Hosts {
    All,
    /// A name and its subdomains, spelled like the host of a URL: in lower case, and in ASCII (RFC 5890).
    Domain(String),
    /// The addresses that share the first `bits` of `base`. `bits` is at most its width.
    Block {
        base: IpAddr,
        bits: u32,
    },
}

// === impl NoProxy ===

impl NoProxy {
    /// Reads a list with commas or blanks between its entries. Also returns the number of ignored entries. They must not be shown, because a
    /// misplaced value may be a secret.
    pub fn parse(text: &str) -> (Self, usize) {
        let mut unknown = 0;
        let items = text.split(|c: char| c == ',' || c.is_whitespace()).filter(|item| !item.is_empty());
        let entries = items.filter_map(|item| {
            let entry = Entry::parse(item);
            unknown += usize::from(entry.is_none());
            entry
        });
        (Self(entries.collect()), unknown)
    }

    /// Whether the list covers a host: a name or an address, as written in an authority.
    pub fn covers(&self, host: &str, port: u16) -> bool {
        let ip = ip_literal(host);
        let has_port = |entry: &&Entry| entry.port.is_none_or(|wanted| wanted == port);
        self.0.iter().filter(has_port).any(|entry| entry.hosts.covers(host, ip))
    }
}

// === impl Entry ===

impl Entry {
    fn parse(text: &str) -> Option<Self> {
        if let Some(hosts) = Hosts::parse(text) {
            return Some(Self { hosts, port: None });
        }
        let (hosts, port) = text.rsplit_once(':')?;
        Some(Self { hosts: Hosts::parse(hosts)?, port: Some(port.parse().ok()?) })
    }
}

// === impl Hosts ===

impl Hosts {
    fn parse(text: &str) -> Option<Self> {
        if text == "*" {
            return Some(Self::All);
        }
        if let Some((base, bits)) = text.split_once('/') {
            let (base, bits) = (ip_literal(base)?, bits.parse().ok()?);
            return (bits <= width(base)).then_some(Self::Block { base, bits });
        }
        if let Some(base) = ip_literal(text) {
            return Some(Self::Block { base, bits: width(base) });
        }
        // Some programs write `*.internal` for `.internal`.
        let name = text.strip_prefix('*').filter(|rest| rest.starts_with('.')).unwrap_or(text);
        match Host::parse(name.trim_start_matches('.').trim_end_matches('.')) {
            // The host of a URL may have other characters (`'`, `*`), but no such name exists in DNS.
            Ok(Host::Domain(name)) if name.bytes().all(is_of_a_name) => {
                // IDNA also has dots of other scripts.
                Some(Self::Domain(name.trim_end_matches('.').to_owned()))
            }
            _ => None,
        }
    }

    fn covers(&self, host: &str, ip: Option<IpAddr>) -> bool {
        match (self, ip) {
            (Self::All, _) => true,
            (Self::Domain(name), None) => {
                let host = host.trim_end_matches('.').to_ascii_lowercase();
                host.strip_suffix(name.as_str()).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
            }
            (Self::Block { base, bits }, Some(ip)) => match (base, ip) {
                (IpAddr::V4(base), IpAddr::V4(ip)) => {
                    (base.to_bits() ^ ip.to_bits()).checked_shr(u32::BITS.saturating_sub(*bits)).unwrap_or(0) == 0
                }
                (IpAddr::V6(base), IpAddr::V6(ip)) => {
                    (base.to_bits() ^ ip.to_bits()).checked_shr(u128::BITS.saturating_sub(*bits)).unwrap_or(0) == 0
                }
                _ => false,
            },
            (Self::Domain(_), Some(_)) | (Self::Block { .. }, None) => false,
        }
    }
}

fn is_of_a_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.')
}

fn width(ip: IpAddr) -> u32 {
    if ip.is_ipv4() { u32::BITS } else { u128::BITS }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_covers_what_it_says() {
        let rows: &[(&str, &str, bool)] = &[
            ("api.example.com", "*", true),
            ("api.example.com", "*:443", true),
            ("api.example.com", "*:80", false),
            ("api.example.com", "api.example.com", true),
            ("API.example.com.", "api.EXAMPLE.com", true),
            ("api.example.com", "example.com", true),
            ("api.example.com", "example.com.", true),
            ("api.example.com", ".example.com", true),
            ("api.example.com", "*.example.com", true),
            ("example.com", ".example.com", true),
            ("xn--mnchen-3ya.example", "München.example", true),
            ("xn--fsq.example", "例.example。", true),
            ("badexample.com", "example.com", false),
            ("example.com", "api.example.com", false),
            ("example.com", "example.com:443", true),
            ("example.com", "example.com:8443", false),
            ("10.1.2.3", "10.1.2.3", true),
            ("10.1.2.3", "10.0.0.0/8", true),
            ("11.1.2.3", "10.0.0.0/8", false),
            ("11.1.2.3", "0.0.0.0/0", true),
            ("10.1.2.3", "10.1.2.3/32", true),
            ("10.1.2.3", "10.1.2.3:443", true),
            ("10.1.2.3", "10.0.0.0/8:80", false),
            ("10.1.2.3", "example.com", false),
            ("2001:db8::1", "2001:db8::/32", true),
            ("2001:db8::1", "2001:db8::1", true),
            ("2001:db8::1", "[2001:db8::1]", true),
            ("2001:db8::1", "[2001:db8::1]:443", true),
            ("2001:db8::1", "0.0.0.0/0", false),
            ("2001:db9::1", "2001:db8::/32", false),
            ("2001:db9::1", "::/0", true),
        ];
        for (host, entry, expected) in rows {
            let (list, unknown) = NoProxy::parse(&format!("unrelated, {entry}"));
            assert_eq!(unknown, 0, "{entry:?}");
            assert_eq!(list.covers(host, 443), *expected, "{host} by {entry:?}");
        }
        assert!(!NoProxy::default().covers("example.com", 443));
    }

    #[test]
    fn what_is_no_host_is_left_out_and_counted() {
        for text in [
            ".",
            "**",
            "a*b",
            "2.3",
            "10.0.0.0/x",
            "10.0.0.0/33",
            "::/129",
            "a:b",
            "a:70000",
            "http://a",
            "a/b",
            "u@a",
            "a?b",
            "'",
        ] {
            let (list, unknown) = NoProxy::parse(&format!("a.example\t{text},,b.example"));
            assert_eq!((list.0.len(), unknown), (2, 1), "{text:?}");
        }
    }
}
