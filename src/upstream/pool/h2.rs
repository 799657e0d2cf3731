//! An HTTP/2 connection: as many requests at a time as the upstream allows.
//!
//! It is h2's own client: hyper's would put a queue, a task and two channels between a request and its stream, which the pool
//! has no use for, since it sends no more than there is room for.
//!
//! Until the upstream's SETTINGS have come, its limit is not known. Meanwhile one request goes out (waiting would cost
//! each new connection a round trip); the others wait for the limit, since what exceeds it is refused.

use std::cell::{Cell, RefCell};
use std::future::{poll_fn, ready};
use std::pin::{Pin, pin};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::Either;
use h2::client::{Builder, Connection, ResponseFuture, SendRequest};
use http::Request;
use tokio::time::{Instant, sleep};
use tracing::debug;

use crate::upstream::connect::{ConnectError, Protocol, Stream};
use crate::upstream::failure::{FailureKind, SendFailure};

use super::field::{FieldWriter, Flush, StandIns};
use super::framing;
use super::pulse::Pulse;
use super::queue::Opening;
use super::target::Target;
use super::transport::{Heard, Transport};
use super::upload::{Upload, Uploaded};
use super::window::Window;
use super::{Outcome, Pool, RequestBody, UpstreamBody};

/// More streams than this do not share one connection, whatever the upstream allows: a lost packet or a GOAWAY concerns
/// them all. It is the least that RFC 9113 §6.5.2 recommends to allow.
pub(super) const MAX_STREAMS: usize = 100;

/// What may come of one response before its reader has taken it. It bounds memory, and the throughput: a window a round
/// trip (25 MiB/s at 20 ms).
const STREAM_WINDOW: u32 = 512 * 1024;

/// Of a connection, at most: room for every stream's window.
const CONNECTION_WINDOW: u32 = STREAM_WINDOW * 100;
const _: () = assert!(MAX_STREAMS == 100, "the connection's window has room for every stream's");

/// What h2 puts up with of answers in small frames: each that no reader has taken yet is charged with what it is shorter than 256
/// bytes. By default it is half of the connection's window, with which a line-by-line answer to one slow client would end the
/// connection for all.
const SMALL_FRAMES: usize = 25 * 1024 * 1024;

/// As much as is taken of a request's fields (`guard.max_header_size`); hyper's default is 16 KiB.
const MAX_HEADER_LIST: u32 = 64 * 1024;

/// What is held of one request's body until the upstream's window has room for it.
const SEND_BUFFER: usize = 256 * 1024;

/// What comes for a stream that was given up counts as the upstream's error, unless h2 remembers it: so many, each for a second. By
/// its default of 50, clients that left would end the connection of those that did not.
const RESETS_REMEMBERED: usize = 1024;

/// Streams that may be reset for the upstream's errors until the connection is given up. Each may be some hundred bytes, if the
/// upstream does not read.
const MAX_ERROR_RESETS: usize = 64 * 1024;

/// SETTINGS must be the first frame (RFC 9113 §3.4); an upstream that takes longer is used one request at a time.
const SETTINGS_TIMEOUT: Duration = Duration::from_secs(2);

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
    /// Bytes of answers that their readers have taken, or left for good.
    taken: Cell<u64>,
    idle_since: Cell<Instant>,
    retires_at: Instant,
    /// How long the rest of a request may wait for its window once it is answered.
    upload_stall: Duration,
}

/// One of the connection's streams is in use for as long as this lives.
pub(super) struct OpenStream(Rc<dyn Streams>);

