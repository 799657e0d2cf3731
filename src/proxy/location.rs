//! Rewrites `Location` and `Content-Location` that name the upstream into references through this gateway.
//!
//! A client that followed the original value would bypass the gateway and have no token.

use http::header::{CONTENT_LOCATION, LOCATION};
use http::{HeaderMap, HeaderValue};

use super::guard::prefix_escape::has_dot_segment;
use crate::config::Origin;

/// The origin and the path prefix of the upstream.
#[derive(Clone, Debug)]
pub(super) struct Locations {
    host: String,
    port: u16,
    /// Whether a reference without a port names the upstream.
    is_default_port: bool,
    /// Empty, or a path that does not end with `/`.
    prefix: String,
}

// === impl Locations ===

impl Locations {
    pub(super) fn new(origin: &Origin, prefix: &str) -> Self {
        let default = default_port(origin.scheme.as_str().as_bytes()).unwrap_or(443);
        let port = origin.authority.port_u16().unwrap_or(default);
        Self {
            host: origin.authority.host().to_owned(),
            port,
            is_default_port: port == default,
            prefix: prefix.to_owned(),
        }
    }

    pub(super) fn rewrite(&self, headers: &mut HeaderMap) {
        for (name, value) in headers.iter_mut() {
            if (*name == LOCATION || *name == CONTENT_LOCATION)
                && let Some(reference) = self.reference(value.as_bytes())
                && let Ok(reference) = HeaderValue::from_bytes(&reference)
            {
                *value = reference;
            }
        }
    }

    /// Returns the path after the prefix, with query and fragment. Returns `None` if the value stays unchanged.
    pub(super) fn reference(&self, value: &[u8]) -> Option<Vec<u8>> {
        // Browsers drop spaces and control characters, and read `\` as `/`.
        if value.iter().any(|byte| *byte <= b' ' || *byte == 0x7f || *byte == b'\\') {
            return None;
        }
        if self.prefix.is_empty() && value.starts_with(b"/") && !value.starts_with(b"//") {
            // Without a prefix, the path is the same on this gateway.
            return None;
        }
        let target = self.below_host(value)?;
        let end = target.iter().position(|byte| matches!(byte, b'?' | b'#')).unwrap_or(target.len());
        let (path, rest) = target.split_at_checked(end)?;
        let path = if path.is_empty() { b"/" } else { path };
        let below = path.strip_prefix(self.prefix.as_bytes())?;
        let below = match below {
            b"" => b"/",
            // `//host` would be a reference to another host.
            [b'/', b'/', ..] => return None,
            [b'/', ..] => below,
            // `/v10` is not below `/v1`.
            _ => return None,
        };
        // A dot segment can leave the prefix. Some clients also resolve `/..//host` to `//host`.
        let could_leave = !self.prefix.is_empty() || path.windows(2).any(|pair| pair == b"//");
        if could_leave && std::str::from_utf8(path).is_ok_and(has_dot_segment) {
            return None;
        }
        Some([below, rest].concat())
    }

    /// Returns what follows the upstream's host. Returns `None` for another host, and for a reference that is relative to the path of
    /// the request, which needs no rewriting.
    fn below_host<'a>(&self, value: &'a [u8]) -> Option<&'a [u8]> {
        let colon = value.iter().position(|byte| matches!(byte, b':' | b'/' | b'?' | b'#'));
        let (scheme, rest) = match colon.filter(|colon| value.get(*colon) == Some(&b':')) {
            Some(colon) => {
                let (scheme, rest) = value.split_at_checked(colon)?;
                (Some(default_port(scheme)?), rest.strip_prefix(b":")?)
            }
            None => (None, value),
        };
        let Some(rest) = rest.strip_prefix(b"//") else {
            return (scheme.is_none() && rest.first() == Some(&b'/')).then_some(rest);
        };
        let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?' | b'#')).unwrap_or(rest.len());
        let (authority, target) = rest.split_at_checked(end)?;
        self.is_named(std::str::from_utf8(authority).ok()?, scheme).then_some(target)
    }

    /// `default`: the default port of the reference's scheme. `None`: the reference has no scheme, so the upstream's applies.
    fn is_named(&self, authority: &str, default: Option<u16>) -> bool {
        let (host, port) = match authority.rfind(':') {
            Some(colon) if !authority[colon..].contains(']') => (&authority[..colon], &authority[colon + 1..]),
            _ => (authority, ""),
        };
        let port = match port {
            "" => None,
            port if port.bytes().all(|byte| byte.is_ascii_digit()) => match port.parse::<u16>() {
                Ok(port) => Some(port),
                Err(_) => return false,
            },
            _ => return false,
        };
        let is_port = match port {
            Some(port) if port == self.port => true,
            // `http:` instead of `https:` means the same server.
            Some(port) => self.is_default_port && Some(port) == default,
            None => self.is_default_port,
        };
        is_port && host.eq_ignore_ascii_case(&self.host)
    }
}

