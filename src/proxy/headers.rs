//! Header hygiene in both directions: which fields end at this gateway, and which ones it adds.
//!
//! A gateway is an origin server to its clients (RFC 9110 §3.7). Their `Authorization` is meant for the gateway, not for the upstream,
//! so it is replaced, never extended.

use http::header::{
    ACCEPT, ALT_SVC, AUTHORIZATION, CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, FORWARDED, HOST, PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION, SET_COOKIE, TE, TRAILER, TRANSFER_ENCODING, UPGRADE, VIA,
};
use http::{HeaderMap, HeaderName, HeaderValue, Version};

use super::location::Locations;
use crate::config::{Config, UpstreamConfig};

/// The rules for the heads of requests and responses.
#[derive(Clone, Debug)]
pub struct Hygiene {
    /// The value of `Via` for requests received over HTTP/1.0, 1.1 and 2.
    via: [HeaderValue; 3],
    set: Vec<(HeaderName, HeaderValue)>,
    default_accept: Option<HeaderValue>,
    pass_cookies: bool,
    /// Set with `guard.allow`: an upstream that obeys such a field would use another method or path than the guard checked.
    strip_overrides: bool,
    locations: Locations,
}

/// The protocol that a client asks to switch to (RFC 9110 §7.8).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpgradeWish(pub HeaderValue);

const KEEP_ALIVE: &str = "keep-alive";
const PROXY_CONNECTION: &str = "proxy-connection";
/// The name of a login cookie, before its port.
const LOGIN_COOKIE: &[u8] = b"bp_login_";
const X_PROXY_KEY: &str = "x-proxy-key";
const X_REAL_IP: &str = "x-real-ip";
const X_FORWARDED: &str = "x-forwarded-";
/// Other fields that name the client. CGI programs also read `Proxy` as the variable `HTTP_PROXY`.
const CLIENTS: [&str; 3] = ["cf-connecting-ip", "proxy", "true-client-ip"];
/// Fields that are removed if they are spelled with `_`.
const FRAMING: [&str; 3] = ["content-length", "proxy-authorization", "transfer-encoding"];
/// Fields that override the method or the path of the request line on some servers.
const OVERRIDES: [&str; 15] = [
    "x-envoy-original-method",
    "x-envoy-original-path",
    "x-http-method",
    "x-http-method-override",
    "x-method",
    "x-method-override",
    "x-original-method",
    "x-original-path",
    "x-original-uri",
    "x-original-url",
    "x-override-uri",
    "x-override-url",
    "x-rewrite-path",
    "x-rewrite-uri",
    "x-rewrite-url",
];

// === impl Hygiene ===

impl Hygiene {
    pub fn new(config: &Config, upstream: &UpstreamConfig) -> Self {
        let via = |version: &str| {
            // The configuration accepts only a token as the pseudonym, so the value is always valid.
            HeaderValue::try_from(format!("{version} {}", config.via))
                .unwrap_or(HeaderValue::from_static("1.1 gateway"))
        };
        Self {
            via: [via("1.0"), via("1.1"), via("2")],
            set: upstream.headers.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
            default_accept: upstream.default_accept.clone(),
            pass_cookies: config.guard.pass_cookies,
            strip_overrides: config.guard.allow.is_some(),
            locations: Locations::new(&upstream.origin, &upstream.path_prefix),
        }
    }

    /// Turns the client's fields into those of the forwarded request, except `Host` and `Authorization`. Returns the protocol that
    /// the client may switch to.
    pub fn request(&self, headers: &mut HeaderMap, version: Version) -> Option<UpgradeWish> {
        let upgrade = (version == Version::HTTP_11 && named_in(headers, &CONNECTION, "upgrade"))
            .then(|| UpgradeWish::from_headers(headers))
            .flatten();
        let trailers = named_in(headers, &TE, "trailers");
        remove_named_by_connection(headers);
        remove_where(headers, |name| self.ends_here(name));
        join_crumbs(headers);
        remove_login_cookies(headers);
        remove_met_expectation(headers);
        if trailers {
            headers.insert(TE, HeaderValue::from_static("trailers"));
        }
        let [http10, http11, http2] = &self.via;
        let via = match version {
            Version::HTTP_2 => http2,
            Version::HTTP_10 => http10,
            _ => http11,
        };
        headers.append(VIA, via.clone());
        if let Some(accept) = &self.default_accept
            && accepts_anything(headers)
        {
            headers.insert(ACCEPT, accept.clone());
        }
        for (name, value) in &self.set {
            headers.insert(name.clone(), value.clone());
        }
        upgrade
    }

