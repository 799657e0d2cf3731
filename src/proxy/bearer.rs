//! Where the two journeys meet: [`Admitted`] → [`Authorized`]. Puts the live token on the request, reads a refusal, and replays
//! once.
//!
//! ```text
//! response    refused?   newer generation?   body kept?   result
//! any other   no         –                   –            passed on; the token is accepted
//! 401 …       yes        exists already      whole        replayed with it, without a refresh
//! 401 …       yes        no                  whole        joins the refresh or causes one; replayed with the new token
//! 401 …       yes        –                   not whole    passed on; the refresh begins for later requests
//! 401 …       again      –                   –            passed on unchanged
//! ```

use std::future::ready;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, Version};
use http_body::Body as _;
use hyper::ext::ReasonPhrase;
use hyper::upgrade::OnUpgrade;
use tokio::time::Instant;
use tower::{Layer, Service};

use self::judgement::{History, Judgement};
use super::LocalBoxFuture;
use super::attempt::{NoResponse, RequestBody};
use super::body::{Body, ClientBody};
use super::error::Failure;
use super::guard::Admitted;
use super::headers::{Hygiene, UpgradeWish};
use super::in_flight::Place;
use super::incoming::{ClientIncoming, read_rest};
use super::refusal::Refusals;
use super::replay::{Budget, ReplayBuffer};
use super::route::Route;
use super::target::Prefix;
use super::tunnel;
use super::upstream::Upstream;
use crate::config::Config;
use crate::metrics::{ReplayReason, WorkerMetrics};
use crate::token::live::LiveToken;
use crate::token::refresher::Tokens;
use crate::upstream::pool::UpstreamBody;

mod judgement;

/// A request that carries exactly one credential: the live token. Only this module makes one, and only this type is sent upstream.
pub struct Authorized {
    request: Request<RequestBody>,
    /// The request asks for another protocol, which needs a connection of its own.
    upgrade: bool,
    /// `forward` reads the progress of the body from it.
    buffer: Option<Rc<ReplayBuffer<ClientBody>>>,
}

/// Authorizes the requests of one route, in one worker.
pub struct Authorizer {
    tokens: Tokens,
    hygiene: Hygiene,
    prefix: Prefix,
    refusals: Refusals,
    budget: Budget,
    /// Bytes.
    replay_limit: usize,
    idle_timeout: Duration,
    /// Bytes.
    max_body_size: Option<u64>,
    /// Bytes per second.
    min_body_rate: Option<u64>,
    metrics: WorkerMetrics,
}

#[derive(Clone)]
pub struct BearerLayer(pub Rc<Authorizer>);

#[derive(Clone)]
pub struct Bearer<S> {
    inner: S,
    authorizer: Rc<Authorizer>,
}

/// The head of a request, kept for a second attempt. A list is cheaper to copy than a map, and the map is rarely built again.
struct Head {
    method: Method,
    uri: http::Uri,
    fields: Vec<(HeaderName, HeaderValue)>,
}

/// A request before its first attempt.
struct Prepared {
    head: Head,
    /// The original map, for the first attempt.
    headers: Option<HeaderMap>,
    /// The body, until there is a token.
    incoming: Option<ClientIncoming>,
    /// The body is too large to be kept.
    large: bool,
    place: Option<Place>,
    wish: Option<UpgradeWish>,
    downstream: Option<OnUpgrade>,
}

// === impl Authorized ===

impl Authorized {
    fn new(mut request: Request<RequestBody>, token: &LiveToken) -> Self {
        request.headers_mut().insert(AUTHORIZATION, token.header.clone());
        Self { request, upgrade: false, buffer: None }
    }

    /// The request, whether it asks for another protocol, and its replay buffer.
    pub fn into_parts(self) -> (Request<RequestBody>, bool, Option<Rc<ReplayBuffer<ClientBody>>>) {
        (self.request, self.upgrade, self.buffer)
    }
}

// === impl Authorizer ===

