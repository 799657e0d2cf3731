//! Requests in flight on one connection, counted from the arrival of the head to the end of the response body.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use http::header::{CONNECTION, CONTENT_LENGTH};
use http::{HeaderValue, Request, Response, StatusCode, Version};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::Instant;
use tower::util::Oneshot;

use super::admission::Admission;
use super::drain::Draining;
use super::event_batching::EventBatching;
use super::protocol::Protocol;
use super::service::{KeyRefused, OwnResponse, Service};
use super::signals::{Ambiguity, Signals};

/// Number of consecutive refusals of client keys after which the connection ends. An HTTP/2 client may have sent several requests at
/// once.
const MAX_REFUSALS: u32 = 16;

/// Maximum number of responses made by the proxy itself that wait for an HTTP/2 client to open a window. They cost the client nothing, and
/// do not count among the requests in flight.
const MAX_UNREAD: u32 = 32;

/// The state of the requests of a connection, for its lifetime.
pub(super) struct InFlight {
    count: Cell<u32>,
    /// When the last request in flight ended.
    since: Cell<Instant>,
    /// Number of request heads that have arrived.
    requests: Cell<u64>,
    /// Number of client keys that were refused since one was accepted.
    refusals: Cell<u32>,
    /// Number of unread responses made by the proxy itself, and when they became too many.
    unread: Cell<u32>,
    hoarding: Cell<Option<Instant>>,
    /// The connection takes no new requests. Requests in flight finish.
    closed: Cell<bool>,
    admission: Option<Admission>,
    /// When a check rejected the client's certificate.
    revoked: Cell<Option<Instant>>,
    /// The result of the last poll of a response body.
    body: Cell<BodyPoll>,
    signals: Arc<Signals>,
    protocol: Protocol,
    draining: Rc<Draining>,
    event_batching: Arc<EventBatching>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum BodyPoll {
    /// Not polled.
    #[default]
    Untouched,
    /// It returned a frame, and is not polled again before the client has taken it.
    Gave,
    /// It waits for the upstream.
    Waits,
}

/// The service for hyper: without readiness, and counted.
pub(super) struct Counted<S> {
    service: RefCell<S>,
    in_flight: Rc<InFlight>,
}

/// One request in flight.
pub(super) struct InFlightGuard {
    in_flight: Rc<InFlight>,
    begun: Instant,
    /// The proxy itself made the response.
    own: bool,
}

/// The request arrived after the connection had announced its end, and was not processed. Because of the cause, HTTP/2 resets the stream
/// with REFUSED_STREAM, so that the client may send the request again elsewhere (RFC 9113 §8.7). HTTP/1 closes the connection.
#[derive(Debug, thiserror::Error)]
#[error("the connection takes no more requests")]
pub(super) struct TurnedAway(#[source] h2::Error);

pin_project_lite::pin_project! {
    /// A request until the head of its response.
    pub(super) struct Call<S: Service> {
        #[pin]
        state: CallState<S>,
        guard: Option<InFlightGuard>,
        is_http10: bool,
    }
}

pin_project_lite::pin_project! {
    #[project = CallStateProjection]
    enum CallState<S: Service> {
        Called { #[pin] future: S::Future },
        // Boxed, because it is rare and contains the whole request.
        NotReady { #[pin] future: Pin<Box<Oneshot<S, Request<Incoming>>>> },
        TurnedAway,
    }
}

pin_project_lite::pin_project! {
    /// The body of a response, until it ends or is dropped.
    pub(super) struct CountedBody<B> {
        #[pin]
        body: B,
        guard: InFlightGuard,
    }
}

// === impl InFlight ===

impl InFlight {
    pub(super) fn new(
        signals: Arc<Signals>,
        protocol: Protocol,
        admission: Option<Admission>,
        draining: Rc<Draining>,
        event_batching: Arc<EventBatching>,
    ) -> Rc<Self> {
        Rc::new(Self {
            count: Cell::new(0),
            since: Cell::new(Instant::now()),
            requests: Cell::new(0),
            refusals: Cell::new(0),
            unread: Cell::new(0),
            hoarding: Cell::new(None),
            closed: Cell::new(false),
            admission,
            revoked: Cell::new(None),
            body: Cell::default(),
            signals,
            protocol,
            draining,
            event_batching,
        })
    }

    pub(super) fn is_busy(&self) -> bool {
        self.count.get() > 0
    }

    /// When the last request ended; before the first request, when the client connected. Meaningless while a request is in flight.
    pub(super) fn since(&self) -> Instant {
        self.since.get()
    }

    pub(super) fn has_served(&self) -> bool {
        self.requests.get() > 0
    }

    pub(super) fn signals(&self) -> &Signals {
        &self.signals
    }

    pub(super) fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// When the drain of the worker began.
    pub(super) fn drained(&self) -> Option<Instant> {
        self.draining.since()
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.get()
    }

    pub(super) fn close(&self) {
        self.closed.set(true);
    }

    /// Ends the connection if its client's certificate is no longer accepted.
    pub(super) fn recheck(&self) {
        if self.revoked.get().is_none() && self.admission.as_ref().is_some_and(Admission::is_revoked) {
            tracing::debug!("a connection ends: the client's certificate is no longer accepted");
            self.revoked.set(Some(Instant::now()));
            self.close();
        }
    }

    pub(super) fn revoked(&self) -> Option<Instant> {
        self.revoked.get()
    }

    pub(super) fn hoarding(&self) -> Option<Instant> {
        self.hoarding.get()
    }

    fn add_unread(&self) {
        self.unread.set(self.unread.get() + 1);
        if self.unread.get() > MAX_UNREAD && self.hoarding.get().is_none() {
            self.hoarding.set(Some(Instant::now()));
        }
    }

    fn take_unread(&self) {
        self.unread.set(self.unread.get().saturating_sub(1));
        if self.unread.get() <= MAX_UNREAD {
            self.hoarding.set(None);
        }
    }

    /// Counts refusals of client keys. HTTP/1 ends the connection with the first one.
    fn answered<B>(&self, response: &Response<B>) {
        let refused = response.extensions().get::<KeyRefused>().is_some();
        let refusals = if refused { self.refusals.get() + 1 } else { 0 };
        self.refusals.set(refusals);
        if refusals == MAX_REFUSALS {
            tracing::debug!("a connection ends: its requests have no valid client key");
            self.close();
        }
    }

    /// The result of the last poll of a response body since the last call.
    pub(super) fn take_body_poll(&self) -> BodyPoll {
        self.body.take()
    }

    /// Whether a response must announce that it is the last one of its connection. `graceful_shutdown` is not enough: if the
    /// service answers at once, it cannot be called between request and response.
    ///
    /// An error before the end of the request is also the last response: hyper does not read the rest, and the client should know that
    /// (RFC 9110 §10.1.1). After an early success, hyper reads on.
    fn is_last(&self, status: StatusCode) -> bool {
        let is_early = !status.is_success() && self.signals.is_receiving(self.requests.get());
        let ends = self.draining.since().is_some() || self.is_closed() || self.ambiguity().is_some() || is_early;
        ends && self.protocol == Protocol::Http1 && status != StatusCode::SWITCHING_PROTOCOLS
    }

    /// The ambiguity of the request whose head arrived last.
    fn ambiguity(&self) -> Option<Ambiguity> {
        self.signals.ambiguity(self.requests.get())
    }

    pub(super) fn begin(self: &Rc<Self>) -> InFlightGuard {
        self.count.set(self.count.get() + 1);
        self.requests.set(self.requests.get() + 1);
        // The bytes read so far belong to this request.
        self.signals.forget_read();
        self.signals.set_busy(self.protocol == Protocol::Http1);
        self.event_batching.began();
        InFlightGuard { in_flight: self.clone(), begun: Instant::now(), own: false }
    }
}

// === impl Counted ===

impl<S: Service> Counted<S> {
    pub(super) fn new(service: S, in_flight: Rc<InFlight>) -> Self {
        Self { service: RefCell::new(service), in_flight }
    }
}

impl<S: Service> hyper::service::Service<Request<Incoming>> for Counted<S> {
    type Response = Response<CountedBody<S::Body>>;
    type Error = TurnedAway;
    type Future = Call<S>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        self.in_flight.recheck();
        if self.in_flight.is_closed() {
            return Call { state: CallState::TurnedAway, guard: None, is_http10: false };
        }
        let guard = Some(self.in_flight.begin());
        let is_http10 = request.version() == Version::HTTP_10;
        if let Some(ambiguity) = self.in_flight.ambiguity() {
            request.extensions_mut().insert(ambiguity);
        }
        let mut service = self.service.borrow_mut();
        // Usually the service is ready at once, and needs neither a clone nor a wake-up.
        let state = match service.poll_ready(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(())) => CallState::Called { future: service.call(request) },
            Poll::Pending => CallState::NotReady { future: Box::pin(Oneshot::new(service.clone(), request)) },
        };
        Call { state, guard, is_http10 }
    }
}

// === impl InFlightGuard ===

impl Drop for InFlightGuard {
    fn drop(&mut self) {
        let Self { in_flight, begun, own } = self;
        if *own {
            in_flight.take_unread();
        }
        let now = Instant::now();
        in_flight.event_batching.ended(now.duration_since(*begun));
        let left = in_flight.count.get() - 1;
        in_flight.count.set(left);
        if left == 0 {
            in_flight.since.set(now);
            in_flight.signals.set_busy(false);
            // The bytes read so far belong to the body of this request, not to the head of the next one.
            in_flight.signals.forget_read();
        }
    }
}

// === impl TurnedAway ===

impl TurnedAway {
    fn new() -> Self {
        Self(h2::Reason::REFUSED_STREAM.into())
    }
}

// === impl Call ===

impl<S: Service> Future for Call<S> {
    type Output = Result<Response<CountedBody<S::Body>>, TurnedAway>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let Ok(mut response) = ready!(match this.state.project() {
            CallStateProjection::Called { future } => future.poll(cx),
            CallStateProjection::NotReady { future } => future.poll(cx),
            CallStateProjection::TurnedAway => return Poll::Ready(Err(TurnedAway::new())),
        });
        match this.guard.take() {
            Some(mut guard) => {
                guard.in_flight.answered(&response);
                if response.extensions().get::<OwnResponse>().is_some() {
                    guard.own = true;
                    guard.in_flight.add_unread();
                }
                if guard.in_flight.is_last(response.status()) || (*this.is_http10 && ends_with_connection(&response)) {
                    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                }
                if *this.is_http10 && response.headers().get(CONNECTION).is_some_and(|option| option == "close") {
                    // hyper would add `keep-alive` to a response of version 1.1.
                    *response.version_mut() = Version::HTTP_10;
                }
                Poll::Ready(Ok(response.map(|body| CountedBody { body, guard })))
            }
            // Polled after the end.
            None => Poll::Pending,
        }
    }
}

/// HTTP/1.0 has no chunks: a response of unknown length ends with its connection, so `keep-alive` would be wrong (RFC 9112 §9.3).
fn ends_with_connection<B: Body>(response: &Response<B>) -> bool {
    !response.headers().contains_key(CONTENT_LENGTH) && response.body().size_hint().exact().is_none()
}

// === impl CountedBody ===

impl<B: Body> Body for CountedBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let this = self.project();
        let frame = this.body.poll_frame(cx);
        this.guard.in_flight.body.set(if frame.is_ready() { BodyPoll::Gave } else { BodyPoll::Waits });
        frame
    }

    // hyper derives the framing from these two values.
    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
