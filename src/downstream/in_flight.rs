//! Requests in flight on one connection: counted from the head's arrival to the end of the response's body.

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

/// Consecutive refusals of client keys, until the connection is ended: an HTTP/2 client may have sent some at once.
const MAX_REFUSALS: u32 = 16;

/// Responses of the proxy's own that may wait for an HTTP/2 client to open a window. They cost the client nothing, and hold no place
/// among the requests in flight.
const MAX_UNREAD: u32 = 32;

/// What a connection's requests do, as its lifetime sees it.
pub(super) struct InFlight {
    count: Cell<u32>,
    /// Since when none is in flight.
    since: Cell<Instant>,
    /// How many requests' heads have come.
    requests: Cell<u64>,
    /// How many client keys were refused since one was accepted.
    refusals: Cell<u32>,
    /// Responses of the proxy's own that are not read, and since when there are too many.
    unread: Cell<u32>,
    hoarding: Cell<Option<Instant>>,
    /// No new request is answered: what was begun finishes.
    closed: Cell<bool>,
    admission: Option<Admission>,
    /// Since when the client's certificate is no longer accepted.
    revoked: Cell<Option<Instant>>,
    /// What the response body that was polled last did.
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
    /// It gave something away, and is not polled again before the client has taken it.
    Gave,
    /// It has nothing yet: the upstream's turn.
    Waits,
}

/// The service, as hyper wants it: without readiness, and counted.
pub(super) struct Counted<S> {
    service: RefCell<S>,
    in_flight: Rc<InFlight>,
}

/// One request in flight.
pub(super) struct InFlightGuard {
    in_flight: Rc<InFlight>,
    begun: Instant,
    /// Its response is the proxy's own.
    own: bool,
}

/// The request came after the end of its connection was announced, and was not looked at. By its cause, HTTP/2 resets the stream
/// with REFUSED_STREAM, so that the client may send the request again elsewhere (RFC 9113 §8.7). HTTP/1 closes the connection.
#[derive(Debug, thiserror::Error)]
#[error("the connection takes no more requests")]
pub(super) struct TurnedAway(#[source] h2::Error);

pin_project_lite::pin_project! {
    /// Until the response's head.
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
        // Boxed, since it is rare and holds the whole request.
        NotReady { #[pin] future: Pin<Box<Oneshot<S, Request<Incoming>>>> },
        TurnedAway,
    }
}

pin_project_lite::pin_project! {
    /// The response's body, until it ends or is dropped.
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

    /// Since when none is in flight; since connect, before the first. Without meaning while one is.
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

    /// Since when the worker drains.
    pub(super) fn drained(&self) -> Option<Instant> {
        self.draining.since()
    }

    /// Whether new requests are turned away.
    pub(super) fn is_closed(&self) -> bool {
        self.closed.get()
    }

    /// From now on, new requests are turned away.
    pub(super) fn close(&self) {
        self.closed.set(true);
    }

    /// Ends the connection if its client's certificate is no longer accepted.
    pub(super) fn recheck(&self) {
        if self.revoked.get().is_none() && self.admission.as_ref().is_some_and(Admission::is_revoked) {
            tracing::debug!("a connection ends: its client's certificate is not accepted any more");
            self.revoked.set(Some(Instant::now()));
            self.close();
        }
    }

    /// Since when the client's certificate is no longer accepted.
    pub(super) fn revoked(&self) -> Option<Instant> {
        self.revoked.get()
    }

    /// Since when the client leaves too many responses of the proxy's own unread.
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

    /// A response is there. HTTP/1 ends a connection with the first refusal.
    fn answered<B>(&self, response: &Response<B>) {
        let refused = response.extensions().get::<KeyRefused>().is_some();
        let refusals = if refused { self.refusals.get() + 1 } else { 0 };
        self.refusals.set(refusals);
        if refusals == MAX_REFUSALS {
            tracing::debug!("a connection ends: its requests have no valid client key");
            self.close();
        }
    }

    /// What a response body did since this was last asked.
    pub(super) fn take_body_poll(&self) -> BodyPoll {
        self.body.take()
    }

    /// Whether a response has to say that it is the connection's last. A service may answer at once: then there is no moment
    /// between request and response in which hyper could be told.
    ///
    /// So it is with an error that comes before the whole request has: hyper reads no rest, and the client should know that
    /// (RFC 9110 §10.1.1). An early success reads on.
    fn is_last(&self, status: StatusCode) -> bool {
        let is_early = !status.is_success() && self.signals.is_receiving(self.requests.get());
        let ends = self.draining.since().is_some() || self.is_closed() || self.ambiguity().is_some() || is_early;
        ends && self.protocol == Protocol::Http1 && status != StatusCode::SWITCHING_PROTOCOLS
    }

    /// Of the request whose head has come last.
    fn ambiguity(&self) -> Option<Ambiguity> {
        self.signals.ambiguity(self.requests.get())
    }

    pub(super) fn begin(self: &Rc<Self>) -> InFlightGuard {
        self.count.set(self.count.get() + 1);
        self.requests.set(self.requests.get() + 1);
        // What was read up to here is this request's.
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
        // Mostly it is ready at once, and neither a clone nor a wake-up is needed.
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
            // What was read up to here was this request's body, not the next one's head.
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
                    // To a response of version 1.1, hyper would add `keep-alive`.
                    *response.version_mut() = Version::HTTP_10;
                }
                Poll::Ready(Ok(response.map(|body| CountedBody { body, guard })))
            }
            // Polled after its end.
            None => Poll::Pending,
        }
    }
}

/// HTTP/1.0 has no chunks: a response of unknown length ends with its connection, which must not be said to stay open
/// (RFC 9112 §9.3).
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

    // Both decide how hyper frames the message.
    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
