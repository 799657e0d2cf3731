//! An HTTP/2 connection: as many requests at a time as the upstream allows.
//!
//! It uses h2's client directly. hyper's client adds a queue, a task and two channels per request, which the pool does not need: it
//! never sends more requests than there is room for.
//!
//! The upstream's limit is unknown until its SETTINGS arrive. Until then, one request is sent: to wait would cost each new
//! connection a round trip. The others wait for the limit, because the upstream refuses requests above it.

mod drive;

use std::cell::{Cell, RefCell};
use std::future::ready;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::Either;
use h2::Reason;
use h2::client::{ResponseFuture, SendRequest};
use http::Request;
use tokio::time::Instant;

use crate::outbound::Protocol;
use crate::upstream::failure::{FailureKind, SendFailure};

use super::auth_indexing::AuthIndexing;
use super::framing;
use super::keepalive::Times;
use super::open_stream::{OpenStream, Streams};
use super::opening::Opening;
use super::target::Target;
use super::transport::Received;
use super::upload::{Upload, Uploaded};
use super::{Pool, RequestBody, SendResult, UpstreamBody};

pub(super) use self::drive::start;

pub(super) struct Conn<B: RequestBody> {
    pool: Weak<Pool<B>>,
    /// Dropping it ends h2's connection after its last stream.
    sender: RefCell<Option<SendRequest<Bytes>>>,
    auth: AuthIndexing,
    /// Streams in use, including those whose permit is not used yet.
    open: Cell<usize>,
    limit: Cell<usize>,
    /// The upstream's SETTINGS arrived.
    opened: Cell<bool>,
    /// The connection takes no new requests, and ends with its last stream.
    retired: Cell<bool>,
    /// The connection has carried a response.
    reused: Cell<bool>,
    received: Arc<Received>,
    /// When the last byte arrived.
    received_at: Cell<Instant>,
    keepalive: Times,
    /// Bytes of responses that clients have taken, or left for good.
    taken: Cell<u64>,
    idle_since: Cell<Instant>,
    retires_at: Instant,
    /// After the response head: how long the rest of a request may wait for its window.
    upload_stall: Duration,
}

/// The right to send one request.
pub(super) struct Permit<B: RequestBody> {
    conn: Rc<Conn<B>>,
    stream: OpenStream,
}

/// A request that was sent. It waits for the response head.
struct Sent<B: RequestBody> {
    conn: Rc<Conn<B>>,
    reused: bool,
    /// `None`: the response holds it.
    place: Option<OpenStream>,
    /// The sender of this request alone. `None`: the response head arrived.
    sender: Option<SendRequest<Bytes>>,
    response: ResponseFuture,
    /// `None`: the request body ended.
    upload: Option<Upload<B>>,
}

// === impl Conn ===

impl<B: RequestBody> Conn<B> {
    pub(super) fn open(&self) -> usize {
        self.open.get()
    }

    pub(super) fn has_room(&self) -> bool {
        self.open.get() < self.limit.get() && !self.retired.get()
    }

    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.retires_at <= now
    }

    pub(super) fn is_opened(&self) -> bool {
        self.opened.get()
    }

    pub(super) fn is_idle_for(&self, time: Duration, now: Instant) -> bool {
        self.open.get() == 0 && now.duration_since(self.idle_since.get()) >= time
    }

    pub(super) fn received_at(&self) -> Instant {
        self.received_at.get()
    }

    /// Bytes of responses that arrived and wait for their clients.
    pub(super) fn waiting(&self) -> u64 {
        self.received.data().saturating_sub(self.taken.get())
    }

    /// To be called only if [`Self::has_room`].
    pub(super) fn permit(self: &Rc<Self>) -> Permit<B> {
        Permit { conn: Rc::clone(self), stream: self.take_place() }
    }

    fn take_place(self: &Rc<Self>) -> OpenStream {
        self.open.set(self.open.get() + 1);
        OpenStream::new(Rc::<Self>::clone(self))
    }

    /// Takes no more requests. The connection ends with the last request in flight.
    pub(super) fn retire(&self) {
        self.retired.set(true);
        if self.open.get() == 0 {
            self.sender.take();
        }
    }

    /// Returns a sender for one request. A shared sender would hold a request that waits for the upstream's limit, and the request
    /// could not be cancelled. Returns `None` if the connection takes no more requests: after a GOAWAY, or after its end.
    fn sender(&self) -> Option<SendRequest<Bytes>> {
        let mut sender = self.sender.borrow().clone()?;
        matches!(readiness(&mut sender), Poll::Ready(Ok(()))).then_some(sender)
    }

    fn failure(self: &Rc<Self>, error: &h2::Error, reused: bool) -> Box<SendFailure<B>> {
        let mut failure = SendFailure::from_h2(error, reused);
        match failure.kind {
            // The first request that meets a GOAWAY removes the connection from the pool.
            FailureKind::GoneAway => self.leave(),
            FailureKind::Http1Required if !self.pool.upgrade().is_some_and(|pool| pool.require_http1()) => {
                failure.kind = FailureKind::Reset(Reason::HTTP_1_1_REQUIRED.into());
            }
            _ => {}
        }
        failure
    }

    /// Takes no more requests, and removes the connection from the pool.
    fn leave(self: &Rc<Self>) {
        self.retire();
        if let Some(pool) = self.pool.upgrade() {
            pool.forget(self);
        }
    }

    fn allow(self: &Rc<Self>, limit: usize) {
        if self.limit.replace(limit) < limit
            && let Some(pool) = self.pool.upgrade()
        {
            pool.share(self);
        }
    }

    /// The limit is known. The connection now serves waiting requests, and replaces old connections.
    fn has_opened(self: &Rc<Self>, opening: Opening<B>) {
        self.opened.set(true);
        if let Some(pool) = self.pool.upgrade() {
            pool.took_over(self);
        }
        opening.succeeded(self.limit.get());
    }
}