fn default_port(scheme: &[u8]) -> Option<u16> {
    match scheme {
        scheme if scheme.eq_ignore_ascii_case(b"https") => Some(443),
        scheme if scheme.eq_ignore_ascii_case(b"http") => Some(80),
        _ => None,
    }
}

#[cfg(any(test, feature = "fuzzing"))]
impl Locations {
    #[allow(clippy::panic, reason = "for tests")]
    pub(super) fn from_text(origin: &str, prefix: &str) -> Self {
        let uri: http::Uri = origin.parse().unwrap_or_else(|_| panic!("{origin}"));
        let parts = uri.into_parts();
        match (parts.scheme, parts.authority) {
            (Some(scheme), Some(authority)) => Self::new(&Origin { scheme, authority }, prefix),
            _ => panic!("{origin}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Locations;

    fn reference(origin: &str, prefix: &str, value: &str) -> Option<String> {
        let reference = Locations::from_text(origin, prefix).reference(value.as_bytes());
        reference.map(|reference| String::from_utf8(reference).unwrap())
    }

    #[test]
    fn what_names_the_upstream_becomes_a_path() {
        let (plain, prefixed, ported) =
            (("https://api.example", ""), ("https://api.example", "/v1"), ("https://api.example:8443", "/v1/x"));
        let local = ("http://127.0.0.1:9000", "/v1");
        for ((origin, prefix), value, expected) in [
            (plain, "https://api.example/new", Some("/new")),
            (plain, "https://api.example/new?a=b#c", Some("/new?a=b#c")),
            (plain, "https://api.example", Some("/")),
            (plain, "https://api.example/", Some("/")),
            (plain, "https://api.example?a", Some("/?a")),
            (plain, "https://api.example#a", Some("/#a")),
            (plain, "HTTPS://API.Example/New", Some("/New")),
            (plain, "https://api.example:443/new", Some("/new")),
            (plain, "https://api.example:/new", Some("/new")),
            (plain, "http://api.example/new", Some("/new")),
            (plain, "http://api.example:80/new", Some("/new")),
            (plain, "http://api.example:443/new", Some("/new")),
            (plain, "//api.example/new", Some("/new")),
            (plain, "https://api.example/a/../b", Some("/a/../b")),
            (plain, "https://api.example/a//b", Some("/a//b")),
            (plain, "https://api.example/%2F%5c", Some("/%2F%5c")),
            (plain, "https://api.example/\u{e4}", Some("/\u{e4}")),
            (plain, "https://api.example/?//evil.example", Some("/?//evil.example")),
            (plain, "https://api.example/..//evil.example", None),
            (plain, "/new", None),
            // Another server.
            (plain, "https://api.example:80/new", None),
            (plain, "https://api.example:8443/new", None),
            (plain, "https://api.example.evil.example/", None),
            (plain, "https://evil.example/https://api.example/", None),
            (plain, "https://api.example@evil.example/", None),
            (plain, "https://user@api.example/", None),
            (plain, "https://api.example:x/", None),
            (plain, "https://api.example:99999/", None),
            (plain, "https://web.api.example/", None),
            (plain, "ftp://api.example/new", None),
            (plain, "//evil.example/new", None),
            // Relative to the request's path, or no reference at all.
            (plain, "new", None),
            (plain, "../new", None),
            (plain, "?a", None),
            (plain, "#a", None),
            (plain, "", None),
            (plain, "https:/new", None),
            (plain, "https:new", None),
            (plain, "a:b", None),
            (plain, "a/b:c", None),
            // Never a reference to another host.
            (plain, "https://api.example//evil.example", None),
            (plain, "https://api.example///evil.example", None),
            (plain, "https://api.example/\\evil.example", None),
            (plain, "https://api.example/\t/evil.example", None),
            (plain, "https://api.example/ /evil.example", None),
            (plain, "//evil.example", None),
            (prefixed, "https://api.example/v1//evil.example", None),
            (prefixed, "/v1//evil.example", None),
            (prefixed, "/v1/\\evil.example", None),
            // Below the prefix.
            (prefixed, "https://api.example/v1/new?a#b", Some("/new?a#b")),
            (prefixed, "https://api.example/v1/", Some("/")),
            (prefixed, "https://api.example/v1", Some("/")),
            (prefixed, "https://api.example/v1?a", Some("/?a")),
            (prefixed, "/v1/new", Some("/new")),
            (prefixed, "/v1", Some("/")),
            (prefixed, "//api.example/v1/new", Some("/new")),
            (prefixed, "http://api.example/v1/new", Some("/new")),
            // Elsewhere on the host.
            (prefixed, "https://api.example", None),
            (prefixed, "https://api.example/new", None),
            (prefixed, "https://api.example/v10/new", None),
            (prefixed, "https://api.example/V1/new", None),
            (prefixed, "/login", None),
            (prefixed, "/v1x", None),
            (prefixed, "/v1/../login", None),
            (prefixed, "https://api.example/v1/%2e%2e/login", None),
            // Another port.
            (ported, "https://api.example:8443/v1/x/new", Some("/new")),
            (ported, "http://api.example:8443/v1/x/new", Some("/new")),
            (ported, "https://api.example/v1/x/new", None),
            (ported, "https://api.example:443/v1/x/new", None),
            (local, "http://127.0.0.1:9000/v1/new", Some("/new")),
            (local, "http://127.0.0.1/v1/new", None),
            (("http://localhost", ""), "http://localhost:80/a", Some("/a")),
            (("http://localhost", ""), "https://localhost/a", Some("/a")),
            (("https://[2001:db8::1]", ""), "https://[2001:DB8::1]/a", Some("/a")),
            (("https://[2001:db8::1]:8443", ""), "https://[2001:db8::1]:8443/a", Some("/a")),
            (("https://[2001:db8::1]", ""), "https://[2001:db8::2]/a", None),
        ] {
            assert_eq!(reference(origin, prefix, value).as_deref(), expected, "{value} of {origin}{prefix}");
        }
    }

    proptest! {
        /// A client that resolves the rewritten value against the gateway asks for the path that the original value named.
        #[test]
        fn a_reference_is_a_path_on_this_host(
            origin in prop::sample::select(vec!["https://api.example", "http://127.0.0.1:9000"]),
            prefix in prop::sample::select(vec!["", "/v1", "/v1/x"]),
            value in "(https?:|)(//|)(api\\.example|127\\.0\\.0\\.1|evil)?(:[0-9]{0,4})?(/v1|/x|/|\\\\|\\.\\.|[a-z?#%@: \\t]){0,8}",
        ) {
            if let Some(reference) = reference(origin, prefix, &value) {
                prop_assert!(reference.starts_with('/') && !reference.starts_with("//"), "{} to {}", value, reference);
                let base = url::Url::parse("http://gateway:8080/asked").unwrap();
                let there = base.join(&reference).unwrap();
                prop_assert_eq!(there.host_str(), Some("gateway"), "{} to {}", value, reference);
                let upstream = url::Url::parse(origin).unwrap();
                let meant = upstream.join(&value).unwrap();
                prop_assert_eq!(meant.host_str(), upstream.host_str());
                let through = format!("{prefix}{}", if there.path() == "/" && meant.path() == prefix { "" } else { there.path() });
                prop_assert_eq!(meant.path(), through, "{} to {}", value, reference);
                prop_assert_eq!((meant.query(), meant.fragment()), (there.query(), there.fragment()));
            }
        }

        #[test]
        fn any_value_is_read(value in prop::collection::vec(any::<u8>(), 0..60)) {
            Locations::from_text("https://api.example", "/v1").reference(&value);
        }
    }
}
