//! Which requests the admin listener accepts: its own host, no foreign page, and the key.
//!
//! The listener is on loopback, where any page in a browser on this machine can reach it:
//!
//! * **Host.** An attacker can point a name at 127.0.0.1 (DNS rebinding). To the browser, a page of that name has the same origin as the
//!   listener, and its requests carry that name. So any name except `localhost` is refused; an address cannot be rebound. Ports are not
//!   compared (as in `guard.hosts`): a published or forwarded port differs from the bound one, and an attacker gains nothing.
//! * **Origin.** A page of another origin can send a request without reading the response. The browser names the page's origin (`Origin`,
//!   RFC 6454 §7; `Sec-Fetch-Site`, Fetch Metadata). Programs that are not browsers send neither field. A person may come to `/` from
//!   anywhere, and to `/callback` from the authorization server.
//! * **Key.** Compared in constant time. The 401 comes from this listener, never from the upstream. The files of the page contain no data,
//!   and a browser cannot add a key to their requests. `/callback` needs a `state` and a cookie instead.

use std::net::IpAddr;

use axum::response::{IntoResponse, Response};
use http::header::{AUTHORIZATION, HOST, HeaderName, ORIGIN, WWW_AUTHENTICATE};
use http::uri::Authority;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};

use super::answer::Problem;
use crate::config::ListenAddress;
use crate::secret::Secret;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Denied {
    NoHost,
    ForeignHost,
    ForeignOrigin,
    Key,
}

/// Checks host, origin and key, in this order. Returns the host.
pub(super) fn admit(
    bound: &ListenAddress,
    key: Option<&Secret>,
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
) -> Result<Authority, Denied> {
    let host = host(uri, headers)?;
    if !own_host(bound, &host) {
        return Err(Denied::ForeignHost);
    }
    let reads = matches!(*method, Method::GET | Method::HEAD);
    let is_opened = reads && matches!(uri.path(), "/" | "/callback");
    if !is_opened && !own_origin(&host, headers) {
        return Err(Denied::ForeignOrigin);
    }
    let is_public = is_opened || (reads && uri.path().starts_with("/assets/"));
    match key {
        Some(key) if !is_public && !carries(key, headers) => Err(Denied::Key),
        _ => Ok(host),
    }
}

/// The host of a request: from an absolute-form target, otherwise from the single `Host` field (RFC 9112 §3.2).
fn host(uri: &Uri, headers: &HeaderMap) -> Result<Authority, Denied> {
    let mut fields = headers.get_all(HOST).iter();
    let (Some(field), None) = (fields.next(), fields.next()) else { return Err(Denied::NoHost) };
    let authority = match uri.authority() {
        Some(authority) => authority.clone(),
        None => Authority::try_from(field.as_bytes()).map_err(|_| Denied::NoHost)?,
    };
    // `user@host` is not a host.
    if authority.as_str().contains('@') { Err(Denied::NoHost) } else { Ok(authority) }
}

fn own_host(bound: &ListenAddress, host: &Authority) -> bool {
    let name = host.host();
    let bound = match bound {
        // A unix socket has no host name. A browser reaches it through a forwarded port; a name that an attacker can own has a dot.
        ListenAddress::Unix(_) => return !name.contains('.') || name.parse::<IpAddr>().is_ok(),
        ListenAddress::Tcp(address) => address.ip().to_canonical(),
    };
    let local = bound.is_loopback() || bound.is_unspecified();
    if name.eq_ignore_ascii_case("localhost") {
        return local;
    }
    match name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().map(|address| address.to_canonical()) {
        Ok(address) => address == bound || bound.is_unspecified() || (local && address.is_loopback()),
        Err(_) => false,
    }
}

fn own_origin(host: &Authority, headers: &HeaderMap) -> bool {
    let own_site = headers.get_all(SEC_FETCH_SITE).iter().all(|site| site == "same-origin" || site == "none");
    let own_origin = headers.get_all(ORIGIN).iter().all(|origin| {
        let origin = origin.to_str().unwrap_or_default();
        // `https`: a TLS terminator may precede the listener.
        let authority = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
        authority.is_some_and(|authority| authority.eq_ignore_ascii_case(host.as_str()))
    });
    own_site && own_origin
}

fn carries(key: &Secret, headers: &HeaderMap) -> bool {
    let mut fields = headers.get_all(AUTHORIZATION).iter();
    let (Some(field), None) = (fields.next(), fields.next()) else { return false };
    match field.to_str().ok().and_then(|field| field.split_once(' ')) {
        Some((scheme, presented)) if scheme.eq_ignore_ascii_case("bearer") => Secret::new(presented.trim()) == *key,
        _ => false,
    }
}