    /// Turns the upstream's fields into those of the forwarded response.
    pub fn response(&self, headers: &mut HeaderMap) {
        remove_named_by_connection(headers);
        remove_where(headers, |name| {
            // Alt-Svc names another address of the upstream, which would bypass the gateway.
            is_hop_by_hop(name) || *name == ALT_SVC || (*name == SET_COOKIE && !self.pass_cookies)
        });
        self.locations.rewrite(headers);
    }

    /// Whether a request field addresses this gateway, or could look like a credential or an identity to the upstream.
    fn ends_here(&self, name: &HeaderName) -> bool {
        if is_hop_by_hop(name) || *name == AUTHORIZATION || *name == HOST || *name == FORWARDED || *name == TE {
            return true;
        }
        if *name == COOKIE {
            return !self.pass_cookies;
        }
        let name = name.as_str();
        // CGI, and PHP after it, make no difference between `_` and `-`.
        if name.contains('_') {
            let dashed = name.replace('_', "-");
            return FRAMING.contains(&dashed.as_str()) || self.is_clients(&dashed);
        }
        self.is_clients(name)
    }

    fn is_clients(&self, name: &str) -> bool {
        is_clients(name) || (self.strip_overrides && name.starts_with("x-") && OVERRIDES.contains(&name))
    }
}

/// Whether the field says who the client is, or what it may do.
fn is_clients(name: &str) -> bool {
    match name.as_bytes() {
        [b'x', b'-', ..] => name == X_PROXY_KEY || name == X_REAL_IP || name.starts_with(X_FORWARDED),
        _ => CLIENTS.contains(&name),
    }
}

// === impl UpgradeWish ===

impl UpgradeWish {
    /// Also returns `None` if HTTP itself would run in the tunnel (`h2c`): its requests would pass no guard and carry no token.
    fn from_headers(headers: &HeaderMap) -> Option<Self> {
        let mut lines = headers.get_all(UPGRADE).iter();
        let (Some(line), None) = (lines.next(), lines.next()) else { return None };
        // The value is forwarded unchanged, so it must not contain more than was checked.
        line.to_str().ok()?;
        let is_http = |protocol: &str| {
            let name = protocol.split('/').next().unwrap_or_default().trim();
            ["h2c", "h2", "http", "tls"].iter().any(|http| name.eq_ignore_ascii_case(http))
        };
        let mut protocols = tokens(headers, &UPGRADE).peekable();
        (protocols.peek().is_some() && !protocols.any(is_http)).then(|| Self(line.clone()))
    }
}

/// Removes trailers that must not be forwarded, in either direction. Fields that frame or route a message, or name its sender, are not
/// allowed in trailers (RFC 9110 §6.5.1), but a server that merges trailers would obey them.
pub fn trailers(trailers: &mut HeaderMap) {
    remove_where(trailers, |name| {
        let credential = *name == AUTHORIZATION || *name == COOKIE || *name == SET_COOKIE || *name == FORWARDED;
        let framing = [ALT_SVC, CONTENT_LENGTH, EXPECT, HOST, TE, TRAILER, VIA].contains(name);
        let dashed = name.as_str().replace('_', "-");
        is_hop_by_hop(name) || credential || framing || FRAMING.contains(&dashed.as_str()) || is_clients(&dashed)
    });
}

/// Whether a value begins or ends with whitespace. In HTTP/1 that is not part of the value. In HTTP/2 it is, and is malformed
/// (RFC 9113 §8.2.1).
pub fn has_padding(headers: &HeaderMap) -> bool {
    let is_blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    headers.values().map(HeaderValue::as_bytes).any(|value| is_blank(value.first()) || is_blank(value.last()))
}

