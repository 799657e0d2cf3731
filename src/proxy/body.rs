//! The two bodies of an exchange, each with an idle limit.
//!
//! The client sends a [`ClientBody`]. The client is at fault if it pauses for longer than `upstream.idle_timeout` (408) or sends
//! more than `guard.max_body_size` (413). The client gets a [`Body`]: the upstream's body, or a document of the proxy. If one
//! side's body ends in an error, the other side's is cut too, and never looks complete.

use std::error::Error;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use tokio::time::{Instant, Sleep};

use super::exchange::Exchange;
use super::headers;
use super::in_flight::Place;
use super::incoming::ClientIncoming;
use super::pace::Pace;
use crate::upstream::pool::UpstreamBody;

/// The error type of bodies that hyper accepts.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The body that the client sends.
pub struct ClientBody {
    incoming: ClientIncoming,
    idle: Idle,
    /// How many more bytes are allowed.
    left: Option<u64>,
    pace: Option<Pace>,
    fault: Option<ClientFault>,
}

/// How a client failed to send its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClientFault {
    #[error("the request body stalled")]
    Stalled,
    #[error("the request body is too slow")]
    TooSlow,
    #[error("the request body is too large")]
    TooLarge,
    #[error("the request body ended too early")]
    Broken,
    #[error("the request body is malformed")]
    Malformed,
}

/// The body that the client gets.
pub struct Body {
    kind: Kind,
    /// Ends with the body: that counts and logs the exchange, and frees its place.
    exchange: Option<Box<Exchange>>,
    place: Option<Place>,
}

enum Kind {
    Full(Option<Bytes>),
    Upstream(Streamed),
}

/// The upstream's body.
struct Streamed {
    incoming: UpstreamBody,
    idle: Idle,
    next: Next,
}

/// What follows in the upstream's body.
enum Next {
    Piece,
    /// The next poll returns this error. The poll before it is pending, because hyper then writes its queue. On an error, hyper
    /// drops the queue, even the head.
    Cut(BoxError),
    /// Trailers are always the last.
    Nothing,
}

/// The pause between two pieces of the upstream's body was too long.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the upstream sent nothing of the response body for {0:?} (upstream.idle_timeout)")]
pub struct UpstreamStalled(Duration);

/// A limit on the time between two pieces. The timer exists only after a first wait.
struct Idle {
    limit: Duration,
    sleep: Option<Pin<Box<Sleep>>>,
    /// Whether `sleep` is set for the present wait.
    armed: bool,
}

// === impl ClientBody ===

impl ClientBody {
    /// `limit`: in bytes. `min_rate`: in bytes per second.
    pub fn new(incoming: ClientIncoming, idle: Duration, limit: Option<u64>, min_rate: Option<u64>) -> Self {
        Self { incoming, idle: Idle::new(idle), left: limit, pace: min_rate.map(Pace::new), fault: None }
    }

    /// How the client failed, if it did.
    pub fn fault(&self) -> Option<ClientFault> {
        self.fault
    }

    fn failed(&mut self, fault: ClientFault) -> Poll<Option<Result<Frame<Bytes>, ClientFault>>> {
        self.fault = Some(fault);
        Poll::Ready(Some(Err(fault)))
    }
}

