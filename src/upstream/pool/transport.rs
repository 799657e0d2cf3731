//! What lies under hyper's or h2's connection: the stream, noting when the peer is heard, counted for as long as it is open.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::outbound::{Protocol, Stream};

use super::dials::Dials;
use super::frame::FrameReader;

/// How many connections to the upstream are open, of all workers. A clone counts into the same.
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

/// What has come of the peer. Atomics, and `Send`, though a worker is one thread, since hyper wants an upgraded connection's
/// transport to be.
#[derive(Default)]
pub(super) struct Heard {
    bytes: AtomicBool,
    data: AtomicU64,
}

pub(super) struct Transport {
    stream: Stream,
    /// Of HTTP/2.
    frames: Option<FrameReader>,
    heard: Arc<Heard>,
    _open: Open,
}

// === impl OpenConnections ===

impl OpenConnections {
    pub fn count(&self, protocol: Protocol) -> i64 {
        self.0.of(protocol).load(Ordering::Relaxed)
    }

    /// All of them, those that are being opened included.
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
        self.0.of(protocol).fetch_add(1, Ordering::Relaxed);
        Open { connections: self.clone(), protocol }
    }
}

impl Counts {
    fn of(&self, protocol: Protocol) -> &AtomicI64 {
        match protocol {
            Protocol::Http1 => &self.http1,
            Protocol::Http2 => &self.http2,
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.connections.0.of(self.protocol).fetch_sub(1, Ordering::Relaxed);
    }
}

// === impl Heard ===

impl Heard {
    /// Whether bytes of the peer have gone on from here since this was last said to be forgotten.
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

    /// Bytes of DATA so far, over HTTP/2 and TLS.
    pub(super) fn data(&self) -> u64 {
        self.data.load(Ordering::Relaxed)
    }
}

// === impl Transport ===

impl Transport {
    pub(super) fn new(stream: Stream, protocol: Protocol, connections: &OpenConnections, heard: Arc<Heard>) -> Self {
        let frames = (protocol == Protocol::Http2).then(FrameReader::new);
        Self { stream, frames, heard, _open: connections.open(protocol) }
    }
}

impl AsyncRead for Transport {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let polled = match (&mut this.frames, &mut this.stream) {
            (Some(frames), Stream::Tls(tls)) => frames.poll_read(Pin::new(tls.as_mut()), cx, buf),
            // Without TLS nothing is there to look into. It is spoken on the loopback alone.
            (_, stream) => Pin::new(stream).poll_read(cx, buf),
        };
        if buf.filled().len() > before {
            this.heard.bytes.store(true, Ordering::Relaxed);
            if let Some(frames) = &this.frames {
                this.heard.data.store(frames.data(), Ordering::Relaxed);
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