/// RFC 9110 §7.6.1. `Trailer` stays, because hyper's HTTP/1 encoder sends only the trailer fields that it names.
fn is_hop_by_hop(name: &HeaderName) -> bool {
    *name == CONNECTION
        || *name == TRANSFER_ENCODING
        || *name == UPGRADE
        || *name == PROXY_AUTHORIZATION
        || *name == PROXY_AUTHENTICATE
        || name.as_str() == KEEP_ALIVE
        || name.as_str() == PROXY_CONNECTION
}

fn remove_where(headers: &mut HeaderMap, unwanted: impl Fn(&HeaderName) -> bool) {
    // Few fields are unwanted. One pass finds them with less work than a dozen look-ups by name.
    while let Some(name) = headers.keys().find(|name| unwanted(name)).cloned() {
        headers.remove(name);
    }
}

/// Removes the fields that `Connection` names. Fields that frame the message or that hyper reads stay: a client must not be able to
/// remove them.
fn remove_named_by_connection(headers: &mut HeaderMap) {
    if !headers.contains_key(CONNECTION) {
        return;
    }
    let named: Vec<HeaderName> = tokens(headers, &CONNECTION)
        .filter(|token| !["close", "keep-alive", "upgrade"].iter().any(|known| token.eq_ignore_ascii_case(known)))
        .filter_map(|token| HeaderName::try_from(token).ok())
        .filter(|name| *name != CONTENT_LENGTH && *name != TRAILER)
        .collect();
    for name in named {
        headers.remove(name);
    }
}

/// hyper answers `Expect: 100-continue` itself. The upstream would answer it a second time, or with 417.
fn remove_met_expectation(headers: &mut HeaderMap) {
    let is_met = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"100-continue");
    if headers.contains_key(EXPECT) && headers.get_all(EXPECT).iter().all(is_met) {
        headers.remove(EXPECT);
    }
}

/// HTTP/2 clients may split `Cookie` into several fields, which must be joined for other protocols (RFC 9113 §8.2.3).
fn join_crumbs(headers: &mut HeaderMap) {
    let mut crumbs = headers.get_all(COOKIE).iter();
    if crumbs.nth(1).is_none() {
        return;
    }
    let crumbs: Vec<&[u8]> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    // Valid values that are joined by valid bytes are valid.
    if let Ok(mut cookie) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..])) {
        cookie.set_sensitive(true);
        headers.insert(COOKIE, cookie);
    }
}

/// Removes the cookies of the admin listener's login. A browser sends them to every port of their host.
fn remove_login_cookies(headers: &mut HeaderMap) {
    let Some(field) = headers.get(COOKIE).map(HeaderValue::as_bytes) else { return };
    let is_login = |pair: &&[u8]| {
        let port =
            pair.trim_ascii().strip_prefix(LOGIN_COOKIE).and_then(|rest| rest.split(|byte| *byte == b'=').next());
        port.is_some_and(|port| port.trim_ascii_end().iter().all(u8::is_ascii_digit))
    };
    let pairs = || field.split(|byte| *byte == b';');
    if !pairs().any(|pair| is_login(&pair)) {
        return;
    }
    let others: Vec<&[u8]> = pairs().filter(|pair| !is_login(pair)).map(<[u8]>::trim_ascii).collect();
    match HeaderValue::from_bytes(&others.join(&b"; "[..])) {
        Ok(mut cookie) if !cookie.is_empty() => {
            cookie.set_sensitive(true);
            headers.insert(COOKIE, cookie);
        }
        _ => _ = headers.remove(COOKIE),
    }
}

fn named_in(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    tokens(headers, name).any(|found| found.eq_ignore_ascii_case(token))
}

/// The members of a comma-separated field, over all its lines, without parameters.
fn tokens<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    headers
        .get_all(name)
        .into_iter()
        // Bytes, not text: a member that is not a token must not hide the others.
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .map(|member| member.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii())
        .filter_map(|member| std::str::from_utf8(member).ok())
        .filter(|member| !member.is_empty())
}

/// No `Accept`, or exactly `*/*`: for these, Laravel does not respond with JSON.
fn accepts_anything(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(ACCEPT).iter();
    match (values.next(), values.next()) {
        (None, _) => true,
        (Some(only), None) => only.as_bytes().trim_ascii() == b"*/*",
        (Some(_), Some(_)) => false,
    }
}

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
#[cfg(test)]
mod tests;
