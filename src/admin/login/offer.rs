//! Whether a login is offered in the browser, and where the redirect arrives. Pure.

use std::net::IpAddr;

use http::uri::Authority;
use serde::Serialize;
use url::Url;

use crate::config::{Config, GrantConfig, ListenAddress};
use crate::token::login::Redirect;

/// The path of the redirect at this listener.
pub(in crate::admin) const CALLBACK: &str = "/callback";

/// Why the page shows the command instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum WhyNot {
    /// The grant needs no login.
    GrantType,
    /// The server shows codes in its own interface, or no redirect URI is set.
    NoAuthorizeUrl,
    /// Everyone who reaches the loopback could replace the account.
    NoKey,
}

/// What a login would do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) why_not: Option<WhyNot>,
    /// As the server must know it.
    pub(super) registered: String,
    /// `None`: the redirect cannot reach this listener, so that a person pastes it.
    pub(super) callback: Option<Callback>,
}

/// The redirect URI of this listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Callback {
    pub(super) uri: String,
    /// Where the page must be, so that its cookie comes with the redirect.
    pub(super) origin: String,
    pub(super) port: u16,
}

// === impl Plan ===

impl Plan {
    /// `host`: the name and the port that the browser has for the listener at `bound`. Both may differ from it, if the port is forwarded.
    pub(super) fn new(config: &Config, bound: &ListenAddress, host: &Authority) -> Self {
        let login = &config.oauth.login;
        let has_key = config.admin.as_ref().is_some_and(|admin| admin.key.is_some());
        let redirect = login.redirect_uri.as_ref().map(|registered| Redirect::new(registered, None));
        let why_not = if !matches!(config.oauth.grant, GrantConfig::RefreshToken { .. }) {
            Some(WhyNot::GrantType)
        } else if login.authorize_url.is_none() || redirect.is_none() {
            Some(WhyNot::NoAuthorizeUrl)
        } else if !has_key && !matches!(bound, ListenAddress::Unix(_)) {
            Some(WhyNot::NoKey)
        } else {
            None
        };
        let callback = redirect.as_ref().and_then(|redirect| Callback::new(redirect, bound, host));
        let registered = redirect.map_or_else(String::new, |redirect| redirect.registered().to_owned());
        Self { why_not, registered, callback }
    }
}

// === impl Callback ===

impl Callback {
    fn new(redirect: &Redirect, bound: &ListenAddress, host: &Authority) -> Option<Self> {
        let loopback = redirect.loopback().filter(|loopback| loopback.path == CALLBACK)?;
        // A browser on another machine would send the redirect to itself.
        if !is_loopback(host) {
            return None;
        }
        let port = host.port_u16().unwrap_or(80);
        let arrives = loopback.addresses.iter().any(|address| match bound {
            ListenAddress::Tcp(bound) => bound.ip().is_unspecified() || bound.ip().to_canonical() == address.ip(),
            ListenAddress::Unix(_) => true,
        });
        // Port 0: the server accepts any port (RFC 8252 §7.3).
        let fits = loopback.addresses.iter().all(|address| address.port() == 0 || address.port() == port);
        let uri = loopback.uri(port);
        let origin = Url::parse(&uri).ok()?.origin().ascii_serialization();
        (arrives && fits).then_some(Self { uri, origin, port })
    }

    /// Whether the page is where its cookie comes with the redirect.
    pub(super) fn is_at(&self, host: &Authority) -> bool {
        Url::parse(&self.uri).is_ok_and(|uri| uri.host_str().is_some_and(|name| name.eq_ignore_ascii_case(host.host())))
    }
}

