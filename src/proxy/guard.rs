//! Who and what may pass: `Request` → [`Admitted`].
//!
//! In this order: framing, host, loop, client key, allow-list, limits. Only this module makes an [`Admitted`], so that a request
//! that was not guarded can't be forwarded.

mod framing;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod path;

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

pub(crate) use self::path::plain;
use super::LocalBoxFuture;
use super::error::Failure;
use super::incoming::ClientIncoming;
use super::limit::Place;
use crate::config::{Config, GuardConfig, ListenAddress};

/// A request that may be forwarded, still with the client's own fields.
pub struct Admitted {
    request: Request<ClientIncoming>,
    place: Option<Place>,
}

/// The rules, made once from the configuration.
#[derive(Debug)]
pub struct Rules {
    guard: GuardConfig,
    via: String,
    /// Whether the scheme of an absolute-form target has to be `https`.
    tls: bool,
}

/// Adds the guard.
#[derive(Clone)]
pub struct GuardLayer(pub Rc<Rules>);

/// Passes what the rules admit.
#[derive(Clone)]
pub struct Guard<S> {
    inner: S,
    rules: Rc<Rules>,
}

// === impl Admitted ===

impl Admitted {
    /// Takes a place among the requests in flight, for as long as its exchange lasts.
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
        Self { guard: config.guard.clone(), via: config.via.clone(), tls: config.tls.is_some() && !unix }
    }

    fn admit(&self, request: Request<Incoming>) -> Result<Admitted, Failure> {
        let request = ClientIncoming::of(request);
        let size = request.body().size_hint().lower();
        self.judge(&request, size)?;
        Ok(Admitted { request, place: None })
    }

    /// The verdict on a request's head. `size`: the bytes that its body is known to have at least.
    fn judge<B>(&self, request: &Request<B>, size: u64) -> Result<(), Failure> {
        let (method, uri, headers) = (request.method(), request.uri(), request.headers());
        if matches!(*method, Method::CONNECT | Method::TRACE) {
            return Err(Failure::MethodNotSupported);
        }
        let path = uri.path();
        if path == "*" {
            return Err(Failure::BadRequest("OPTIONS * has no meaning for an upstream's resource"));
        }
        if !path.starts_with('/') {
            return Err(Failure::BadRequest("the request target is not a path"));
        }
        if uri.scheme_str().is_some_and(|scheme| !self.accepts_scheme(scheme)) {
            return Err(Failure::BadRequest("the request target has another scheme than this listener"));
        }
        framing::check(request).map_err(Failure::BadRequest)?;
        self.check_host(uri, headers)?;
        if self.is_loop(headers) {
            return Err(Failure::Loop);
        }
        self.check_key(headers)?;
        self.check_allowed(method, path)?;
        if head_size(request) > self.guard.max_header_size {
            return Err(Failure::HeadersTooLarge(self.guard.max_header_size));
        }
        match self.guard.max_body_size {
            Some(limit) if size > limit => Err(Failure::BodyTooLarge(limit)),
            _ => Ok(()),
        }
    }

    /// HTTP/2 clients may say `https` behind a TLS terminator, or `http` in clear: both name this listener there.
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
            // Bytes: a comment may hold any, and must not hide the hops beside it.
            .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
            .filter_map(|hop| hop.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()).nth(1))
            .any(|name| name.eq_ignore_ascii_case(self.via.as_bytes()))
    }

    fn check_key(&self, headers: &HeaderMap) -> Result<(), Failure> {
        if self.guard.client_keys.is_empty() {
            return Ok(());
        }
        let key = headers.get("x-proxy-key").map(http::HeaderValue::as_bytes).or_else(|| {
            let value = headers.get(AUTHORIZATION)?.as_bytes();
            let (scheme, key) = value.split_at_checked(7)?;
            scheme.eq_ignore_ascii_case(b"bearer ").then_some(key)
        });
        let Some(key) = key else { return Err(Failure::ClientKeyRequired) };
        let presented = digest(&SHA256, key.trim_ascii());
        // Every digest is compared, each in constant time: the time tells nothing of which one was near.
        let known = self
            .guard
            .client_keys
            .iter()
            .fold(false, |known, key| verify_slices_are_equal(key, presented.as_ref()).is_ok() | known);
        if known { Ok(()) } else { Err(Failure::ClientKeyRequired) }
    }

    fn check_allowed(&self, method: &Method, path: &str) -> Result<(), Failure> {
        let Some(allow) = &self.guard.allow else { return Ok(()) };
        let allowed = plain(path).is_some_and(|path| {
            allow
                .iter()
                .any(|rule| rule.method.as_ref().is_none_or(|allowed| allowed == method) && rule.path.matches(&path))
        });
        if allowed { Ok(()) } else { Err(Failure::NotAllowed) }
    }
}

/// Bytes of the head as HTTP/1.1 writes it, whichever version it came in.
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

/// Without brackets and case.
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
    // A box in any case: room for a refusal beside it would be memory that every request in flight touches.
    S: Service<Admitted, Response = R, Error = Failure, Future = LocalBoxFuture<Result<R, Failure>>>,
{
    type Response = R;
    type Error = Failure;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Incoming>) -> Self::Future {
        match self.rules.admit(request) {
            Ok(admitted) => self.inner.call(admitted),
            Err(failure) => Box::pin(ready(Err(failure))),
        }
    }
}

#[cfg(test)]
mod tests;
