//! Addresses: to listen on, to connect to, and the hosts of requests.
//!
//! A credential goes only to an `https` URL or to this machine, because traffic to a loopback address does not leave it (RFC 8252
//! §7.3).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use http::uri::{Authority, PathAndQuery, Scheme};
use url::{Host, Url};

use super::ip::ip_literal;
use super::malformed::Malformed;
use super::no_proxy::NoProxy;
use crate::secret::Secret;

/// Maximum length of a path in `sockaddr_un`, without the final NUL (unix(7)).
const UNIX_PATH_MAX: usize = 107;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ListenAddress {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// An HTTP proxy for `CONNECT` (RFC 9110 §9.3.6).
#[derive(Clone, Debug)]
pub struct OutboundProxy {
    /// A name or an address. An IPv6 address has no brackets.
    pub host: String,
    pub port: u16,
    /// `user:password` from the URL of the proxy.
    pub credentials: Option<Secret>,
    /// The hosts that are reached directly.
    pub no_proxy: NoProxy,
}

/// Scheme, host and port to which a credential may go: `https`, or `http` to a loopback address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    pub scheme: Scheme,
    /// As it is written in `Host` and `:authority`: without the default port of the scheme.
    pub authority: Authority,
}

/// A redirect URI as it was registered.
///
/// Servers compare it as text (RFC 9700 §2.1), and [`Url`] changes the text: `https://example.com` gets a `/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedirectUri {
    text: String,
    url: Url,
}

/// An `https` URL, or an `http` one to a loopback address; without user name, password and fragment.
pub(super) fn secure_url(text: &str) -> Result<Url, Malformed> {
    let url = strict_url(text)?;
    match url.scheme() {
        "https" => Ok(url),
        "http" if is_loopback(&url) => Ok(url),
        "http" => Err("`http` is allowed only to a loopback address".into()),
        _ => Err("the scheme is neither `https` nor `http`".into()),
    }
}

/// Splits the URL of an upstream into the origin and the path prefix, without a trailing `/`.
pub(super) fn origin(text: &str) -> Result<(Origin, String), Malformed> {
    let url = secure_url(text)?;
    if url.query().is_some() {
        return Err("the URL has a query".into());
    }
    let scheme = if url.scheme() == "https" { Scheme::HTTPS } else { Scheme::HTTP };
    let host = url.host_str().unwrap_or_default();
    let authority = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
    let authority = Authority::try_from(authority).map_err(|_| Malformed::from("the host is not valid in HTTP"))?;
    let prefix = url.path().trim_end_matches('/');
    if PathAndQuery::try_from(url.path()).is_err() {
        return Err("the path is not valid in HTTP".into());
    }
    Ok((Origin { scheme, authority }, prefix.to_owned()))
}

/// The endpoint for traces. `http` is allowed, because no credential goes there.
pub(super) fn collector(text: &str) -> Result<Url, Malformed> {
    let url = strict_url(text)?;
    if matches!(url.scheme(), "http" | "https") {
        Ok(url)
    } else {
        Err("the scheme is neither `https` nor `http`".into())
    }
}

/// An HTTP proxy: `http://host:port` or `host:port`, with or without `user:password@`. `None` is `off`.
pub(super) fn outbound_proxy(text: &str) -> Result<Option<OutboundProxy>, Malformed> {
    if text == "off" {
        return Ok(None);
    }
    let url = if text.contains("://") { parse_url(text)? } else { parse_url(&format!("http://{text}"))? };
    let Some(host) = url.host_str().filter(|_| url.scheme() == "http") else {
        return Err("not an `http` URL with a host".into());
    };
    if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
        return Err("the URL has more than a host and a port".into());
    }
    let port = url.port_or_known_default().unwrap_or(80);
    let credentials = (!url.username().is_empty()).then(|| {
        let decode = |part| percent_decode(part);
        Secret::new(format!("{}:{}", decode(url.username()), decode(url.password().unwrap_or_default())))
    });
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    Ok(Some(OutboundProxy { host, port, credentials, no_proxy: NoProxy::default() }))
}

/// A host in the form that `guard` compares: lower case, no port, an IPv6 address in brackets.
pub(super) fn host(text: &str) -> Result<String, Malformed> {
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Ok(bracketed(ip));
    }
    let (name, port) = match text.rsplit_once(':') {
        Some((name, port)) if !name.is_empty() => (name, Some(port)),
        _ => (text, None),
    };
    let (name, port) = if text.ends_with(']') { (text, None) } else { (name, port) };
    let port_is_bad = port.is_some_and(|port| port.parse::<u16>().is_err());
    match Host::parse(name) {
        Ok(host) if !port_is_bad && !name.contains('*') => Ok(host.to_string()),
        _ => Err(Malformed::INVALID),
    }
}

