//! IP addresses in an authority.

use std::net::IpAddr;

/// An IP address as it is written in an authority, or without its brackets.
pub fn ip_literal(host: &str) -> Option<IpAddr> {
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host).parse().ok()
}
