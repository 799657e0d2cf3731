//! The form of a request on the wire: HTTP/1.1 requires origin-form and `Host`, HTTP/2 requires scheme and `:authority`.

use http::header::{CONTENT_LENGTH, Entry, HOST, HeaderValue, TRANSFER_ENCODING};
use http::uri::{Authority, PathAndQuery, Scheme, Uri};
use http::{Method, Request, Version};
use http_body::Body;

use crate::config::Origin;

/// The origin in the forms that requests carry. A clone is a reference.
pub(super) struct Target {
    scheme: Scheme,
    authority: Authority,
    host: HeaderValue,
}

// === impl Target ===

impl Target {
    #[expect(clippy::expect_used, reason = "an authority is visible ASCII, checked when it was parsed")]
    pub(super) fn new(origin: &Origin) -> Self {
        let host = HeaderValue::try_from(origin.authority.as_str()).expect("an authority is a valid field value");
        Self { scheme: origin.scheme.clone(), authority: origin.authority.clone(), host }
    }

    /// RFC 9112 §3.2.1 (origin-form), §3.2 (`Host`).
    pub(super) fn fit_http1<B: Body>(&self, request: &mut Request<B>) {
        *request.version_mut() = Version::HTTP_11;
        if request.uri().authority().is_some() {
            let path = path_of(request);
            *request.uri_mut() = Uri::from(path);
        }
        request.headers_mut().insert(HOST, self.host.clone());
        if has_unexpected_body(request) {
            request.headers_mut().insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
    }

    /// RFC 9113 §8.3.1: h2 makes the pseudo-fields from the URI, and `Host` would repeat one of them.
    #[expect(clippy::expect_used, reason = "a URI with all three parts is valid")]
    pub(super) fn fit_http2<B: Body>(&self, request: &mut Request<B>) {
        *request.version_mut() = Version::HTTP_2;
        let mut parts = http::uri::Parts::default();
        parts.path_and_query = Some(path_of(request));
        parts.scheme = Some(self.scheme.clone());
        parts.authority = Some(self.authority.clone());
        *request.uri_mut() = Uri::from_parts(parts).expect("scheme, authority and path are all there");
        request.headers_mut().remove(HOST);
        request.headers_mut().remove(TRANSFER_ENCODING);
        announce_length(request);
    }
}

/// Announces the length of the body if it is known. An empty body is announced only if the method usually has one
/// (RFC 9110 §8.6).
fn announce_length<B: Body>(request: &mut Request<B>) {
    let expected = !matches!(*request.method(), Method::GET | Method::HEAD | Method::DELETE | Method::CONNECT);
    if let Some(length) = request.body().size_hint().exact().filter(|length| expected || *length > 0)
        && let Entry::Vacant(field) = request.headers_mut().entry(CONTENT_LENGTH)
    {
        field.insert(length.into());
    }
}

/// Whether hyper would omit the body. It omits the body of a GET or HEAD without a known length, unless the head announces it. Such
/// a body has no meaning, but is part of the message (RFC 9110 §9.3.1).
fn has_unexpected_body<B: Body>(request: &Request<B>) -> bool {
    matches!(*request.method(), Method::GET | Method::HEAD)
        && !request.body().is_end_stream()
        && request.body().size_hint().exact().is_none()
        && !request.headers().contains_key(CONTENT_LENGTH)
}

fn path_of<B>(request: &mut Request<B>) -> PathAndQuery {
    let uri = std::mem::take(request.uri_mut());
    let target = uri.into_parts().path_and_query.unwrap_or_else(|| PathAndQuery::from_static("/"));
    // An absolute-form target may have a query and no path (RFC 9112 §3.2.1). Its `Display` adds the path.
    if target.as_str().starts_with('?') {
        return PathAndQuery::try_from(target.to_string()).unwrap_or(target);
    }
    target
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http_body_util::{Empty, StreamBody};

    use super::*;

    fn target() -> Target {
        Target::new(&Origin { scheme: Scheme::HTTPS, authority: Authority::from_static("api.example.com:8443") })
    }

    fn request(uri: &str) -> Request<Empty<Bytes>> {
        Request::builder().uri(uri).header(HOST, "client.example").body(Empty::new()).unwrap()
    }

    #[test]
    fn http1_gets_origin_form_and_the_origins_host() {
        for uri in ["/a%2Fb/?x=%20&y", "https://other.example/a%2Fb/?x=%20&y"] {
            let mut request = request(uri);
            target().fit_http1(&mut request);
            assert_eq!(request.uri().to_string(), "/a%2Fb/?x=%20&y");
            assert_eq!(request.version(), Version::HTTP_11);
            assert_eq!(request.headers().get_all(HOST).iter().collect::<Vec<_>>(), ["api.example.com:8443"]);
        }
    }

    #[test]
    fn http2_gets_the_origin_as_authority_and_no_host() {
        for uri in ["/a%2Fb/?x=%20&y", "https://other.example/a%2Fb/?x=%20&y"] {
            let mut request = request(uri);
            target().fit_http2(&mut request);
            assert_eq!(request.uri().to_string(), "https://api.example.com:8443/a%2Fb/?x=%20&y");
            assert_eq!(request.version(), Version::HTTP_2);
            assert!(!request.headers().contains_key(HOST));
        }
    }

    #[test]
    fn a_request_handed_back_by_one_protocol_fits_the_other() {
        let mut request = request("/a?b");
        target().fit_http2(&mut request);
        target().fit_http1(&mut request);
        assert_eq!(request.uri().to_string(), "/a?b");
        assert_eq!(request.headers()[HOST], "api.example.com:8443");
        target().fit_http2(&mut request);
        assert_eq!(request.uri().to_string(), "https://api.example.com:8443/a?b");
    }

    #[test]
    fn a_uri_without_a_path_gets_the_root() {
        for (uri, path) in [("https://other.example", "/"), ("https://other.example?x", "/?x")] {
            let mut request = request(uri);
            target().fit_http2(&mut request);
            assert_eq!(request.uri().to_string(), format!("https://api.example.com:8443{path}"));
            target().fit_http1(&mut request);
            assert_eq!(request.uri().to_string(), path);
        }
    }

    #[test]
    fn a_body_of_unknown_length_is_announced_where_hyper_would_leave_it_out() {
        for (method, length, announced) in [
            (Method::GET, None, true),
            (Method::HEAD, None, true),
            (Method::GET, Some("5"), false),
            // hyper announces this one itself.
            (Method::POST, None, false),
        ] {
            let frames = futures_util::stream::pending::<Result<http_body::Frame<Bytes>, hyper::Error>>();
            let mut request = Request::builder().method(method.clone()).uri("/").body(StreamBody::new(frames)).unwrap();
            if let Some(length) = length {
                request.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from_static(length));
            }
            target().fit_http1(&mut request);
            assert_eq!(request.headers().contains_key(TRANSFER_ENCODING), announced, "{method} {length:?}");
            target().fit_http2(&mut request);
            assert!(!request.headers().contains_key(TRANSFER_ENCODING));
        }
        let mut empty = request("/");
        target().fit_http1(&mut empty);
        assert!(!empty.headers().contains_key(TRANSFER_ENCODING));
    }
}