/// The names of loopback on this machine.
pub(super) fn loopback_hosts(listen: &[ListenAddress]) -> Vec<String> {
    let mut hosts = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "[::1]".to_owned()];
    for address in listen {
        if let ListenAddress::Tcp(address) = address {
            let host = bracketed(address.ip());
            if !hosts.contains(&host) {
                hosts.push(host);
            }
        }
    }
    hosts
}

fn bracketed(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    }
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    }
}

/// The URL parser repairs typing errors (`https:host`, `\`, blanks). The target of a credential must not be guessed.
fn parse_url(text: &str) -> Result<Url, Malformed> {
    let plain = text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    let authority = text.split_once("://").is_some_and(|(_, rest)| !rest.starts_with('/'));
    Url::parse(text).ok().filter(|url| plain && authority && url.has_host()).ok_or("not a URL with a host".into())
}

fn strict_url(text: &str) -> Result<Url, Malformed> {
    let url = parse_url(text)?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("the URL has a user name or password".into());
    }
    if url.fragment().is_some() {
        return Err("the URL has a fragment".into());
    }
    Ok(url)
}

fn percent_decode(text: &str) -> String {
    let pairs = format!("x={}", text.replace('+', "%2B"));
    url::form_urlencoded::parse(pairs.as_bytes()).next().map(|(_, value)| value.into_owned()).unwrap_or_default()
}

// === impl ListenAddress ===

impl ListenAddress {
    /// Reads `127.0.0.1:8080`, `[::1]:8080`, `localhost:8080` or `unix:/path.sock`. Names are not looked up.
    pub(super) fn parse(text: &str) -> Result<Self, Malformed> {
        if let Some(path) = text.strip_prefix("unix:") {
            return match Path::new(path) {
                path if !path.is_absolute() => Err("the path does not begin with `/`".into()),
                _ if path.len() > UNIX_PATH_MAX => Err("the path has more than 107 bytes".into()),
                path => Ok(Self::Unix(PathBuf::from(path))),
            };
        }
        if let Some(port) = text.strip_prefix("localhost:") {
            let port = port.parse().map_err(|_| Malformed::from("the port is not a number from 0 to 65535"))?;
            return Ok(Self::Tcp(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port)));
        }
        text.parse().map(Self::Tcp).map_err(|_| "not an IP address with a port".into())
    }

    /// Whether only this machine can reach it.
    pub fn is_loopback(&self) -> bool {
        match self {
            Self::Tcp(address) => address.ip().to_canonical().is_loopback(),
            Self::Unix(_) => true,
        }
    }

    /// Whether the two cannot be bound at once. Port 0 is any free port.
    pub(super) fn collides(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Tcp(one), Self::Tcp(two)) => {
                let overlap = one.ip() == two.ip() || one.ip().is_unspecified() || two.ip().is_unspecified();
                one.port() != 0 && one.port() == two.port() && overlap && one.is_ipv4() == two.is_ipv4()
            }
            (Self::Unix(one), Self::Unix(two)) => one == two,
            _ => false,
        }
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

// === impl Origin ===

impl Origin {
    pub fn host(&self) -> &str {
        self.authority.host()
    }

    pub fn port(&self) -> u16 {
        self.authority.port_u16().unwrap_or(if self.is_tls() { 443 } else { 80 })
    }

    pub fn is_tls(&self) -> bool {
        self.scheme == Scheme::HTTPS
    }

    /// Whether a connection to this origin would arrive at `listen`.
    pub(super) fn is_served_by(&self, listen: &ListenAddress) -> bool {
        let ListenAddress::Tcp(address) = listen else { return false };
        let host = self.host();
        let ip = if host == "localhost" { Some(Ipv4Addr::LOCALHOST.into()) } else { ip_literal(host) };
        ip.is_some_and(|ip| ip == address.ip() || (ip.is_loopback() && address.ip().is_unspecified()))
            && address.port() == self.port()
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.authority)
    }
}

// === impl RedirectUri ===

impl RedirectUri {
    /// Accepts any absolute URI without a fragment (RFC 6749 §3.1.2).
    pub(super) fn parse(text: &str) -> Result<Self, Malformed> {
        let url = Url::parse(text).map_err(|_| Malformed::from("not an absolute URI"))?;
        if url.fragment().is_some() {
            return Err("the URL has a fragment".into());
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("a character must be percent-encoded".into());
        }
        Ok(Self { text: text.to_owned(), url })
    }

    /// The text that was registered, and that must be sent.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The parts of the URI.
    pub fn url(&self) -> &Url {
        &self.url
    }
}

impl From<Url> for RedirectUri {
    fn from(url: Url) -> Self {
        Self { text: url.as_str().to_owned(), url }
    }
}

#[cfg(test)]
mod tests;
