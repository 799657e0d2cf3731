//! The stream below hyper's or h2's connection. It records what the upstream sends, and is counted while it is open.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::outbound::{Protocol, Stream};

use super::dials::Dials;
use super::frame::FrameReader;

/// How many connections to the upstream are open, in all workers. Clones share the count.
#[derive(Clone, Debug, Default)]
pub struct OpenConnections(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    http1: AtomicI64,
    http2: AtomicI64,
    opening: AtomicI64,
    dials: Dials,
}

/// Counted as one open connection until dropped.
struct Open {
    connections: OpenConnections,
    protocol: Protocol,
}

/// What the upstream has sent on this connection. A worker is one thread, but hyper requires the transport of an upgraded
/// connection to be `Send`, so these are atomics.
#[derive(Default)]
pub(super) struct Received {
    bytes: AtomicBool,
    data: AtomicU64,
}

pub(super) struct Transport {
    stream: Stream,
    /// `None`: HTTP/1.
    frames: Option<FrameReader>,
    received: Arc<Received>,
    _open: Open,
}

// === impl OpenConnections ===

impl OpenConnections {
    pub fn count(&self, protocol: Protocol) -> i64 {
        self.0.open_of(protocol).load(Ordering::Relaxed)
    }

    /// All connections, including those that are being opened.
    pub(super) fn total(&self) -> usize {
        let Counts { http1, http2, opening, .. } = &*self.0;
        let total: i64 = [http1, http2, opening].map(|count| count.load(Ordering::Relaxed)).iter().sum();
        usize::try_from(total).unwrap_or(0)
    }

    pub(super) fn dials(&self) -> &Dials {
        &self.0.dials
    }

    pub(super) fn began(&self) {
        self.0.opening.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn ended(&self) {
        self.0.opening.fetch_sub(1, Ordering::Relaxed);
    }

    fn open(&self, protocol: Protocol) -> Open {
        self.0.open_of(protocol).fetch_add(1, Ordering::Relaxed);
        Open { connections: self.clone(), protocol }
    }
}

impl Counts {
    fn open_of(&self, protocol: Protocol) -> &AtomicI64 {
        match protocol {
            Protocol::Http1 => &self.http1,
            Protocol::Http2 => &self.http2,
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.connections.0.open_of(self.protocol).fetch_sub(1, Ordering::Relaxed);
    }
}

// === impl Received ===

impl Received {
    /// Whether any byte arrived since the last [`Self::forget`].
    pub(super) fn anything(&self) -> bool {
        self.bytes.load(Ordering::Relaxed)
    }

    pub(super) fn forget(&self) {
        self.bytes.store(false, Ordering::Relaxed);
    }

    /// [`Self::anything`], and then [`Self::forget`].
    pub(super) fn take(&self) -> bool {
        self.bytes.swap(false, Ordering::Relaxed)
    }

    /// Bytes of DATA so far. They are counted only on HTTP/2 over TLS.
    pub(super) fn data(&self) -> u64 {
        self.data.load(Ordering::Relaxed)
    }
}

// === impl Transport ===

impl Transport {
    pub(super) fn new(
        stream: Stream,
        protocol: Protocol,
        connections: &OpenConnections,
        received: Arc<Received>,
    ) -> Self {
        let frames = (protocol == Protocol::Http2).then(FrameReader::new);
        Self { stream, frames, received, _open: connections.open(protocol) }
    }
}

impl AsyncRead for Transport {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let polled = match (&mut this.frames, &mut this.stream) {
            (Some(frames), Stream::Tls(tls)) => frames.poll_read(Pin::new(tls.as_mut()), cx, buf),
            // Without TLS there is no buffered record to look into. Only loopback connections have no TLS.
            (_, stream) => Pin::new(stream).poll_read(cx, buf),
        };
        if buf.filled().len() > before {
            this.received.bytes.store(true, Ordering::Relaxed);
            if let Some(frames) = &this.frames {
                this.received.data.store(frames.data(), Ordering::Relaxed);
            }
        }
        polled
    }
}

impl AsyncWrite for Transport {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
