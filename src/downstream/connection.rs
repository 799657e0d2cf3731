//! One connection: TLS, the protocol, HTTP, its end.
//!
//! `hyper_util`'s server is not used: it waits without bound for the first bytes, by which it tells the protocol.

use std::error::Error as _;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use hyper::server::conn::{http1, http2};
use hyper_util::rt::TokioIo;
use tokio::time::Instant;

use super::admission::Admission;
use super::flight::{Counted, Flights};
use super::heads::Watched;
use super::http2::Streams;
use super::lifetime::{End, Lifetime, Recheck};
use super::limits::{Limits, MAX_HTTP1_FIELDS};
use super::load::Place;
use super::protocol::Protocol;
use super::socket::Socket;
use super::stream::Stream;
use super::tls::Tls;
use super::transport::Transport;
use super::worker::Worker;
use super::{Service, Settings};

/// Requests that a client may have in flight on one HTTP/2 connection.
const MAX_STREAMS: u32 = 256;

/// What a client may send before it is read: of one HTTP/2 stream, and of a connection. Enough for 250 MB/s at 1 ms; the second
/// is also the most that a stalled upload can hold in memory.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;

/// What is held of a response that the client does not read fast enough, for one HTTP/2 stream.
const STREAM_SEND_BUFFER: usize = 128 * 1024;

/// Streams that a client may reset before they were accepted, and that may be reset for its errors, until the connection is
/// ended (rapid reset, CVE-2023-44487 and CVE-2025-8671).
const MAX_PENDING_RESETS: usize = 32;
const MAX_ERROR_RESETS: usize = 256;

/// HTTP over one connection.
#[expect(clippy::large_enum_variant, reason = "most connections are the large variant, and have no box this way")]
pub(super) enum Http<S: Service> {
    One(http1::UpgradeableConnection<TokioIo<Watched>, Counted<S>>),
    Two(Box<http2::Connection<TokioIo<Transport>, Counted<S>, Streams>>),
}

/// A connection over which HTTP can begin.
struct Opened {
    transport: Transport,
    protocol: Protocol,
    /// With TLS.
    admission: Option<Admission>,
}

/// An error for the log: with its cause where that is the network's. HTTP/2's own may quote what the client sent (a GOAWAY's debug
/// data, RFC 9113 §6.8).
struct Described<'a>(&'a hyper::Error);

/// Serves one connection to its end.
pub(super) async fn serve<S: Service>(stream: Stream, place: Place, worker: Rc<Worker<S>>) {
    let connected = Instant::now();
    let limits = worker.settings.limits.load_full();
    let opening = tokio::time::timeout_at(connected + limits.header_timeout, open(stream, place, &worker.settings));
    let opened = tokio::select! {
        opened = opening => opened,
        () = worker.draining.last_call() => return,
    };
    let Opened { transport, protocol, admission } = match opened {
        Ok(Ok(Some(opened))) => opened,
        // Closed by the client without a word: a probe of the port.
        Ok(Ok(None)) => return,
        Ok(Err(error)) => return tracing::debug!(%error, "a connection failed before its first request"),
        Err(_) => return tracing::debug!("a connection was closed: no request in time"),
    };
    let tls_changed = admission.is_some().then(|| Recheck::new(&worker.settings.tls_changed));
    let signals = transport.signals();
    let flights = Flights::new(signals, protocol, admission, worker.draining.clone(), worker.moderation.clone());
    let service = Counted::new(worker.service.clone(), flights.clone());
    let http = Http::new(transport, service, &flights, &limits);
    match Lifetime::new(http, flights, connected, limits, &worker.draining, tls_changed).await {
        End::Done => {}
        End::Failed(error) => tracing::debug!(error = %Described(&error), "a connection failed"),
        End::Cut(stage) => tracing::debug!(reason = stage.reason(), "a connection was closed"),
    }
}

/// From accepted to the point where HTTP begins.
async fn open(stream: Stream, place: Place, settings: &Arc<Settings>) -> io::Result<Option<Opened>> {
    let mut socket = Socket::new(stream, place);
    let Some(tls) = &settings.tls else {
        let protocol = socket.sniff().await?;
        return Ok(protocol.map(|protocol| Opened { transport: Transport::Plain(socket), protocol, admission: None }));
    };
    let tls = tls.load_full();
    let stream = Box::pin(handshake(&tls, socket)).await?;
    let session = stream.get_ref().1;
    let protocol = Protocol::negotiated(session.alpn_protocol());
    let admission = Some(Admission::new(Arc::clone(settings), tls, session));
    Ok(Some(Opened { transport: Transport::Tls(stream), protocol, admission }))
}

async fn handshake(tls: &Arc<Tls>, socket: Socket) -> io::Result<Box<tokio_rustls::server::TlsStream<Socket>>> {
    tls.acceptor().accept(socket).await.map(Box::new)
}

// === impl Http ===

impl<S: Service> Http<S> {
    fn new(transport: Transport, service: Counted<S>, flights: &Rc<Flights>, limits: &Limits) -> Self {
        match flights.protocol() {
            Protocol::Http1 => Self::One(
                http1::Builder::new()
                    // `Lifetime` keeps the time, without a timer a request.
                    .header_read_timeout(None)
                    // A client that closes its side is gone, and its request with it: nobody waits for the answer. Without TLS the
                    // socket sees to that.
                    .half_close(matches!(transport, Transport::Plain(_)))
                    .max_header_size(limits.max_head)
                    .max_headers(MAX_HTTP1_FIELDS)
                    // Also the largest read, and what is held of a response before it must be flushed.
                    .max_buf_size(limits.max_head)
                    .serve_connection(TokioIo::new(Watched::new(transport)), service)
                    .with_upgrades(),
            ),
            Protocol::Http2 => {
                let connection = http2::Builder::new(Streams::new(flights.clone(), limits.stall_timeout))
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

    /// Takes no more requests: `Connection: close` on a response in flight, or GOAWAY. To be polled on.
    pub(super) fn graceful_shutdown(&mut self) {
        match self {
            Self::One(connection) => Pin::new(connection).graceful_shutdown(),
            Self::Two(connection) => Pin::new(connection.as_mut()).graceful_shutdown(),
        }
    }
}

// === impl Described ===

impl fmt::Display for Described<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        match self.0.source().and_then(|cause| cause.downcast_ref::<io::Error>()) {
            Some(error) => write!(f, ": {error}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use http_body_util::Empty;
    use tokio::io::AsyncWriteExt;

    use super::*;

    #[tokio::test]
    async fn what_a_client_says_in_its_goaway_is_not_logged() {
        let (mut client, server) = tokio::io::duplex(4096);
        let service = hyper::service::service_fn(async |_| {
            Ok::<_, Infallible>(http::Response::new(Empty::<bytes::Bytes>::new()))
        });
        let connection =
            http2::Builder::new(hyper_util::rt::TokioExecutor::new()).serve_connection(TokioIo::new(server), service);
        client.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
        client.write_all(b"\0\0\x0e\x07\0\0\0\0\0\0\0\0\0\0\0\0\x02canary").await.unwrap();
        let error = connection.await.unwrap_err();
        assert!(format!("{:?}", error.source()).contains("canary"), "the test's frame did not arrive: {error:?}");
        assert!(!Described(&error).to_string().contains("canary"));
    }
}
