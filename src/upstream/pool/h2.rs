//! An HTTP/2 connection: as many requests at a time as the upstream allows.
//!
//! Until the upstream's SETTINGS have come, its limit is not known. Meanwhile one request goes out (waiting would cost
//! each new connection a round trip); the others wait for the limit, since what exceeds it is refused.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::{Rc, Weak};
use std::time::Duration;

use http::header::AUTHORIZATION;
use http::{Request, Response};
use hyper::client::conn::http2::{self, SendRequest};
use hyper::rt::Executor;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::oneshot;
use tokio::time::Instant;
use tracing::debug;

use crate::upstream::connect::{ConnectError, Protocol, Stream};
use crate::upstream::failure::{FailureKind, SendFailure};

use super::field::{FieldWriter, StandIns};
use super::queue::Opening;
use super::target::Target;
use super::transport::{OnRead, Transport};
use super::{Pool, RequestBody, UpstreamBody};

/// More streams than this do not share one connection, whatever the upstream allows: a lost packet or a GOAWAY concerns
/// them all. It is the least that RFC 9113 §6.5.2 recommends to allow.
pub(super) const MAX_STREAMS: usize = 100;

/// What may come of one response before its reader has taken it. It bounds memory, and the throughput: a window a round
/// trip (25 MiB/s at 20 ms).
const STREAM_WINDOW: u32 = 512 * 1024;

/// Room for every stream's window: else one reader that stalls would stop all others on its connection.
const CONNECTION_WINDOW: u32 = STREAM_WINDOW * 100;
const _: () = assert!(MAX_STREAMS == 100, "the connection's window has room for every stream's");

/// As much as is taken of a request's fields (`guard.max_header_size`); hyper's default is 16 KiB.
const MAX_HEADER_LIST: u32 = 64 * 1024;

/// A connection on which requests wait and nothing comes is asked for a sign of life, and given up without one.
const PING_INTERVAL: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// SETTINGS must be the first frame (RFC 9113 §3.4); an upstream that takes longer is used one request at a time.
const SETTINGS_TIMEOUT: Duration = Duration::from_secs(2);

pub(super) struct Conn<B: RequestBody> {
    pool: Weak<Pool<B>>,
    /// Dropping it is how hyper's connection is told to end, once its streams have.
    sender: RefCell<Option<SendRequest<B>>>,
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
    idle_since: Cell<Instant>,
    retires_at: Instant,
    /// What an [`OpenStream`] does at its end: one closure a connection, not one a request.
    end_stream: Rc<dyn Fn()>,
}

/// One of the connection's streams is in use for as long as this lives.
pub(super) struct OpenStream(Rc<dyn Fn()>);

/// The right to send one request.
pub(super) struct Lease<B: RequestBody> {
    conn: Rc<Conn<B>>,
    stream: OpenStream,
}

/// Runs hyper's tasks on the worker's thread.
#[derive(Clone, Copy)]
struct Local;

/// Begins to drive a new connection. `opening` lasts until the upstream's limit is known.
pub(super) async fn start<B: RequestBody>(pool: &Pool<B>, stream: Stream, opening: Opening<B>) -> Option<Rc<Conn<B>>> {
    let (tell, heard) = oneshot::channel();
    let transport = Transport::new(stream, Protocol::Http2, &pool.connections, OnRead::Tell(Some(tell)));
    let fields = StandIns::default();
    let io = TokioIo::new(FieldWriter::new(transport, fields.clone()));
    let made = http2::Builder::new(Local)
        .timer(TokioTimer::new())
        .initial_max_send_streams(1)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(MAX_HEADER_LIST)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        // An idle connection is closed before a NAT would forget it; a ping would be a wake-up for nothing.
        .keep_alive_while_idle(false)
        .handshake(io)
        .await;
    let (sender, connection) = match made {
        Ok(made) => made,
        Err(error) => {
            opening.failed(ConnectError::Unreachable(error.to_string()));
            return None;
        }
    };
    let conn = Rc::new_cyclic(|this: &Weak<Conn<B>>| Conn {
        pool: pool.this.clone(),
        sender: RefCell::new(Some(sender)),
        fields,
        open: Cell::new(0),
        limit: Cell::new(1),
        opened: Cell::new(false),
        retired: Cell::new(false),
        reused: Cell::new(false),
        idle_since: Cell::new(Instant::now()),
        retires_at: pool.limits.retires_at(Instant::now()),
        end_stream: {
            let this = this.clone();
            Rc::new(move || {
                if let Some(conn) = this.upgrade() {
                    conn.stream_ended();
                }
            })
        },
    });
    pool.connection_began();
    tokio::task::spawn_local(drive(Rc::clone(&conn), connection, heard, opening));
    Some(conn)
}