impl Authorizer {
    /// Copies what a request touches, so that workers share no reference count.
    pub fn new(config: &Config, route: &Route, metrics: &WorkerMetrics) -> Self {
        let Upstream { config: upstream, budget, .. } = &*route.upstream;
        Self {
            tokens: route.tokens.clone(),
            hygiene: Hygiene::new(config, upstream),
            prefix: Prefix::new(&upstream.path_prefix),
            refusals: Refusals::new(upstream.refusal.clone()),
            budget: budget.clone(),
            replay_limit: upstream.replay_limit,
            idle_timeout: upstream.idle_timeout,
            max_body_size: config.guard.max_body_size,
            min_body_rate: config.guard.min_body_rate,
            metrics: metrics.clone(),
        }
    }

    async fn wait_for_token(&self, prepared: &mut Prepared) -> Result<Arc<LiveToken>, Failure> {
        let began = Instant::now();
        let token = self.tokens.wait_for_token(prepared.large).await;
        self.metrics.token_wait(began.elapsed());
        if token.is_err()
            && let Some(incoming) = prepared.incoming.take()
        {
            incoming.discard().await;
        }
        token.map_err(Failure::TokenUnavailable)
    }

    fn keep(
        &self,
        incoming: Option<ClientIncoming>,
        large: bool,
    ) -> (RequestBody, Option<Rc<ReplayBuffer<ClientBody>>>) {
        let Some(incoming) = incoming.filter(|incoming| !incoming.is_end_stream()) else {
            return (RequestBody::Empty, None);
        };
        let body = ClientBody::new(incoming, self.idle_timeout, self.max_body_size, self.min_body_rate);
        let (buffer, attempt) = if large {
            ReplayBuffer::streamed(body, &self.budget)
        } else {
            ReplayBuffer::new(body, self.replay_limit, &self.budget)
        };
        (RequestBody::Attempt(attempt), Some(Rc::new(buffer)))
    }

    /// The steps that need neither a token nor the upstream.
    fn prepare(&self, admitted: Admitted) -> Result<Prepared, Failure> {
        let (mut request, place) = admitted.into_parts();
        let version = request.version();
        let wish = self.hygiene.request(request.headers_mut(), version);
        let downstream = wish.is_some().then(|| hyper::upgrade::on(&mut request));
        let (mut parts, incoming) = request.into_parts();
        parts.uri = self.prefix.before(parts.uri).ok_or(Failure::BadRequest("the request target is too long"))?;
        let large = usize::try_from(incoming.size_hint().lower()).unwrap_or(usize::MAX) > self.replay_limit;
        let fields = parts.headers.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        let head = Head { method: parts.method, uri: parts.uri, fields };
        Ok(Prepared { head, headers: Some(parts.headers), incoming: Some(incoming), large, place, wish, downstream })
    }

    #[expect(clippy::manual_async_fn, reason = "the future of an `async fn` stores its arguments twice")]
    fn exchange<S>(
        self: Rc<Self>,
        mut upstream: S,
        mut prepared: Prepared,
    ) -> impl Future<Output = Result<Response<Body>, Failure>>
    where
        S: Service<Authorized, Response = Response<UpstreamBody>, Error = NoResponse>,
    {
        // Rare waits are boxed: every request in flight touches the memory that this future reserves.
        async move {
            let mut token = match self.tokens.at_hand(prepared.large) {
                Some(token) => token,
                None => Box::pin(self.wait_for_token(&mut prepared)).await?,
            };
            let (mut body, buffer) = self.keep(prepared.incoming.take(), prepared.large);
            let mut history = History::default();
            loop {
                let attempt = self.authorize(&mut prepared, std::mem::take(&mut body), &token, &buffer);
                let began = Instant::now();
                let outcome = upstream.call(attempt).await;
                let method = &prepared.head.method;
                // Two steps keep this future small: a `Judgement` has room for a response, and must not live while the request
                // waits for a token.
                let refused = match self.judge(outcome, began, &token, buffer.as_deref(), &mut history, method)? {
                    Judgement::PassOn(response) => return Ok(self.pass_on(response, buffer.as_deref(), &mut prepared)),
                    Judgement::Resend => None,
                    Judgement::Refused(response) => Some(response),
                };
                let replay = match refused {
                    None => ReplayReason::Connection,
                    Some(response) => match Box::pin(self.newer_token(&token, buffer.as_deref())).await? {
                        None => return Ok(self.pass_on(*response, buffer.as_deref(), &mut prepared)),
                        Some(newer) => {
                            token = newer;
                            // So that the connection can be used again.
                            read_rest(response.into_body());
                            ReplayReason::TokenRefused
                        }
                    },
                };
                body = match &buffer {
                    None => RequestBody::Empty,
                    Some(buffer) => match buffer.replay() {
                        Some(attempt) => RequestBody::Attempt(attempt),
                        // Unreachable: `judge` and `newer_token` checked that the body is whole.
                        None => return Err(Failure::Broken(super::error::Broken::Incomplete)),
                    },
                };
                history.replayed = Some(replay);
            }
        }
    }

