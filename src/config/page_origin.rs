//! The origin of a web page, as a browser names it in `Origin` (RFC 6454 §6.2).

use super::malformed::Malformed;

/// Scheme, host and port, in lower case. A known scheme has its default port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageOrigin {
    pub scheme: String,
    /// An IPv6 address has its brackets.
    pub host: String,
    /// `None`: the scheme has no default port (for example the scheme of a browser extension).
    pub port: Option<u16>,
}

// === impl PageOrigin ===

impl PageOrigin {
    /// Reads `scheme://host`, with or without a port. `None` for anything else, such as `null`, or a path.
    pub fn parse(text: &str) -> Option<Self> {
        let (scheme, authority) = text.split_once("://")?;
        let is_scheme = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
        if !scheme.starts_with(|c: char| c.is_ascii_alphabetic()) || !scheme.bytes().all(is_scheme) {
            return None;
        }
        let (host, port) = split_port(authority)?;
        let name = host.strip_prefix('[').map_or(Some(host), |host| host.strip_suffix(']'))?;
        let in_name = if host == name { &b"-._"[..] } else { b":." };
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || in_name.contains(&byte)) {
            return None;
        }
        let scheme = scheme.to_ascii_lowercase();
        let port = match port {
            Some(port) => Some(port),
            None => default_port(&scheme),
        };
        Some(Self { scheme, host: host.to_ascii_lowercase(), port })
    }

    /// Reads a value of the configuration.
    pub(super) fn read(text: &str) -> Result<Self, Malformed> {
        match text {
            "*" => Err("this would admit every page, so name the origins".into()),
            "null" => Err("browsers send this for every sandboxed page and local file, so it identifies nobody".into()),
            _ => Self::parse(text).ok_or(Malformed::INVALID),
        }
    }

    /// Whether a browser considers `host`, the value of `Host` or `:authority`, the server of this origin.
    ///
    /// The scheme is not compared, because TLS may end before this gateway. So the default port is that of the page's scheme.
    pub fn is_served_by(&self, host: &str) -> bool {
        let (Some(default), Some((host, port))) = (default_port(&self.scheme), split_port(host)) else { return false };
        self.host.eq_ignore_ascii_case(host) && self.port == Some(port.unwrap_or(default))
    }
}

fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" | "ws" => Some(80),
        "https" | "wss" => Some(443),
        _ => None,
    }
}

/// `None`: the text after the host is not a port. An empty port is the default one.
fn split_port(authority: &str) -> Option<(&str, Option<u16>)> {
    match authority.rfind(':') {
        Some(colon) if !authority[colon..].contains(']') => {
            let (host, port) = (&authority[..colon], &authority[colon + 1..]);
            match port {
                "" => Some((host, None)),
                // `parse` accepts a sign.
                _ if port.bytes().all(|byte| byte.is_ascii_digit()) => Some((host, Some(port.parse().ok()?))),
                _ => None,
            }
        }
        _ => Some((authority, None)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_a_scheme_a_host_and_a_port() {
        for (text, expected) in [
            ("https://app.example", Some(("https", "app.example", Some(443)))),
            ("HTTPS://App.Example:8443", Some(("https", "app.example", Some(8443)))),
            ("http://localhost:80", Some(("http", "localhost", Some(80)))),
            ("ws://a", Some(("ws", "a", Some(80)))),
            ("wss://a", Some(("wss", "a", Some(443)))),
            ("http://[::1]:3000", Some(("http", "[::1]", Some(3000)))),
            ("http://my_host", Some(("http", "my_host", Some(80)))),
            ("chrome-extension://abcdef", Some(("chrome-extension", "abcdef", None))),
            ("null", None),
            ("", None),
            ("https://", None),
            ("https://:443", None),
            ("https://a/", None),
            ("https://a/path", None),
            ("https://a?x", None),
            ("https://a#x", None),
            ("https://me@a", None),
            ("https://a b", None),
            ("https://a,https://b", None),
            ("https://a:+80", None),
            ("https://a:65536", None),
            ("https://[::1", None),
            ("https://[]", None),
            ("https://*.a", None),
            ("//a", None),
            ("1s://a", None),
            ("a", None),
        ] {
            let found = PageOrigin::parse(text);
            let found = found.as_ref().map(|origin| (&*origin.scheme, &*origin.host, origin.port));
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn a_default_port_may_be_named_or_not() {
        for (origin, host, same) in [
            ("http://localhost:8080", "localhost:8080", true),
            ("http://localhost:8080", "LOCALHOST:8080", true),
            ("http://localhost", "localhost", true),
            ("http://localhost", "localhost:", true),
            ("http://localhost", "localhost:80", true),
            ("http://localhost:80", "localhost", true),
            ("https://a", "a", true),
            ("https://a", "a:443", true),
            ("https://a:443", "a", true),
            ("ws://a", "a:80", true),
            ("wss://a", "a:443", true),
            // TLS ends in front of the gateway, which listens on port 80 for itself.
            ("https://a", "a:80", false),
            ("http://a", "a:443", false),
            ("http://localhost:3000", "localhost:8080", false),
            ("http://localhost", "localhost:8080", false),
            ("http://localhost:8080", "localhost", false),
            ("http://127.0.0.1:8080", "localhost:8080", false),
            ("http://[::1]:8080", "[::1]:8080", true),
            ("http://[::1]", "[::1]", true),
            ("http://[::1]", "[::2]", false),
            ("https://evil.example", "a", false),
            ("https://a.evil.example", "a", false),
            ("chrome-extension://a", "a", false),
            ("chrome-extension://a:80", "a:80", false),
            ("http://a", "", false),
        ] {
            assert_eq!(PageOrigin::parse(origin).unwrap().is_served_by(host), same, "{origin} {host}");
        }
    }
}