impl http_body::Body for ClientBody {
    type Data = Bytes;
    type Error = ClientFault;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ClientFault>>> {
        let this = self.get_mut();
        match Pin::new(&mut this.incoming).poll_frame(cx) {
            Poll::Pending if this.idle.poll_over(cx) => this.failed(ClientFault::Stalled),
            Poll::Pending if this.pace.as_mut().is_some_and(|pace| pace.poll_too_slow(cx)) => {
                this.failed(ClientFault::TooSlow)
            }
            Poll::Pending => Poll::Pending,
            Poll::Ready(Some(Ok(mut frame))) => {
                this.idle.moved();
                if let Some(pace) = &mut this.pace {
                    pace.moved(frame.data_ref().map_or(0, Bytes::len));
                }
                if let (Some(left), Some(data)) = (&mut this.left, frame.data_ref()) {
                    match left.checked_sub(data.len() as u64) {
                        Some(less) => *left = less,
                        None => return this.failed(ClientFault::TooLarge),
                    }
                }
                if let Some(trailers) = frame.trailers_mut() {
                    if this.incoming.is_http2() && headers::has_padding(trailers) {
                        return this.failed(ClientFault::Malformed);
                    }
                    headers::trailers(trailers);
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => this.failed(ClientFault::new(&error)),
            Poll::Ready(None) => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

// === impl ClientFault ===

impl ClientFault {
    /// hyper reports a malformed chunk like a lost connection. Only the kind of the I/O error below differs.
    fn new(error: &hyper::Error) -> Self {
        let mut causes = std::iter::successors(error.source(), |cause| (*cause).source());
        match causes.find_map(|cause| cause.downcast_ref::<io::Error>()).map(io::Error::kind) {
            Some(io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput) => Self::Malformed,
            _ => Self::Broken,
        }
    }
}

// === impl Body ===

impl Body {
    pub fn full(bytes: Bytes) -> Self {
        Self { kind: Kind::Full(Some(bytes).filter(|bytes| !bytes.is_empty())), exchange: None, place: None }
    }

    pub fn empty() -> Self {
        Self::full(Bytes::new())
    }

    pub fn upstream(incoming: UpstreamBody, idle: Duration) -> Self {
        let streamed = Streamed { incoming, idle: Idle::new(idle), next: Next::Piece };
        Self { kind: Kind::Upstream(streamed), exchange: None, place: None }
    }

    /// The exchange ends with the body.
    pub(super) fn ending(mut self, exchange: Box<Exchange>) -> Self {
        self.exchange = Some(exchange);
        self
    }

    /// The place among the requests in flight is freed with the end of the body.
    pub(super) fn holding(mut self, place: Option<Place>) -> Self {
        self.place = place;
        self
    }

    fn ended(&mut self, cut: bool) {
        self.place = None;
        if let Some(mut exchange) = self.exchange.take() {
            exchange.body_ended(cut);
        }
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        let polled = match &mut this.kind {
            Kind::Full(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Kind::Upstream(streamed) => streamed.poll_frame(cx),
        };
        match &polled {
            Poll::Ready(None) => this.ended(false),
            Poll::Ready(Some(Err(_))) => this.ended(true),
            // hyper does not poll again after a body says that it has ended.
            Poll::Ready(Some(Ok(_))) if this.is_end_stream() => this.ended(false),
            _ => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Full(bytes) => bytes.is_none(),
            Kind::Upstream(streamed) => streamed.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Full(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Kind::Upstream(streamed) => streamed.incoming.size_hint(),
        }
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        // hyper drops a body without polling for its end once the announced bytes have arrived.
        let whole = self.is_end_stream() || matches!(&self.kind, Kind::Upstream(streamed) if streamed.has_all_bytes());
        self.ended(!whole);
    }
}

// === impl Streamed ===

impl Streamed {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match std::mem::replace(&mut self.next, Next::Nothing) {
            Next::Piece => self.next = Next::Piece,
            Next::Cut(error) => return Poll::Ready(Some(Err(error))),
            Next::Nothing => return Poll::Ready(None),
        }
        match Pin::new(&mut self.incoming).poll_frame(cx) {
            Poll::Ready(Some(Ok(mut frame))) => {
                self.idle.moved();
                if let Some(trailers) = frame.trailers_mut() {
                    headers::trailers(trailers);
                    self.next = Next::Nothing;
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => self.cut(error.into(), cx),
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending if self.idle.poll_over(cx) => self.cut(UpstreamStalled(self.idle.limit).into(), cx),
            Poll::Pending => Poll::Pending,
        }
    }

    fn cut(&mut self, error: BoxError, cx: &Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.next = Next::Cut(error);
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn is_end_stream(&self) -> bool {
        match self.next {
            Next::Piece => self.incoming.is_end_stream(),
            Next::Cut(_) => false,
            Next::Nothing => true,
        }
    }

    fn has_all_bytes(&self) -> bool {
        matches!(self.next, Next::Piece) && self.incoming.size_hint().exact() == Some(0)
    }
}

// === impl Idle ===

impl Idle {
    fn new(limit: Duration) -> Self {
        Self { limit, sleep: None, armed: false }
    }

    /// A piece arrived.
    fn moved(&mut self) {
        self.armed = false;
    }

    /// To be called only while there is no piece. Returns whether the pause is too long.
    fn poll_over(&mut self, cx: &mut Context<'_>) -> bool {
        let sleep = match &mut self.sleep {
            Some(sleep) => sleep,
            None => {
                self.armed = true;
                self.sleep.insert(Box::pin(tokio::time::sleep(self.limit)))
            }
        };
        if !self.armed {
            sleep.as_mut().reset(Instant::now() + self.limit);
            self.armed = true;
        }
        sleep.as_mut().poll(cx).is_ready()
    }
}
