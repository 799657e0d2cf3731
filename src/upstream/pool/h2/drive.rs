//! The task of an HTTP/2 connection: opens it, polls it until it ends, and adjusts its window.

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
use crate::upstream::pool::auth_indexing::{AuthIndexing, Flush, RestoringWriter};
use crate::upstream::pool::keepalive::Keepalive;
use crate::upstream::pool::opening::Opening;
use crate::upstream::pool::transport::{Received, Transport};
use crate::upstream::pool::window::Window;
use crate::upstream::pool::{MAX_STREAMS, Pool, RequestBody};

use super::Conn;

/// How much of one response may arrive before its client takes it. It bounds memory, and also the throughput: one window per
/// round trip (25 MiB/s at 20 ms).
const STREAM_WINDOW: u32 = 512 * 1024;

/// The largest window of a connection has room for the windows of all streams.
const CONNECTION_WINDOW: u32 = STREAM_WINDOW * 100;
const _: () = assert!(MAX_STREAMS == 100, "the connection's window has room for every stream's");

/// h2's budget for small DATA frames. Each frame under 256 bytes that no client has taken yet costs the difference. h2's default is
/// half of the connection's present window. With the default, a response in short lines to one slow client would end the connection
/// for all clients.
const SMALL_FRAMES: usize = CONNECTION_WINDOW as usize / 2;

/// The same limit as for the head of a request (`guard.max_header_size`). hyper's default is 16 KiB.
const MAX_HEADER_LIST: u32 = 64 * 1024;

/// How much of one request body waits for the upstream's window.
const SEND_BUFFER: usize = 256 * 1024;

/// h2 counts a frame of a cancelled stream as the upstream's error, unless it still remembers the stream. It remembers this many
/// streams, each for a second. With h2's default of 50, clients that leave would end the connection of the others.
const RESETS_REMEMBERED: usize = 1024;

/// How many streams may be reset because of the upstream's errors before h2 ends the connection. Each costs some hundred bytes if
/// the upstream does not read.
const MAX_ERROR_RESETS: usize = 64 * 1024;

/// SETTINGS must be the first frame (RFC 9113 §3.4). An upstream that takes longer gets one request at a time.
const SETTINGS_TIMEOUT: Duration = Duration::from_secs(2);

/// Starts the task of a new connection. `opening` lasts until the upstream's limit is known.
pub(in crate::upstream::pool) async fn start<B: RequestBody>(
    pool: &Pool<B>,
    stream: Stream,
    opening: Opening<B>,
) -> Option<Rc<Conn<B>>> {
    let received = Arc::<Received>::default();
    // Without TLS, received bytes are not counted.
    let window = matches!(stream, Stream::Tls(_)).then(|| Window::new(CONNECTION_WINDOW));
    let transport = Transport::new(stream, Protocol::Http2, &pool.connections, Arc::clone(&received));
    let auth = AuthIndexing::default();
    let (writer, flush) = RestoringWriter::new(transport, auth.clone());
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
        auth,
        open: Cell::new(0),
        limit: Cell::new(1),
        opened: Cell::new(false),
        retired: Cell::new(false),
        reused: Cell::new(false),
        received,
        taken: Cell::new(0),
        received_at: Cell::new(Instant::now()),
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
    mut connection: Connection<RestoringWriter<Transport>, Bytes>,
    flush: Flush<Transport>,
    mut window: Option<Window>,
    opening: Opening<B>,
) {
    let mut opening = Some(opening);
    let mut keepalive = connection.ping_pong().map(|ping| Keepalive::new(ping, conn.keepalive));
    let mut settings = pin!(sleep(SETTINGS_TIMEOUT));
    poll_fn(|cx| {
        // The last poll woke the clients, which have taken what they can by now. The rest counts as waiting.
        if let Some(size) = window.as_mut().and_then(|window| window.adjust(conn.waiting())) {
            connection.set_target_window_size(size);
        }
        let before = conn.received.data();
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
        let arrived = conn.received.data();
        if conn.open() == 0 {
            // Bytes that arrive after a reset are counted, but no client takes them.
            conn.taken.set(arrived);
        }
        // With its window used up, the upstream sends nothing, so no event would wake this task to open the window.
        if arrived > before && window.as_ref().is_some_and(|window| window.wanted(conn.waiting()).is_some()) {
            cx.waker().wake_by_ref();
        }
        let received = conn.received.take();
        // At least one: if an overloaded upstream allows none, one request waits in h2.
        conn.allow(connection.max_concurrent_send_streams().clamp(1, MAX_STREAMS));
        // The first bytes are SETTINGS, which the same poll applied.
        if let Some(done) = opening.take_if(|_| received || settings.as_mut().poll(cx).is_ready()) {
            conn.has_opened(done);
        }
        let Some(keepalive) = &mut keepalive else { return Poll::Pending };
        let silent = keepalive.poll(cx, received, conn.open() > 0);
        conn.received_at.set(keepalive.received_at());
        if let Some((round_trip, window)) = keepalive.take_round_trip().zip(window.as_mut()) {
            window.measured(round_trip);
            // The next poll sets the new size.
            cx.waker().wake_by_ref();
        }
        let silent = ready!(silent);
        debug!(error = %silent, "an upstream connection (HTTP/2) lost its peer");
        if let Some(pool) = conn.pool.upgrade() {
            pool.distrust_silent(conn.keepalive.interval);
        }
        Poll::Ready(())
    })
    .await;
    // This drop ends the requests in flight.
    drop(connection);
    conn.retire();
    if let Some(pool) = conn.pool.upgrade() {
        pool.http2_ended(&conn);
    }
    if let Some(opening) = opening {
        opening.failed(ConnectError::Unreachable("the upstream closed the connection at once (HTTP/2)".into()));
    }
}
