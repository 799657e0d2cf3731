//! A connection's task: opens it, polls it to its end, and keeps its window.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::Reason;
use h2::client::{Builder, Connection};
use tokio::time::{Instant, sleep};
use tracing::debug;

use crate::outbound::{ConnectError, Protocol, Stream};
use crate::upstream::pool::field::{FieldWriter, Flush, StandIns};
use crate::upstream::pool::keepalive::Keepalive;
use crate::upstream::pool::opening::Opening;
use crate::upstream::pool::transport::{Heard, Transport};
use crate::upstream::pool::window::Window;
use crate::upstream::pool::{MAX_STREAMS, Pool, RequestBody};

use super::Conn;

/// What may come of one response before its reader has taken it. It bounds memory, and the throughput: a window a round
/// trip (25 MiB/s at 20 ms).
const STREAM_WINDOW: u32 = 512 * 1024;

/// Of a connection, at most: room for every stream's window.
const CONNECTION_WINDOW: u32 = STREAM_WINDOW * 100;
const _: () = assert!(MAX_STREAMS == 100, "the connection's window has room for every stream's");

/// What h2 puts up with of answers in small frames: each that no reader has taken yet is charged with what it is shorter than 256
/// bytes. By default it is half of the connection's present window, with which a line-by-line answer to one slow client would end
/// the connection for all.
const SMALL_FRAMES: usize = CONNECTION_WINDOW as usize / 2;

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

/// Begins to drive a new connection. `opening` lasts until the upstream's limit is known.
pub(in crate::upstream::pool) async fn start<B: RequestBody>(
    pool: &Pool<B>,
    stream: Stream,
    opening: Opening<B>,
) -> Option<Rc<Conn<B>>> {
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
        heard_at: Cell::new(Instant::now()),
        keepalive: pool.limits.keepalive,
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
    let mut keepalive = connection.ping_pong().map(|ping| Keepalive::new(ping, conn.keepalive));
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
                    if error.is_remote()
                        && error.reason() == Some(Reason::HTTP_1_1_REQUIRED)
                        && let Some(pool) = conn.pool.upgrade()
                    {
                        pool.require_http1();
                    }
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
        let Some(keepalive) = &mut keepalive else { return Poll::Pending };
        let silent = keepalive.poll(cx, heard, conn.open() > 0);
        conn.heard_at.set(keepalive.heard());
        if let Some((round_trip, window)) = keepalive.take_round_trip().zip(window.as_mut()) {
            window.measured(round_trip);
            // The next poll sets it.
            cx.waker().wake_by_ref();
        }
        let silent = ready!(silent);
        debug!(error = %silent, "an upstream connection (HTTP/2) is given up");
        if let Some(pool) = conn.pool.upgrade() {
            pool.distrust_silent(conn.keepalive.interval);
        }
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
