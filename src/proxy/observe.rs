//! The outermost layer: every request gets an answer, is counted, and is logged if so configured.
//!
//! This is the one place where a [`Failure`] becomes a response and a log line. The path is logged, never the query.

use std::convert::Infallible;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use http::header::{CONNECTION, HeaderValue};
use http::uri::PathAndQuery;
use http::{Method, Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use tokio::time::Instant;
use tower::{Layer, Service};

use super::body::Body;
use super::error::Failure;
use crate::config::LogRequests;
use crate::downstream::{KeyRefused, OwnResponse};
use crate::metrics::{InFlight, Source, WorkerMetrics};

/// What one worker's exchanges are told to.
pub struct Observer {
    pub metrics: WorkerMetrics,
    pub log: LogRequests,
    /// The gateway's name, for `Proxy-Status`.
    pub via: String,
}

/// One request and its answer, from its head to the answer's last byte. It is counted when it is dropped.
pub struct Exchange {
    observer: Rc<Observer>,
    began: Instant,
    method: Method,
    path: Option<PathAndQuery>,
    /// `None`: nothing was answered; the client has gone.
    answer: Option<(StatusCode, Source)>,
    /// Why the proxy answered for itself: problem type and text.
    failure: Option<(&'static str, String)>,
    cut: bool,
    _in_flight: InFlight,
}

#[derive(Clone)]
pub struct ObserveLayer(pub Rc<Observer>);

#[derive(Clone)]
pub struct Observe<S> {
    inner: S,
    observer: Rc<Observer>,
}

/// Until the response's head. No `async` block, which would need a box of its own.
pub struct Observed<A> {
    answer: A,
    /// `None`: answered.
    exchange: Option<Box<Exchange>>,
    is_http1: bool,
}

/// How a client that went away before its answer is counted; nginx's unregistered 499.
const CLIENT_GONE: u16 = 499;

// === impl Exchange ===

impl Exchange {
    fn new(observer: &Rc<Observer>, method: &Method, uri: &http::Uri) -> Box<Self> {
        Box::new(Self {
            began: Instant::now(),
            method: method.clone(),
            path: uri.path_and_query().cloned().filter(|_| observer.log != LogRequests::None),
            answer: None,
            failure: None,
            cut: false,
            _in_flight: observer.metrics.in_flight(),
            observer: Rc::clone(observer),
        })
    }

    /// The answer's body has ended; `cut`: before its end.
    pub(super) fn body_ended(&mut self, cut: bool) {
        self.cut = cut;
    }

    /// The proxy's own answer.
    fn failed(&mut self, failure: &Failure, is_http1: bool) -> Response<Body> {
        if !matches!(failure, Failure::ClientGone) {
            if self.observer.log != LogRequests::None {
                self.failure = Some((failure.kind(), failure.to_string()));
            }
            self.answer = Some((failure.status(), Source::Proxy));
        }
        let mut response = failure.response(&self.observer.via);
        if is_http1 && failure.ends_connection() {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        if !is_http1 {
            response.extensions_mut().insert(OwnResponse);
        }
        if let Failure::ClientKeyRequired = failure {
            response.extensions_mut().insert(KeyRefused);
        }
        response
    }

    fn log(&self, status: StatusCode, source: Source) {
        let wanted = match self.observer.log {
            LogRequests::None => false,
            LogRequests::All => true,
            LogRequests::Errors => source == Source::Proxy || status.is_server_error() || self.cut,
        };
        if wanted {
            let (kind, error) = self.failure.as_ref().map(|(kind, error)| (*kind, error.as_str())).unzip();
            tracing::info!(
                method = self.method.as_str(),
                path = self.path.as_ref().map_or("-", PathAndQuery::path),
                status = status.as_u16(),
                source = source.name(),
                kind,
                error,
                cut = self.cut,
                duration_ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX),
                "request"
            );
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let gone = StatusCode::from_u16(CLIENT_GONE).unwrap_or(StatusCode::BAD_REQUEST);
        let (status, source) = self.answer.unwrap_or((gone, Source::Proxy));
        self.observer.metrics.request(&self.method, status, source, self.began.elapsed());
        if self.answer.is_some() {
            self.log(status, source);
        }
    }
}

// === impl Observe ===

impl<S> Layer<S> for ObserveLayer {
    type Service = Observe<S>;

    fn layer(&self, inner: S) -> Observe<S> {
        Observe { inner, observer: Rc::clone(&self.0) }
    }
}

impl<S, A> Service<Request<Incoming>> for Observe<S>
where
    S: Service<Request<Incoming>, Response = Response<Body>, Error = Failure, Future = A>,
    A: Future<Output = Result<Response<Body>, Failure>> + Unpin,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Observed<A>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // No layer below has a readiness of its own: what is full says so in its answer.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Incoming>) -> Observed<A> {
        let exchange = Exchange::new(&self.observer, request.method(), request.uri());
        let is_http1 = request.version() < Version::HTTP_2;
        Observed { answer: self.inner.call(request), exchange: Some(exchange), is_http1 }
    }
}

// === impl Observed ===

impl<A: Future<Output = Result<Response<Body>, Failure>> + Unpin> Future for Observed<A> {
    type Output = Result<Response<Body>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = ready!(Pin::new(&mut self.answer).poll(cx));
        // Polled after its end.
        let Some(mut exchange) = self.exchange.take() else { return Poll::Pending };
        let response = match answer {
            Ok(response) => {
                exchange.answer = Some((response.status(), Source::Upstream));
                response
            }
            Err(failure) => exchange.failed(&failure, self.is_http1),
        };
        Poll::Ready(Ok(response.map(|body| body.ending(exchange))))
    }
}
