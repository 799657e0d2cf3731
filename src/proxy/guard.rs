//! Decides which requests may pass: `Request` → [`Admitted`].
//!
//! The checks, in order: framing, host, cross-site, loop, client key, allow-list, limits. Only this module makes an [`Admitted`], so a
//! request without these checks cannot be forwarded.

mod cross_site;
mod framing;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod method_parameter;
pub(super) mod prefix_escape;

use std::future::ready;
use std::rc::Rc;
use std::task::{Context, Poll};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use http::header::{AUTHORIZATION, HOST, VIA};
use http::{HeaderMap, Method, Request, Uri};
use http_body::Body as _;
use hyper::body::Incoming;
use tower::{Layer, Service};

use super::LocalBoxFuture;
use super::error::Failure;
use super::in_flight::Place;
use super::incoming::ClientIncoming;
use crate::config::{Config, GuardConfig, ListenAddress, plain_path};

/// A request that may be forwarded. It still has all fields that the client sent.
pub struct Admitted {
    request: Request<ClientIncoming>,
    place: Option<Place>,
}

/// The rules of the configuration.
#[derive(Debug)]
pub struct Rules {
    guard: GuardConfig,
    via: String,
    /// Whether the scheme of an absolute-form target must be `https`.
    tls: bool,
    /// Whether `upstream.url` has a path that a request must not leave.
    has_prefix: bool,
}

#[derive(Clone)]
pub struct GuardLayer(pub Rc<Rules>);

/// Passes the requests that the rules admit.
#[derive(Clone)]
pub struct Guard<S> {
    inner: S,
    rules: Rc<Rules>,
}

// === impl Admitted ===

impl Admitted {
    /// The exchange holds this place among the requests in flight until it ends.
    pub(super) fn hold(&mut self, place: Place) {
        self.place = Some(place);
    }

    pub fn into_parts(self) -> (Request<ClientIncoming>, Option<Place>) {
        (self.request, self.place)
    }
}

// === impl Rules ===

impl Rules {
    pub fn new(config: &Config) -> Self {
        let unix = config.listen.iter().any(|address| matches!(address, ListenAddress::Unix(_)));
        Self {
            guard: config.guard.clone(),
            via: config.via.clone(),
            tls: config.tls.is_some() && !unix,
            has_prefix: !config.upstream.path_prefix.is_empty(),
        }
    }

    /// Judges the head of a request. `size`: the minimum size of its body, in bytes.
    fn judge<B>(&self, request: &Request<B>, size: u64) -> Result<(), Failure> {
        let (method, uri, headers) = (request.method(), request.uri(), request.headers());
        if matches!(*method, Method::CONNECT | Method::TRACE) {
            return Err(Failure::MethodNotSupported);
        }
        let path = uri.path();
        if path == "*" {
            return Err(Failure::BadRequest("OPTIONS * is not supported: name a path"));
        }
        if !path.starts_with('/') {
            return Err(Failure::BadRequest("the request target does not begin with a slash"));
        }
        if uri.scheme_str().is_some_and(|scheme| !self.accepts_scheme(scheme)) {
            return Err(Failure::BadRequest("the request target has another scheme than this listener"));
        }
        framing::check(request).map_err(Failure::BadRequest)?;
        if self.has_prefix && prefix_escape::has_dot_segment(path) {
            return Err(Failure::BadRequest("the path has a dot segment, which could leave the path of upstream.url"));
        }
        self.check_host(uri, headers)?;
        self.check_cross_site(uri, headers)?;
        if self.is_loop(headers) {
            return Err(Failure::Loop);
        }
        self.check_key(headers)?;
        self.check_allowed(method, path, uri.query())?;
        if head_size(request) > self.guard.max_header_size {
            return Err(Failure::HeadersTooLarge(self.guard.max_header_size));
        }
        match self.guard.max_body_size {
            Some(limit) if size > limit => Err(Failure::BodyTooLarge(limit)),
            _ => Ok(()),
        }
    }

    /// Without TLS, HTTP/2 clients may send `http`, or `https` behind a TLS terminator. Both mean this listener.
    fn accepts_scheme(&self, scheme: &str) -> bool {
        scheme.eq_ignore_ascii_case("https") || (scheme.eq_ignore_ascii_case("http") && !self.tls)
    }

    fn check_host(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), Failure> {
        let Some(accepted) = &self.guard.hosts else { return Ok(()) };
        let named = match uri.authority() {
            // An absolute-form target or `:authority` overrides `Host` (RFC 9112 §3.2.2).
            Some(authority) => Some(authority.host()),
            None => headers.get(HOST).and_then(|host| host.to_str().ok()).map(without_port),
        };
        match named {
            Some(named) if accepted.iter().any(|host| same_host(host, named)) => Ok(()),
            _ => Err(Failure::Misdirected),
        }
    }