/// What a stream tells its connection.
trait Streams {
    fn took(&self, bytes: usize);
    fn ended(self: Rc<Self>);
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

/// Begins to drive a new connection. `opening` lasts until the upstream's limit is known.
pub(super) async fn start<B: RequestBody>(pool: &Pool<B>, stream: Stream, opening: Opening<B>) -> Option<Rc<Conn<B>>> {
    let heard = Arc::<Heard>::default();
    // Without TLS what comes is not counted.
    let window = matches!(stream, Stream::Tls(_)).then(|| Window::new(CONNECTION_WINDOW));
    let transport = Transport::new(stream, Protocol::Http2, &pool.connections, Arc::clone(&heard));
    let fields = StandIns::default();
    let (writer, flush) = FieldWriter::new(transport, fields.clone());
    let made = Builder::new()
        .initial_max_send_streams(1)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(window.as_ref().map_or(CONNECTION_WINDOW, Window::size))
        .max_header_list_size(MAX_HEADER_LIST)
        .max_send_buffer_size(SEND_BUFFER)
        .max_concurrent_reset_streams(RESETS_REMEMBERED)
        .max_local_error_reset_streams(Some(MAX_ERROR_RESETS))
        .data_frame_budget(SMALL_FRAMES)
        .enable_push(false)
        .handshake(writer)
        .await;
    let (sender, connection) = match made {
        Ok(made) => made,
        Err(error) => {
            opening.failed(ConnectError::Unreachable(error.to_string()));
            return None;
        }
    };
    let conn = Rc::new(Conn {
        pool: pool.this.clone(),
        sender: RefCell::new(Some(sender)),
        fields,
        open: Cell::new(0),
        limit: Cell::new(1),
        opened: Cell::new(false),
        retired: Cell::new(false),
        reused: Cell::new(false),
        heard,
        taken: Cell::new(0),
        idle_since: Cell::new(Instant::now()),
        retires_at: pool.limits.retires_at(Instant::now()),
        upload_stall: pool.limits.upload_stall,
    });
    pool.connection_began();
    tokio::task::spawn_local(drive(Rc::clone(&conn), connection, flush, window, opening));
    Some(conn)
}

async fn drive<B: RequestBody>(
    conn: Rc<Conn<B>>,
    mut connection: Connection<FieldWriter<Transport>, Bytes>,
    flush: Flush<Transport>,
    mut window: Option<Window>,
    opening: Opening<B>,
) {
    let mut opening = Some(opening);
    let mut pulse = connection.ping_pong().map(Pulse::new);
    let mut settings = pin!(sleep(SETTINGS_TIMEOUT));
    poll_fn(|cx| {
        // Those whom the last poll has woken have had their turn. What they have left waits for them.
        if let Some(size) = window.as_mut().and_then(|window| window.adjust(conn.waiting())) {
            connection.set_target_window_size(size);
        }
        let before = conn.heard.data();
        loop {
            if let Poll::Ready(outcome) = Pin::new(&mut connection).poll(cx) {
                if let Err(error) = outcome {
                    debug!(reason = ?error.reason(), "an upstream connection (HTTP/2) ended");
                }
                return Poll::Ready(());
            }
            if !flush.poll(cx) {
                break;
            }
        }
        let come = conn.heard.data();
        if conn.open() == 0 {
            // What comes behind a reset was counted, and nobody takes it.
            conn.taken.set(come);
        }
        // If they leave it, an upstream that has used up the window says nothing more, and this would not be polled again.
        if come > before && window.as_ref().is_some_and(|window| window.wanted(conn.waiting()).is_some()) {
            cx.waker().wake_by_ref();
        }
        let heard = conn.heard.take();
        // At least one: an upstream that allows none (it is overloaded) gets one request, which waits for its turn.
        conn.allow(connection.max_concurrent_send_streams().clamp(1, MAX_STREAMS));
        // The first bytes are its SETTINGS, which were applied in the same poll.
        if let Some(done) = opening.take_if(|_| heard || settings.as_mut().poll(cx).is_ready()) {
            conn.has_opened(done);
        }
        let Some(pulse) = &mut pulse else { return Poll::Pending };
        let silent = pulse.poll(cx, heard, conn.open() > 0);
        if let Some((round_trip, window)) = pulse.take_round_trip().zip(window.as_mut()) {
            window.measured(round_trip);
            // The next poll sets it.
            cx.waker().wake_by_ref();
        }
        let silent = ready!(silent);
        debug!(error = %silent, "an upstream connection (HTTP/2) is given up");
        Poll::Ready(())
    })
    .await;
    // What is in flight ends with this drop.
    drop(connection);
    conn.retire();
    if let Some(pool) = conn.pool.upgrade() {
        pool.http2_ended(&conn);
    }
    if let Some(opening) = opening {
        opening.failed(ConnectError::Unreachable("the upstream closed the connection at once (HTTP/2)".into()));
    }
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
        let streams: Rc<dyn Streams> = Rc::clone(self) as _;
        OpenStream(streams)
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
        let failure = SendFailure::from_h2(error, reused);
        // Whoever meets a GOAWAY first tells the others, and does not come back.
        if failure.kind == FailureKind::GoneAway {
            self.leave();
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

// === impl OpenStream ===

impl OpenStream {
    /// So much of the answer is not held for its reader any more.
    pub(super) fn took(&self, bytes: usize) {
        self.0.took(bytes);
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        Rc::clone(&self.0).ended();
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
        conn.fields.put(request.headers_mut());
        let (head, body) = request.into_parts();
        let ends = body.is_end_stream();
        match sender.send_request(Request::from_parts(head, ()), ends) {
            Ok((response, stream)) => {
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