async fn drive<B: RequestBody>(
    conn: Rc<Conn<B>>,
    mut connection: http2::Connection<TokioIo<FieldWriter<Transport>>, B, Local>,
    heard: oneshot::Receiver<()>,
    opening: Opening<B>,
) {
    let mut opening = Some(opening);
    // hyper's task reads the socket and wakes this one within the same poll in which it applies the SETTINGS.
    let mut settings = pin!(tokio::time::timeout(SETTINGS_TIMEOUT, heard));
    let outcome = poll_fn(|cx| {
        let polled = Pin::new(&mut connection).poll(cx);
        if polled.is_pending() {
            // At least one: an upstream that allows none (it is overloaded) gets one request, which waits for its turn.
            conn.allow(connection.current_max_send_streams().clamp(1, MAX_STREAMS));
            if let Some(done) = opening.take_if(|_| settings.as_mut().poll(cx).is_ready()) {
                conn.has_opened(done);
            }
        }
        polled
    })
    .await;
    // What hyper has queued and not sent is handed back by this drop.
    drop(connection);
    if let Err(error) = outcome {
        debug!(%error, "an upstream connection (HTTP/2) ended");
    }
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

    /// Only when [`Self::has_room`].
    pub(super) fn lease(self: &Rc<Self>) -> Lease<B> {
        self.open.set(self.open.get() + 1);
        Lease { conn: Rc::clone(self), stream: OpenStream(Rc::clone(&self.end_stream)) }
    }

    /// Takes no more requests; ends when those in flight have.
    pub(super) fn retire(&self) {
        self.retired.set(true);
        if self.open.get() == 0 {
            self.sender.take();
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

    fn stream_ended(self: &Rc<Self>) {
        self.open.set(self.open.get() - 1);
        let Some(pool) = self.pool.upgrade() else { return };
        if self.open.get() == 0 {
            if self.retired.get() {
                self.sender.take();
                return;
            }
            self.idle_since.set(pool.now.get());
        }
        pool.share(self);
    }
}

// === impl OpenStream ===

impl Drop for OpenStream {
    fn drop(&mut self) {
        (self.0)();
    }
}

// === impl Lease ===

impl<B: RequestBody> Lease<B> {
    pub(super) async fn send(
        self,
        target: &Target,
        mut request: Request<B>,
    ) -> Result<Response<UpstreamBody>, Box<SendFailure<B>>> {
        let Self { conn, stream } = self;
        let value;
        target.fit_http2(&mut request);
        let reused = conn.reused.get();
        let sent = match conn.sender.borrow_mut().as_mut() {
            Some(sender) => {
                value = conn.fields.put(request.headers_mut());
                sender.try_send_request(request)
            }
            None => return Err(SendFailure::handed_back(request, reused, Protocol::Http2)),
        };
        match sent.await {
            Ok(response) => {
                conn.reused.set(true);
                Ok(response.map(|incoming| UpstreamBody::http2(incoming, stream)))
            }
            Err(error) => {
                let mut failure = SendFailure::from_hyper(error, false, reused, Protocol::Http2);
                // Handed back, it goes to another connection, where this one's stand-in means nothing.
                if let (Some(request), Some(value)) = (&mut failure.request, value) {
                    request.headers_mut().insert(AUTHORIZATION, value);
                }
                // hyper tells its user nothing of a GOAWAY; whoever meets it first tells the others, and does not come back.
                if matches!(failure.kind, FailureKind::GoneAway | FailureKind::HandedBack) {
                    conn.retire();
                    if let Some(pool) = conn.pool.upgrade() {
                        pool.forget(&conn);
                    }
                }
                Err(failure)
            }
        }
    }
}

// === impl Local ===

impl<F: Future<Output = ()> + 'static> Executor<F> for Local {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}