fn is_loopback(host: &Authority) -> bool {
    let name = host.host();
    let address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    name.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Sources;

    fn plan(bound: &str, host: &str, more: &[(&str, &str)]) -> Plan {
        let base = [("OAUTH__CLIENT_ID", "7"), ("OAUTH__CLIENT_SECRET", "s")];
        let variables =
            base.iter().chain(more).map(|(name, value)| (format!("BEARER_PROXY_{name}"), value.to_string()));
        let config = Config::load(&Sources::new(None, variables)).unwrap().config;
        let bound = match bound.strip_prefix("unix:") {
            Some(path) => ListenAddress::Unix(path.into()),
            None => ListenAddress::Tcp(bound.parse().unwrap()),
        };
        Plan::new(&config, &bound, &host.parse().unwrap())
    }

    #[test]
    fn a_login_is_offered_only_where_nobody_else_can_start_one() {
        let key = ("ADMIN__KEY", "k");
        let priava = [
            key,
            ("PROFILE", "priava"),
            ("OAUTH__REDIRECT_URI", "https://app.example/cb"),
            ("OAUTH__HEADERS", "{ TenantRegion = \"EU\" }"),
        ];
        for (bound, more, expected) in [
            ("127.0.0.1:9901", &[][..], Some(WhyNot::NoKey)),
            ("unix:/run/admin.sock", &[], None),
            ("127.0.0.1:9901", &[key], None),
            ("127.0.0.1:9901", &[key, ("OAUTH__GRANT", "client_credentials")], Some(WhyNot::GrantType)),
            ("127.0.0.1:9901", &priava, Some(WhyNot::NoAuthorizeUrl)),
        ] {
            assert_eq!(plan(bound, "localhost:9901", more).why_not, expected, "{bound} {more:?}");
        }
        assert_eq!(serde_json::to_value(WhyNot::NoAuthorizeUrl).unwrap(), "no-authorize-url");
    }

    #[test]
    fn the_redirect_arrives_only_where_the_browser_has_the_listener() {
        const LOOPBACK: &str = "127.0.0.1:9901";
        for (bound, host, redirect_uri, expected) in [
            (LOOPBACK, "127.0.0.1:9901", None, Some("http://127.0.0.1:9901/callback")),
            (LOOPBACK, "localhost:9901", None, Some("http://127.0.0.1:9901/callback")),
            // A forwarded port.
            (LOOPBACK, "localhost:8000", None, Some("http://127.0.0.1:8000/callback")),
            ("0.0.0.0:9901", "127.0.0.1:9901", None, Some("http://127.0.0.1:9901/callback")),
            ("unix:/run/admin.sock", "localhost:8000", None, Some("http://127.0.0.1:8000/callback")),
            // Nothing listens at the redirect's address, or it belongs to another machine.
            ("[::1]:9901", "localhost:9901", None, None),
            ("10.0.0.5:9901", "10.0.0.5:9901", None, None),
            ("0.0.0.0:9901", "10.0.0.5:9901", None, None),
            (LOOPBACK, "127.0.0.1:9901", Some("http://[::1]/callback"), None),
            (
                LOOPBACK,
                "127.0.0.1:9901",
                Some("http://127.0.0.1:9901/callback"),
                Some("http://127.0.0.1:9901/callback"),
            ),
            (LOOPBACK, "127.0.0.1:9901", Some("http://127.0.0.1:4000/callback"), None),
            (LOOPBACK, "127.0.0.1:9901", Some("http://127.0.0.1/other"), None),
            (LOOPBACK, "127.0.0.1:9901", Some("http://localhost/callback"), None),
            (
                LOOPBACK,
                "127.0.0.1:9901",
                Some("http://localhost:9901/callback"),
                Some("http://localhost:9901/callback"),
            ),
            (LOOPBACK, "127.0.0.1:9901", Some("https://app.example/callback"), None),
        ] {
            let more: Vec<_> = redirect_uri.map(|uri| ("OAUTH__REDIRECT_URI", uri)).into_iter().collect();
            let callback = plan(bound, host, &more).callback;
            assert_eq!(callback.map(|callback| callback.uri).as_deref(), expected, "{bound} {host} {redirect_uri:?}");
        }
        let callback = plan(LOOPBACK, "localhost:9901", &[]).callback.unwrap();
        assert_eq!((callback.origin.as_str(), callback.port), ("http://127.0.0.1:9901", 9901));
        assert!(
            callback.is_at(&"127.0.0.1:9901".parse().unwrap()) && !callback.is_at(&"localhost:9901".parse().unwrap())
        );
    }
}