    fn is_loop(&self, headers: &HeaderMap) -> bool {
        headers
            .get_all(VIA)
            .iter()
            // Bytes, not text: a comment with any bytes must not hide the other hops.
            .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
            .filter_map(|hop| hop.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()).nth(1))
            .any(|name| name.eq_ignore_ascii_case(self.via.as_bytes()))
    }

    /// A page can send a key only if the upstream's response to a preflight allows it, so a valid key is proof enough.
    fn check_cross_site(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), Failure> {
        let host = match uri.authority() {
            Some(authority) => Some(authority.as_str()),
            None => headers.get(HOST).and_then(|host| host.to_str().ok()),
        };
        if cross_site::is_cross_site(headers, host, &self.guard.origins) && !self.has_key(headers) {
            return Err(Failure::CrossSite);
        }
        Ok(())
    }

    fn check_key(&self, headers: &HeaderMap) -> Result<(), Failure> {
        if self.guard.client_keys.is_empty() || self.has_key(headers) {
            Ok(())
        } else {
            Err(Failure::ClientKeyRequired)
        }
    }

    /// Whether the client presents one of the keys.
    fn has_key(&self, headers: &HeaderMap) -> bool {
        // An empty key counts as no key: with its digest configured, it would admit everybody.
        let is_key = |key: &&[u8]| !key.is_empty();
        let key = headers.get("x-proxy-key").map(|value| value.as_bytes().trim_ascii()).filter(is_key).or_else(|| {
            let value = headers.get(AUTHORIZATION)?.as_bytes();
            let (scheme, key) = value.split_at_checked(7)?;
            Some(key.trim_ascii()).filter(is_key).filter(|_| scheme.eq_ignore_ascii_case(b"bearer "))
        });
        let Some(key) = key else { return false };
        let presented = digest(&SHA256, key);
        // Every digest is compared, each in constant time, so that the time reveals nothing about the keys.
        self.guard
            .client_keys
            .iter()
            .fold(false, |known, key| verify_slices_are_equal(key, presented.as_ref()).is_ok() | known)
    }

    fn check_allowed(&self, method: &Method, path: &str, query: Option<&str>) -> Result<(), Failure> {
        let Some(allow) = &self.guard.allow else { return Ok(()) };
        if query.is_some_and(method_parameter::is_in) {
            return Err(Failure::NotAllowed("the query has the parameter _method, which could name another method"));
        }
        let allowed = plain_path(path).is_some_and(|path| {
            allow
                .iter()
                .any(|rule| rule.method.as_ref().is_none_or(|allowed| allowed == method) && rule.path.matches(&path))
        });
        if allowed { Ok(()) } else { Err(Failure::NotAllowed("no rule of guard.allow admits this method and path")) }
    }
}

/// The size of the head in the format of HTTP/1.1, for every version.
fn head_size<B>(request: &Request<B>) -> usize {
    let target = request.uri().path_and_query().map_or(1, |target| target.as_str().len());
    let line = request.method().as_str().len() + target + "  HTTP/1.1\r\n".len();
    let fields = request.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + ": \r\n".len());
    line + fields.sum::<usize>() + "\r\n".len()
}

fn without_port(host: &str) -> &str {
    match host.rfind(':') {
        Some(colon) if !host[colon..].contains(']') => &host[..colon],
        _ => host,
    }
}

/// Compares without brackets and case.
fn same_host(a: &str, b: &str) -> bool {
    fn bare(host: &str) -> &str {
        host.trim_start_matches('[').trim_end_matches(']')
    }
    bare(a).eq_ignore_ascii_case(bare(b))
}

// === impl Guard ===

impl<S> Layer<S> for GuardLayer {
    type Service = Guard<S>;

    fn layer(&self, inner: S) -> Guard<S> {
        Guard { inner, rules: Rc::clone(&self.0) }
    }
}

impl<S, R: 'static> Service<Request<Incoming>> for Guard<S>
where
    // Always a box: an inline refusal would enlarge the future of every request in flight.
    S: Service<Admitted, Response = R, Error = Failure, Future = LocalBoxFuture<Result<R, Failure>>>,
{
    type Response = R;
    type Error = Failure;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Incoming>) -> Self::Future {
        let request = ClientIncoming::wrap(request);
        let size = request.body().size_hint().lower();
        match self.rules.judge(&request, size) {
            Ok(()) => self.inner.call(Admitted { request, place: None }),
            Err(failure) if failure.ends_connection() => Box::pin(ready(Err(failure))),
            Err(failure) => Box::pin(async move {
                request.into_body().discard().await;
                Err(failure)
            }),
        }
    }
}

#[cfg(test)]
mod tests;
