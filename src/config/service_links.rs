//! The variables that Kubernetes injects into a pod for each Service of its namespace.
//!
//! A Service `bearer-proxy-admin` adds `BEARER_PROXY_ADMIN_SERVICE_HOST` and other variables, which look like keys of this program. They
//! must not stop it, but a misspelled key must. So both the name and the value must have the injected form.
//! <https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables>

use std::net::IpAddr;

const PROTOCOLS: [&str; 3] = ["TCP", "UDP", "SCTP"];

/// Whether Kubernetes injects such a variable. `name` is the part after `BEARER_PROXY_`.
pub(super) fn is_service_link(name: &str, value: &str) -> bool {
    // The variables of a Service `bearer-proxy` have no further prefix.
    let marked = |mark: &str| {
        let at = if name.starts_with(mark) { Some(0) } else { name.find(&format!("_{mark}")).map(|at| at + 1) };
        at.and_then(|at| name.get(at + mark.len()..))
    };
    if marked("SERVICE_HOST") == Some("") {
        return is_address(value);
    }
    if let Some(rest) = marked("SERVICE_PORT") {
        // The name of the port may follow.
        return (rest.is_empty() || rest.starts_with('_')) && is_port(value);
    }
    match marked("PORT") {
        Some("") => is_url(value),
        Some(rest) => is_port_detail(rest, value),
        None => false,
    }
}

/// `_8080_TCP`, `_8080_TCP_PROTO`, `_8080_TCP_PORT` and `_8080_TCP_ADDR`.
fn is_port_detail(rest: &str, value: &str) -> bool {
    let mut parts = rest.split('_');
    let (Some(""), Some(port), Some(protocol)) = (parts.next(), parts.next(), parts.next()) else { return false };
    if !is_port(port) || !PROTOCOLS.contains(&protocol) {
        return false;
    }
    match (parts.next(), parts.next()) {
        (None, _) => is_url(value),
        (Some("PROTO"), None) => value.eq_ignore_ascii_case(protocol),
        (Some("PORT"), None) => value == port,
        (Some("ADDR"), None) => is_address(value),
        _ => false,
    }
}

/// `tcp://10.0.0.1:80`
fn is_url(value: &str) -> bool {
    let Some((protocol, address)) = value.split_once("://") else { return false };
    let Some((host, port)) = address.rsplit_once(':') else { return false };
    PROTOCOLS.iter().any(|known| known.eq_ignore_ascii_case(protocol)) && is_address(host) && is_port(port)
}

fn is_address(text: &str) -> bool {
    text.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().is_ok()
}

fn is_port(text: &str) -> bool {
    text.parse::<u16>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_kubernetes_injects_is_told_from_a_misspelled_key() {
        for (name, value, expected) in [
            ("SERVICE_HOST", "10.0.0.1", true),
            ("SERVICE_PORT", "80", true),
            ("SERVICE_PORT_HTTP", "80", true),
            ("PORT", "tcp://10.0.0.1:80", true),
            ("PORT_80_TCP", "tcp://10.0.0.1:80", true),
            ("PORT_80_TCP_PROTO", "tcp", true),
            ("PORT_80_TCP_PORT", "80", true),
            ("PORT_80_TCP_ADDR", "10.0.0.1", true),
            ("PORT_53_UDP_ADDR", "fd00::1", true),
            ("PORT", "tcp://[fd00::1]:80", true),
            // A Service `bearer-proxy-admin-port`.
            ("ADMIN_SERVICE_HOST", "10.0.0.1", true),
            ("ADMIN_SERVICE_PORT_PROBES", "9902", true),
            ("ADMIN_PORT", "tcp://10.0.0.1:80", true),
            ("ADMIN_PORT_80_TCP_ADDR", "10.0.0.1", true),
            // Keys, and what people take for keys.
            ("LISTEN", "127.0.0.1:8080", false),
            ("PORT", "8080", false),
            ("PORT", "", false),
            ("LISTEN_PORT", "8080", false),
            ("ADMIN_PORT", "9901", false),
            ("SERVICE_HOST", "api.example", false),
            ("SERVICE_PORTS", "80", false),
            ("SERVICE_NAME", "10.0.0.1", false),
            ("PORT_80_TCP_NAME", "tcp", false),
            ("PORT_80_HTTP", "tcp://10.0.0.1:80", false),
            ("PORT_80_TCP_ADDR", "x", false),
            ("PORT_80_TCP_ADDR_MORE", "10.0.0.1", false),
            ("REPORT", "tcp://10.0.0.1:80", false),
        ] {
            assert_eq!(is_service_link(name, value), expected, "{name}={value}");
        }
    }
}
