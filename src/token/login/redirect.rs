//! Where the browser comes back to: the registered redirect URI, and what must listen for it. Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use url::Host;

use crate::config::RedirectUri;

/// A redirect URI, and whether this machine can receive it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirect {
    registered: String,
    /// `None`: this machine does not receive the redirect, and a person pastes its URL.
    loopback: Option<Loopback>,
}

/// A redirect URI on a loopback interface (RFC 8252 §7.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loopback {
    /// To be bound, all of them. Port 0: any free port.
    pub addresses: Vec<SocketAddr>,
    /// The path of a callback.
    pub path: String,
    /// The registered text before and after the port.
    before_port: String,
    after_port: String,
}

// === impl Redirect ===

impl Redirect {
    /// `port` replaces the port of the registered URI.
    pub fn new(registered: &RedirectUri, port: Option<u16>) -> Self {
        let text = registered.as_str();
        Self { registered: text.to_owned(), loopback: Loopback::new(registered, port) }
    }

    /// The text that the server must know.
    pub fn registered(&self) -> &str {
        &self.registered
    }

    pub fn loopback(&self) -> Option<&Loopback> {
        self.loopback.as_ref()
    }
}

// === impl Loopback ===

impl Loopback {
    fn new(registered: &RedirectUri, port: Option<u16>) -> Option<Self> {
        let (text, url) = (registered.as_str(), registered.url());
        if url.scheme() != "http" {
            return None;
        }
        let (hosts, default) = match url.host()? {
            Host::Ipv4(ip) if ip.is_loopback() => (vec![IpAddr::V4(ip)], 0),
            Host::Ipv6(ip) if ip.is_loopback() => (vec![IpAddr::V6(ip)], 0),
            // A browser tries either family. Servers compare this name as text, so its port is that of the scheme.
            Host::Domain(name) if name.eq_ignore_ascii_case("localhost") => {
                (vec![IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)], 80)
            }
            _ => return None,
        };
        // The text is cut and not built again: servers compare it byte for byte.
        let start = text.find("://")? + 3;
        let authority = start + text.get(start..)?.find(['/', '?']).unwrap_or(text.len() - start);
        let host_end = match text.get(start..authority)?.rfind(']') {
            Some(bracket) => start + bracket + 1,
            None => start + text.get(start..authority)?.find(':').unwrap_or(authority - start),
        };
        let own = text.get(host_end..authority)?.strip_prefix(':').and_then(|port| port.parse().ok());
        let port = port.or(own).unwrap_or(default);
        Some(Self {
            addresses: hosts.into_iter().map(|ip| SocketAddr::new(ip, port)).collect(),
            path: url.path().to_owned(),
            before_port: text.get(..host_end)?.to_owned(),
            after_port: text.get(authority..)?.to_owned(),
        })
    }

    /// The redirect URI with the port that is listened on.
    pub fn uri(&self, port: u16) -> String {
        let Self { before_port, after_port, .. } = self;
        // As it is registered, where `localhost` has no port.
        let is_default = port == 80 && self.addresses.iter().all(|address| address.port() == 80);
        if is_default { format!("{before_port}{after_port}") } else { format!("{before_port}:{port}{after_port}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Sources};

    fn redirect(uri: &str, port: Option<u16>) -> Redirect {
        let variables = [
            ("BEARER_PROXY_OAUTH__CLIENT_ID", "7"),
            ("BEARER_PROXY_OAUTH__CLIENT_SECRET", "s"),
            ("BEARER_PROXY_OAUTH__REDIRECT_URI", uri),
        ];
        let config = Config::load(&Sources::new(None, variables)).unwrap().config;
        Redirect::new(&config.oauth.login.redirect_uri.unwrap(), port)
    }

    #[test]
    fn a_loopback_uri_is_listened_for_and_sent_with_its_port() {
        for (uri, port, addresses, sent) in [
            ("http://127.0.0.1/callback", None, "127.0.0.1:0", "http://127.0.0.1:4000/callback"),
            ("http://127.0.0.1/callback", Some(4000), "127.0.0.1:4000", "http://127.0.0.1:4000/callback"),
            ("http://127.0.0.1:9/cb?x=1", None, "127.0.0.1:9", "http://127.0.0.1:4000/cb?x=1"),
            ("http://127.0.0.1:9", Some(4000), "127.0.0.1:4000", "http://127.0.0.1:4000"),
            ("http://[::1]/cb", None, "[::1]:0", "http://[::1]:4000/cb"),
            ("http://[::1]:9/cb", None, "[::1]:9", "http://[::1]:4000/cb"),
            ("HTTP://LocalHost:4000/Cb", None, "127.0.0.1:4000 [::1]:4000", "HTTP://LocalHost:4000/Cb"),
        ] {
            let redirect = redirect(uri, port);
            let loopback = redirect.loopback().unwrap();
            let bound: Vec<_> = loopback.addresses.iter().map(ToString::to_string).collect();
            assert_eq!((bound.join(" ").as_str(), loopback.uri(4000).as_str()), (addresses, sent), "{uri}");
            assert_eq!(redirect.registered(), uri);
        }
    }

    #[test]
    fn localhost_without_a_port_is_sent_exactly_as_registered() {
        let loopback = redirect("http://localhost/callback", None).loopback().unwrap().clone();
        assert!(loopback.addresses.iter().all(|address| address.port() == 80));
        assert_eq!(loopback.uri(80), "http://localhost/callback");
        let other = redirect("http://localhost/callback", Some(4000)).loopback().unwrap().clone();
        assert_eq!(other.uri(4000), "http://localhost:4000/callback");
    }

    #[test]
    fn what_this_machine_cannot_receive_is_pasted() {
        for uri in ["https://127.0.0.1/cb", "http://10.0.0.1/cb", "https://app.example/cb", "urn:ietf:wg:oauth:2.0:oob"]
        {
            assert_eq!(redirect(uri, Some(4000)).loopback(), None, "{uri}");
        }
    }
}