// === impl Denied ===

impl IntoResponse for Denied {
    fn into_response(self) -> Response {
        match self {
            Self::NoHost => {
                let detail = "The request needs one Host field with a host.";
                Problem::new(StatusCode::BAD_REQUEST, "bad-request", detail).into_response()
            }
            Self::ForeignHost => {
                let detail =
                    "The request's host is not this listener's: use localhost or the address that it is bound to.";
                Problem::new(StatusCode::MISDIRECTED_REQUEST, "misdirected-request", detail).into_response()
            }
            Self::ForeignOrigin => {
                let detail = "The request comes from a page of another origin, which must not use this listener.";
                Problem::new(StatusCode::FORBIDDEN, "foreign-origin", detail).into_response()
            }
            Self::Key => {
                let detail = "The request must carry admin.key as Authorization: Bearer.";
                let challenge = HeaderValue::from_static(r#"Bearer realm="bearer-proxy admin""#);
                let problem = Problem::new(StatusCode::UNAUTHORIZED, "admin-key-required", detail);
                ([(WWW_AUTHENTICATE, challenge)], problem).into_response()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(HeaderName, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(name.clone(), HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    fn admitted(bound: &str, target: &str, method: Method, fields: &[(HeaderName, &str)]) -> Result<(), Denied> {
        let bound = match bound.strip_prefix("unix:") {
            Some(path) => ListenAddress::Unix(path.into()),
            None => ListenAddress::Tcp(bound.parse().unwrap()),
        };
        admit(&bound, None, &method, &target.parse().unwrap(), &headers(fields)).map(drop)
    }

    #[test]
    fn a_host_is_the_listeners_own_or_refused() {
        const LOOPBACK: &str = "127.0.0.1:9901";
        for (bound, host, expected) in [
            (LOOPBACK, "127.0.0.1:9901", Ok(())),
            (LOOPBACK, "localhost:9901", Ok(())),
            (LOOPBACK, "LocalHost:9901", Ok(())),
            (LOOPBACK, "[::1]:9901", Ok(())),
            (LOOPBACK, "[::ffff:127.0.0.1]:9901", Ok(())),
            (LOOPBACK, "localhost:19901", Ok(())),
            (LOOPBACK, "localhost", Ok(())),
            (LOOPBACK, "rebound.example:9901", Err(Denied::ForeignHost)),
            (LOOPBACK, "localhost.rebound.example:9901", Err(Denied::ForeignHost)),
            (LOOPBACK, "127.0.0.1.rebound.example", Err(Denied::ForeignHost)),
            (LOOPBACK, "127.1:9901", Err(Denied::ForeignHost)),
            (LOOPBACK, "10.0.0.5:9901", Err(Denied::ForeignHost)),
            (LOOPBACK, "localhost@rebound.example", Err(Denied::NoHost)),
            (LOOPBACK, "rebound.example@localhost", Err(Denied::NoHost)),
            (LOOPBACK, "", Err(Denied::NoHost)),
            (LOOPBACK, "a b", Err(Denied::NoHost)),
            ("[::1]:9901", "127.0.0.1:9901", Ok(())),
            ("10.0.0.5:9901", "10.0.0.5:9901", Ok(())),
            ("10.0.0.5:9901", "localhost:9901", Err(Denied::ForeignHost)),
            ("10.0.0.5:9901", "10.0.0.6:9901", Err(Denied::ForeignHost)),
            ("0.0.0.0:9901", "10.0.0.6:9901", Ok(())),
            ("0.0.0.0:9901", "localhost:9901", Ok(())),
            ("[::]:9901", "[fd00::1]:9901", Ok(())),
            ("0.0.0.0:9901", "proxy.internal:9901", Err(Denied::ForeignHost)),
            ("unix:/run/admin.sock", "anything", Ok(())),
            ("unix:/run/admin.sock", "127.0.0.1:8000", Ok(())),
            ("unix:/run/admin.sock", "[::1]:8000", Ok(())),
            ("unix:/run/admin.sock", "rebound.example:8000", Err(Denied::ForeignHost)),
        ] {
            assert_eq!(admitted(bound, "/status", Method::GET, &[(HOST, host)]), expected, "{host} at {bound}");
        }
    }

    #[test]
    fn the_host_is_named_once_and_an_absolute_target_names_it() {
        let bound = "127.0.0.1:9901";
        let two = [(HOST, "localhost"), (HOST, "localhost")];
        assert_eq!(admitted(bound, "/status", Method::GET, &[]), Err(Denied::NoHost));
        assert_eq!(admitted(bound, "/status", Method::GET, &two), Err(Denied::NoHost));
        let absolute = "http://rebound.example/status";
        assert_eq!(admitted(bound, absolute, Method::GET, &[(HOST, "localhost")]), Err(Denied::ForeignHost));
    }

    #[test]
    fn a_request_comes_from_no_page_or_from_our_own_but_a_person_may_come_from_anywhere() {
        for (fields, expected) in [
            (vec![], Ok(())),
            (vec![(ORIGIN, "http://localhost:9901")], Ok(())),
            (vec![(ORIGIN, "http://LOCALHOST:9901"), (SEC_FETCH_SITE, "same-origin")], Ok(())),
            (vec![(ORIGIN, "https://localhost:9901")], Ok(())),
            (vec![(SEC_FETCH_SITE, "none")], Ok(())),
            (vec![(ORIGIN, "http://localhost:3000")], Err(Denied::ForeignOrigin)),
            (vec![(ORIGIN, "http://localhost")], Err(Denied::ForeignOrigin)),
            (vec![(ORIGIN, "http://127.0.0.1:9901")], Err(Denied::ForeignOrigin)),
            (vec![(ORIGIN, "https://evil.example")], Err(Denied::ForeignOrigin)),
            (vec![(ORIGIN, "null")], Err(Denied::ForeignOrigin)),
            (vec![(ORIGIN, "")], Err(Denied::ForeignOrigin)),
            (vec![(ORIGIN, "localhost:9901")], Err(Denied::ForeignOrigin)),
            (vec![(ORIGIN, "http://localhost:9901"), (ORIGIN, "null")], Err(Denied::ForeignOrigin)),
            (vec![(SEC_FETCH_SITE, "cross-site")], Err(Denied::ForeignOrigin)),
            (vec![(SEC_FETCH_SITE, "same-site")], Err(Denied::ForeignOrigin)),
        ] {
            let fields = [vec![(HOST, "localhost:9901")], fields].concat();
            assert_eq!(admitted("127.0.0.1:9901", "/refresh", Method::POST, &fields), expected, "{fields:?}");
            assert_eq!(admitted("127.0.0.1:9901", "/status", Method::GET, &fields), expected, "{fields:?}");
            assert_eq!(admitted("127.0.0.1:9901", "/assets/app.js", Method::GET, &fields), expected, "{fields:?}");
            assert_eq!(admitted("127.0.0.1:9901", "/", Method::POST, &fields), expected, "{fields:?}");
            for path in ["/", "/?x", "/callback?code=c"] {
                assert_eq!(admitted("127.0.0.1:9901", path, Method::GET, &fields), Ok(()), "{path} {fields:?}");
            }
        }
    }

    #[test]
    fn the_key_is_presented_once_and_whole() {
        let key = Secret::new("the-key");
        let bound = ListenAddress::Tcp(([127, 0, 0, 1], 9901).into());
        for (fields, expected) in [
            (vec!["Bearer the-key"], Ok(())),
            (vec!["bearer the-key"], Ok(())),
            (vec![], Err(Denied::Key)),
            (vec!["Bearer the-ke"], Err(Denied::Key)),
            (vec!["Bearer the-key2"], Err(Denied::Key)),
            (vec!["Bearer "], Err(Denied::Key)),
            (vec!["Basic the-key"], Err(Denied::Key)),
            (vec!["the-key"], Err(Denied::Key)),
            (vec!["Bearer the-key", "Bearer the-key"], Err(Denied::Key)),
        ] {
            let mut all = vec![(HOST, "localhost")];
            all.extend(fields.iter().map(|field| (AUTHORIZATION, *field)));
            let admitted =
                admit(&bound, Some(&key), &Method::GET, &Uri::from_static("/livez"), &headers(&all)).map(drop);
            assert_eq!(admitted, expected, "{fields:?}");
        }
        let host = headers(&[(HOST, "localhost")]);
        for (method, path, expected) in [
            (Method::GET, "/", Ok(())),
            (Method::HEAD, "/", Ok(())),
            (Method::GET, "/assets/app.js", Ok(())),
            (Method::GET, "/callback?code=c&state=s", Ok(())),
            (Method::POST, "/", Err(Denied::Key)),
            (Method::GET, "/assets", Err(Denied::Key)),
            (Method::GET, "//", Err(Denied::Key)),
            (Method::GET, "/callback/", Err(Denied::Key)),
            (Method::GET, "/events", Err(Denied::Key)),
            (Method::POST, "/login", Err(Denied::Key)),
        ] {
            let uri: Uri = path.parse().unwrap();
            assert_eq!(admit(&bound, Some(&key), &method, &uri, &host).map(drop), expected, "{method} {path}");
        }
    }
}
