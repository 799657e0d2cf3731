//! Refuses heads that hyper accepts but another server could read differently, before any other check.
//!
//! hyper repairs some ambiguities silently. `downstream` detects those in the raw bytes and reports them as an [`Ambiguity`]. hyper
//! itself refuses others: conflicting `Content-Length`, a last coding other than `chunked`, `Transfer-Encoding` in HTTP/1.0, folded
//! lines, whitespace before a colon, and control characters.

use http::header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::uri::{Authority, PathAndQuery};
use http::{HeaderMap, Request, Version};

use crate::downstream::Ambiguity;
use crate::proxy::headers::has_padding;

pub(super) fn check<B>(request: &Request<B>) -> Result<(), &'static str> {
    match request.extensions().get() {
        None => {}
        Some(Ambiguity::LengthAndCoding) => return Err("the request has both Content-Length and Transfer-Encoding"),
        Some(Ambiguity::Lengths) => return Err("the request has more than one Content-Length"),
        Some(Ambiguity::Fragment) => return Err("the request target has a fragment"),
        Some(Ambiguity::Target) => return Err("the request target has a character that must be percent-encoded"),
    }
    let (headers, authority) = (request.headers(), request.uri().authority());
    let mut hosts = headers.get_all(HOST).iter();
    let host = hosts.next().map(http::HeaderValue::as_bytes);
    if hosts.next().is_some() {
        // RFC 9112 §3.2.
        return Err("the request has more than one Host");
    }
    if !host.is_none_or(is_host) {
        return Err("Host is not a host with an optional port");
    }
    if authority.is_some_and(|authority| authority.as_str().contains('@')) {
        // RFC 9110 §4.2.4 recommends to treat it as an error, because it is used to disguise a target.
        return Err("the request target contains user information");
    }
    match request.version() {
        Version::HTTP_2 => check_http2(request.uri().path_and_query(), headers, authority, host),
        Version::HTTP_11 if host.is_none() => Err("the request has no Host"),
        _ => check_coding(headers),
    }
}

/// RFC 9112 §6.1. A coding other than `chunked` ends at this hop, and this gateway cannot decode it. A repeated `chunked` is decoded
/// once by some servers and twice by others.
fn check_coding(headers: &HeaderMap) -> Result<(), &'static str> {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => Ok(()),
        (Some(coding), None) if coding.as_bytes().eq_ignore_ascii_case(b"chunked") => Ok(()),
        _ => Err("Transfer-Encoding is not exactly chunked"),
    }
}

fn check_http2(
    path: Option<&PathAndQuery>,
    headers: &HeaderMap,
    authority: Option<&Authority>,
    host: Option<&[u8]>,
) -> Result<(), &'static str> {
    // RFC 9113 §8.3.1. h2 makes an absolute-form target from `?x`, which needs no path in HTTP/1.1.
    if path.is_some_and(|path| !path.as_str().starts_with('/')) {
        return Err(":path does not begin with a slash");
    }
    if has_padding(headers) {
        return Err("the value of a field begins or ends with whitespace");
    }
    // RFC 9113 §8.1.1: h2 compares the first one with the body, but an HTTP/1 server might read another one.
    if headers.get_all(CONTENT_LENGTH).iter().nth(1).is_some() {
        return Err("the request has more than one Content-Length");
    }
    // RFC 9113 §8.3.1.
    match (authority, host) {
        (None, None) => Err("the request has neither :authority nor Host"),
        (Some(authority), Some(host)) if !authority.as_str().as_bytes().eq_ignore_ascii_case(host) => {
            Err(":authority and Host differ")
        }
        _ => Ok(()),
    }
}