    fn authorize(
        &self,
        prepared: &mut Prepared,
        body: RequestBody,
        token: &LiveToken,
        buffer: &Option<Rc<ReplayBuffer<ClientBody>>>,
    ) -> Authorized {
        let mut request = Request::new(body);
        *request.method_mut() = prepared.head.method.clone();
        *request.uri_mut() = prepared.head.uri.clone();
        *request.headers_mut() = prepared.headers.take().unwrap_or_else(|| prepared.head.headers());
        let mut authorized = Authorized::new(request, token);
        authorized.buffer = buffer.clone();
        if let Some(UpgradeWish(protocol)) = &prepared.wish {
            authorized.upgrade = true;
            let headers = authorized.request.headers_mut();
            headers.insert(http::header::CONNECTION, HeaderValue::from_static("upgrade"));
            headers.insert(http::header::UPGRADE, protocol.clone());
        }
        authorized
    }

    fn pass_on(
        &self,
        response: Response<UpstreamBody>,
        buffer: Option<&ReplayBuffer<ClientBody>>,
        prepared: &mut Prepared,
    ) -> Response<Body> {
        // The client may still be sending its body.
        if let Some(buffer) = buffer {
            buffer.release();
        }
        let (place, downstream) = (prepared.place.take(), prepared.downstream.take());
        if response.status() == http::StatusCode::SWITCHING_PROTOCOLS
            && let Some(downstream) = downstream
        {
            return tunnel::switch(response, downstream, self.idle_timeout, place, &self.hygiene);
        }
        let (mut parts, incoming) = response.into_parts();
        self.hygiene.response(&mut parts.headers);
        // Each hop has its own version (RFC 9110 §2.5). hyper would frame a response of version 1.0 as HTTP/1.0.
        parts.version = Version::HTTP_11;
        let reason = parts.extensions.remove::<ReasonPhrase>();
        parts.extensions.clear();
        // hyper adds this extension only for a phrase that is not the standard one of the status.
        if let Some(reason) = reason {
            parts.extensions.insert(reason);
        }
        Response::from_parts(parts, Body::upstream(incoming, self.idle_timeout).holding(place))
    }
}

// === impl Head ===

impl Head {
    fn headers(&self) -> HeaderMap {
        self.fields.iter().cloned().collect()
    }
}

// === impl Bearer ===

impl<S> Layer<S> for BearerLayer {
    type Service = Bearer<S>;

    fn layer(&self, inner: S) -> Bearer<S> {
        Bearer { inner, authorizer: Rc::clone(&self.0) }
    }
}

impl<S> Service<Admitted> for Bearer<S>
where
    S: Service<Authorized, Response = Response<UpstreamBody>, Error = NoResponse> + Clone + 'static,
{
    type Response = Response<Body>;
    type Error = Failure;
    type Future = LocalBoxFuture<Result<Response<Body>, Failure>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, admitted: Admitted) -> Self::Future {
        let authorizer = Rc::clone(&self.authorizer);
        match authorizer.prepare(admitted) {
            Ok(prepared) => Box::pin(authorizer.exchange(self.inner.clone(), prepared)),
            Err(failure) => Box::pin(ready(Err(failure))),
        }
    }
}
