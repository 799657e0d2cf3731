//! An HTTP/2 connection: as many requests at a time as the upstream allows.
//!
//! It is h2's own client: hyper's would put a queue, a task and two channels between a request and its stream, which the pool
//! has no use for, since it sends no more than there is room for.
//!
//! Until the upstream's SETTINGS have come, its limit is not known. Meanwhile one request goes out (waiting would cost
//! each new connection a round trip); the others wait for the limit, since what exceeds it is refused.

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

use super::field::StandIns;
use super::framing;
use super::keepalive::Times;
use super::open_stream::{OpenStream, Streams};
use super::opening::Opening;
use super::target::Target;
use super::transport::Heard;
use super::upload::{Upload, Uploaded};
use super::{Outcome, Pool, RequestBody, UpstreamBody};

pub(super) use self::drive::start;

pub(super) struct Conn<B: RequestBody> {
    pool: Weak<Pool<B>>,
    /// Dropping it is how h2's connection is told to end, once its streams have.
    sender: RefCell<Option<SendRequest<Bytes>>>,
    fields: StandIns,
    /// Streams in use, those included that are leased and not yet sent.
    open: Cell<usize>,
    limit: Cell<usize>,
    /// The upstream's SETTINGS have come.
    opened: Cell<bool>,
    /// It takes no new requests, and ends with the last of its streams.
    retired: Cell<bool>,
    /// It has carried an answer.
    reused: Cell<bool>,
    heard: Arc<Heard>,
    /// When the last byte came.
    heard_at: Cell<Instant>,
    keepalive: Times,
    /// Bytes of answers that their readers have taken, or left for good.
    taken: Cell<u64>,
    idle_since: Cell<Instant>,
    retires_at: Instant,
    /// How long the rest of a request may wait for its window once it is answered.
    upload_stall: Duration,
}

/// The right to send one request.
pub(super) struct Lease<B: RequestBody> {
    conn: Rc<Conn<B>>,
    stream: OpenStream,
}

/// A request that was sent, until the response's head.
struct Exchange<B: RequestBody> {
    conn: Rc<Conn<B>>,
    reused: bool,
    /// `None`: the answer has it.
    place: Option<OpenStream>,
    /// Of this request alone. `None`: it was answered.
    sender: Option<SendRequest<Bytes>>,
    response: ResponseFuture,
    /// `None`: the request has ended.
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

    pub(super) fn heard_at(&self) -> Instant {
        self.heard_at.get()
    }

    /// Bytes of answers that have come and wait for their readers.
    pub(super) fn waiting(&self) -> u64 {
        self.heard.data().saturating_sub(self.taken.get())
    }

    /// Only when [`Self::has_room`].
    pub(super) fn lease(self: &Rc<Self>) -> Lease<B> {
        Lease { conn: Rc::clone(self), stream: self.take_place() }
    }

    fn take_place(self: &Rc<Self>) -> OpenStream {
        self.open.set(self.open.get() + 1);
        OpenStream::new(Rc::<Self>::clone(self))
    }

    /// Takes no more requests; ends when those in flight have.
    pub(super) fn retire(&self) {
        self.retired.set(true);
        if self.open.get() == 0 {
            self.sender.take();
        }
    }

    /// A sender for one request. One that is kept would hold on to a request that waits for the upstream to allow it, so that
    /// nobody could cancel it. `None`: no requests are taken any more, after a GOAWAY or since the connection has ended.
    fn sender(&self) -> Option<SendRequest<Bytes>> {
        let mut sender = self.sender.borrow().clone()?;
        matches!(readiness(&mut sender), Poll::Ready(Ok(()))).then_some(sender)
    }

    fn failure(self: &Rc<Self>, error: &h2::Error, reused: bool) -> Box<SendFailure<B>> {
        let mut failure = SendFailure::from_h2(error, reused);
        match failure.kind {
            // Whoever meets a GOAWAY first tells the others, and does not come back.
            FailureKind::GoneAway => self.leave(),
            FailureKind::Http1Required if !self.pool.upgrade().is_some_and(|pool| pool.require_http1()) => {
                failure.kind = FailureKind::Reset(Reason::HTTP_1_1_REQUIRED.into());
            }
            _ => {}
        }
        failure
    }

    /// Takes no more requests, and nobody looks for it any more.
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

    /// The limit is known: now it serves as many of those who wait, and takes over from those that are old.
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

// === impl Lease ===

impl<B: RequestBody> Lease<B> {
    /// Sends at once; the future is of the answer.
    pub(super) fn send(self, target: &Target, mut request: Request<B>) -> impl Future<Output = Outcome<B>> + use<B> {
        let Self { conn, stream: place } = self;
        let reused = conn.reused.get();
        let Some(mut sender) = conn.sender() else {
            conn.leave();
            // What has opened was no refusal of all requests, and another connection will do.
            let reused = reused || conn.is_opened();
            return Either::Left(ready(Err(SendFailure::handed_back(request, reused, Protocol::Http2))));
        };
        target.fit_http2(&mut request);
        let taken = conn.fields.put(request.headers_mut());
        let (head, body) = request.into_parts();
        let ends = body.is_end_stream();
        match sender.send_request(Request::from_parts(head, ()), ends) {
            Ok((response, stream)) => {
                if let Some(taken) = taken {
                    conn.fields.expect(response.stream_id().as_u32(), taken);
                }
                let upload = (!ends).then(|| Upload::new(body, stream));
                Either::Right(Exchange { conn, reused, place: Some(place), sender: Some(sender), response, upload })
            }
            Err(error) => Either::Left(ready(Err(conn.failure(&error, reused)))),
        }
    }
}

// === impl Exchange ===

impl<B: RequestBody> Future for Exchange<B> {
    type Output = Outcome<B>;

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
        // An answer may come before the request has ended (RFC 9113 §8.1). The stream is in use until both have.
        let upload = this.upload.take().map(|upload| {
            let upload = upload.detached(this.conn.upload_stall);
            let place = this.conn.take_place();
            let sending = tokio::task::spawn_local(async move {
                upload.await;
                drop(place);
            });
            sending.abort_handle()
        });
        Poll::Ready(Ok(UpstreamBody::http2(response, this.place.take(), upload)))
    }
}

impl<B: RequestBody> Drop for Exchange<B> {
    // A request that was given up before the upstream allowed its stream stays in h2, to be sent and reset once it does: those who
    // sent it were told that it had failed. An unopened stream ends unsent with its connection.
    fn drop(&mut self) {
        if self.sender.as_mut().is_some_and(|sender| readiness(sender).is_pending()) {
            self.conn.leave();
        }
    }
}

/// Pending: the request that was sent with it waits for the upstream to allow its stream. An error: the connection has ended, or
/// takes no more.
fn readiness(sender: &mut SendRequest<Bytes>) -> Poll<Result<(), h2::Error>> {
    sender.poll_ready(&mut Context::from_waker(Waker::noop()))
}
