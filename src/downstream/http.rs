//! HTTP on one connection: hyper, with limits for clients that may attack.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use hyper::server::conn::{http1, http2};
use hyper_util::rt::TokioIo;

use super::in_flight::{Counted, InFlight};
use super::limits::{Limits, MAX_HTTP1_FIELDS};
use super::protocol::Protocol;
use super::service::Service;
use super::stream_stall::StreamExecutor;
use super::strict_http1::StrictHttp1;
use super::transport::Transport;

/// Maximum number of requests in flight on one HTTP/2 connection.
const MAX_STREAMS: u32 = 256;

/// Flow-control windows of an HTTP/2 stream and of a connection: enough for 250 MB/s at a round-trip time of 1 ms. The second one also
/// bounds the memory of a stalled upload.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;

/// Maximum buffered part of a response that the client reads too slowly, for one HTTP/2 stream.
const STREAM_SEND_BUFFER: usize = 128 * 1024;

/// Number of streams that a client may reset before they are accepted, and that the proxy may reset for errors of the client. Beyond
/// either, hyper ends the connection (rapid reset, CVE-2023-44487 and CVE-2025-8671).
const MAX_PENDING_RESETS: usize = 32;
const MAX_ERROR_RESETS: usize = 256;

/// HTTP on one connection.
#[expect(clippy::large_enum_variant, reason = "most connections are the large variant, which needs no box this way")]
pub(super) enum Http<S: Service> {
    One(http1::UpgradeableConnection<TokioIo<StrictHttp1>, Counted<S>>),
    Two(Box<http2::Connection<TokioIo<Transport>, Counted<S>, StreamExecutor>>),
}

// === impl Http ===

impl<S: Service> Http<S> {
    pub(super) fn new(transport: Transport, service: Counted<S>, in_flight: &Rc<InFlight>, limits: &Limits) -> Self {
        match in_flight.protocol() {
            Protocol::Http1 => Self::One(
                http1::Builder::new()
                    // `Lifetime` enforces the time limit, without a timer for each request.
                    .header_read_timeout(None)
                    // A client that closes its side does not wait for the response. Without TLS, `half_close` detects that.
                    .half_close(matches!(transport, Transport::Plain(_)))
                    .max_header_size(limits.max_head)
                    .max_headers(MAX_HTTP1_FIELDS)
                    // Also the largest read, and the maximum of a response that is buffered before a flush.
                    .max_buf_size(limits.max_head)
                    .serve_connection(TokioIo::new(StrictHttp1::new(transport)), service)
                    .with_upgrades(),
            ),
            Protocol::Http2 => {
                let connection = http2::Builder::new(StreamExecutor::new(in_flight.clone(), limits.stall_timeout))
                    .max_concurrent_streams(MAX_STREAMS)
                    .initial_stream_window_size(STREAM_WINDOW)
                    .initial_connection_window_size(CONNECTION_WINDOW)
                    .max_send_buf_size(STREAM_SEND_BUFFER)
                    .max_header_list_size(u32::try_from(limits.max_head).unwrap_or(u32::MAX))
                    .max_pending_accept_reset_streams(MAX_PENDING_RESETS)
                    .max_local_error_reset_streams(MAX_ERROR_RESETS)
                    .serve_connection(TokioIo::new(transport), service);
                Self::Two(Box::new(connection))
            }
        }
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<hyper::Result<()>> {
        match self {
            Self::One(connection) => Pin::new(connection).poll(cx),
            Self::Two(connection) => Pin::new(connection).poll(cx),
        }
    }

    /// Takes no more requests: `Connection: close` on a response in flight, or GOAWAY. The caller must keep polling.
    pub(super) fn graceful_shutdown(&mut self) {
        match self {
            Self::One(connection) => Pin::new(connection).graceful_shutdown(),
            Self::Two(connection) => Pin::new(connection.as_mut()).graceful_shutdown(),
        }
    }
}