/// `uri-host [ ":" port ]` (RFC 9110 §7.2). It is empty if the target has no authority.
fn is_host(value: &[u8]) -> bool {
    let (host, port) = match value.iter().rposition(|byte| *byte == b':') {
        Some(colon) if !value[colon..].contains(&b']') => (&value[..colon], &value[colon + 1..]),
        _ => (value, &b""[..]),
    };
    let inner = match host {
        [b'[', inner @ .., b']'] => {
            return !inner.is_empty() && inner.iter().all(|byte| byte.is_ascii_hexdigit() || b":.".contains(byte));
        }
        name => name,
    };
    port.iter().all(u8::is_ascii_digit)
        && inner.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=".contains(byte))
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn verdict(version: Version, uri: &str, lines: &[(&str, &str)]) -> Result<(), &'static str> {
        let mut request = Request::builder().version(version).uri(uri).body(()).unwrap();
        for (name, value) in lines {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            request.headers_mut().append(name, HeaderValue::from_str(value).unwrap());
        }
        check(&request)
    }

    #[test]
    fn http1_heads() {
        let host = ("host", "localhost");
        for (version, uri, lines, sound) in [
            (Version::HTTP_11, "/", &[host][..], true),
            (Version::HTTP_11, "/", &[("host", "")], true),
            (Version::HTTP_11, "/", &[], false),
            (Version::HTTP_11, "http://localhost/", &[], false),
            (Version::HTTP_11, "http://localhost/", &[("host", "other")], true),
            (Version::HTTP_11, "http://me@localhost/", &[host], false),
            (Version::HTTP_11, "/", &[host, host], false),
            (Version::HTTP_10, "/", &[], true),
            (Version::HTTP_10, "/", &[host, host], false),
            (Version::HTTP_11, "/", &[host, ("transfer-encoding", "Chunked")], true),
            (Version::HTTP_11, "/", &[host, ("transfer-encoding", "gzip, chunked")], false),
            (Version::HTTP_11, "/", &[host, ("transfer-encoding", "chunked, chunked")], false),
            (Version::HTTP_11, "/", &[host, ("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")], false),
            (Version::HTTP_11, "/", &[host, ("transfer-encoding", "")], false),
        ] {
            assert_eq!(verdict(version, uri, lines).is_ok(), sound, "{version:?} {uri} {lines:?}");
        }
    }

    #[test]
    fn http2_heads() {
        let url = "http://localhost:8080/";
        for (uri, lines, sound) in [
            (url, &[][..], true),
            (url, &[("host", "LOCALHOST:8080")], true),
            (url, &[("host", "localhost")], false),
            (url, &[("host", "other")], false),
            ("/", &[("host", "localhost")], true),
            ("/", &[], false),
            (url, &[("content-length", "1")], true),
            (url, &[("content-length", "1"), ("content-length", "1")], false),
            ("http://localhost:8080?x", &[], false),
            ("http://localhost:8080/?x", &[], true),
            (url, &[("x", "a b")], true),
            (url, &[("x", "")], true),
            (url, &[("x", " a")], false),
            (url, &[("x", "a ")], false),
            (url, &[("x", "\ta")], false),
            (url, &[("y", "a"), ("x", "a\t")], false),
        ] {
            assert_eq!(verdict(Version::HTTP_2, uri, lines).is_ok(), sound, "{uri} {lines:?}");
        }
    }

    #[test]
    fn hosts() {
        for (host, sound) in [
            ("localhost", true),
            ("localhost:", true),
            ("localhost:8080", true),
            ("127.0.0.1:1", true),
            ("[::1]", true),
            ("[::1]:8080", true),
            ("xn--nxasmq6b", true),
            ("a%20b", true),
            ("a b", false),
            ("a,b", true),
            ("a/b", false),
            ("a?b", false),
            ("a#b", false),
            ("a\\b", false),
            ("me@a", false),
            ("a:b", false),
            ("a:8:8", false),
            ("http://a", false),
            ("[", false),
            ("[::1", false),
            ("[]", false),
            ("[::1]x", false),
            ("::1", false),
            ("\u{e9}", false),
        ] {
            assert_eq!(is_host(host.as_bytes()), sound, "{host}");
        }
    }
}