impl<B: RequestBody> Streams for Conn<B> {
    fn took(&self, bytes: usize) {
        self.taken.set(self.taken.get().saturating_add(bytes as u64));
    }

    fn ended(self: Rc<Self>) {
        self.open.set(self.open.get() - 1);
        if self.open.get() == 0 && self.retired.get() {
            self.sender.take();
            return;
        }
        let Some(pool) = self.pool.upgrade() else { return };
        if self.open.get() == 0 {
            self.idle_since.set(pool.now.get());
        }
        pool.share(&self);
    }
}

// === impl Permit ===

impl<B: RequestBody> Permit<B> {
    /// Sends at once. The future waits for the response head.
    pub(super) fn send(self, target: &Target, mut request: Request<B>) -> impl Future<Output = SendResult<B>> + use<B> {
        let Self { conn, stream: place } = self;
        let reused = conn.reused.get();
        let Some(mut sender) = conn.sender() else {
            conn.leave();
            // The upstream did not refuse every request of an opened connection, so the request may go to another connection.
            let reused = reused || conn.is_opened();
            return Either::Left(ready(Err(SendFailure::handed_back(request, reused, Protocol::Http2))));
        };
        target.fit_http2(&mut request);
        let replaced = conn.auth.replace_token(request.headers_mut());
        let (head, body) = request.into_parts();
        let ends = body.is_end_stream();
        match sender.send_request(Request::from_parts(head, ()), ends) {
            Ok((response, stream)) => {
                if let Some(replaced) = replaced {
                    conn.auth.expect(response.stream_id().as_u32(), replaced);
                }
                let upload = (!ends).then(|| Upload::new(body, stream));
                Either::Right(Sent { conn, reused, place: Some(place), sender: Some(sender), response, upload })
            }
            Err(error) => Either::Left(ready(Err(conn.failure(&error, reused)))),
        }
    }
}

// === impl Sent ===

impl<B: RequestBody> Future for Sent<B> {
    type Output = SendResult<B>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let unfit = |kind| Poll::Ready(Err(SendFailure::unfit(kind, this.reused, Protocol::Http2)));
        if let Some(upload) = &mut this.upload
            && let Poll::Ready(uploaded) = Pin::new(upload).poll(cx)
        {
            this.upload = None;
            if uploaded == Uploaded::Failed {
                return unfit(FailureKind::RequestBody);
            }
        }
        let response = match ready!(Pin::new(&mut this.response).poll(cx)) {
            Ok(response) => response,
            Err(error) => return Poll::Ready(Err(this.conn.failure(&error, this.reused))),
        };
        this.sender = None;
        if let Err(kind) = framing::check(&response, false) {
            return unfit(kind);
        }
        this.conn.reused.set(true);
        if let Some(pool) = this.conn.pool.upgrade() {
            pool.may_dial();
        }
        // A response may arrive before the request has ended (RFC 9113 §8.1). The stream is in use until both have ended.
        let upload = this.upload.take().map(|upload| {
            let upload = upload.detached(this.conn.upload_stall);
            let place = this.conn.take_place();
            let task = tokio::task::spawn_local(async move {
                upload.await;
                drop(place);
            });
            task.abort_handle()
        });
        Poll::Ready(Ok(UpstreamBody::http2(response, this.place.take(), upload)))
    }
}

impl<B: RequestBody> Drop for Sent<B> {
    // h2 keeps a cancelled request whose stream the upstream has not allowed yet, and would later open and reset that stream. The
    // caller already reported the request as failed, so the connection ends instead: it takes its unopened streams with it.
    fn drop(&mut self) {
        if self.sender.as_mut().is_some_and(|sender| readiness(sender).is_pending()) {
            self.conn.leave();
        }
    }
}

/// Pending: the sender's request waits for the upstream to allow its stream. An error: the connection ended, or takes no more
/// requests.
fn readiness(sender: &mut SendRequest<Bytes>) -> Poll<Result<(), h2::Error>> {
    sender.poll_ready(&mut Context::from_waker(Waker::noop()))
}
