//! A connection that records whether anything was sent and what was received, and that begins no request too late.
//!
//! A process can be suspended at any line. When it continues, another process may hold the lease. So the clock is read
//! immediately before the first byte.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use pin_project_lite::pin_project;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::decode::MAX_BODY;
use crate::fault;

pin_project! {
    /// Records when bytes are handed to `io`, and accepts the first ones only before `send_by`.
    pub(super) struct Watched<T> {
        #[pin]
        pub(super) io: T,
        pub(super) sent: Arc<AtomicBool>,
        pub(super) send_by: Instant,
        pub(super) received: Zeroizing<Vec<u8>>,
    }
}

/// Room for the largest body, its head and its framing.
const MAX_RECEIVED: usize = MAX_BODY + (1 << 20);

// === impl Watched ===

impl<T> Watched<T> {
    pub(super) fn new(io: T, send_by: Instant) -> Self {
        Self { io, sent: Arc::default(), send_by, received: Zeroizing::default() }
    }
}

impl<T: AsyncRead> AsyncRead for Watched<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.project();
        let before = buf.filled().len();
        let read = this.io.poll_read(cx, buf);
        let new = buf.filled().get(before..).unwrap_or_default();
        let room = MAX_RECEIVED.saturating_sub(this.received.len());
        this.received.extend_from_slice(&new[..new.len().min(room)]);
        read
    }
}

impl<T: AsyncWrite> AsyncWrite for Watched<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.project();
        in_time(this.sent, *this.send_by)?;
        let written = this.io.poll_write(cx, buf);
        note(this.sent, &written);
        written
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.project();
        in_time(this.sent, *this.send_by)?;
        let written = this.io.poll_write_vectored(cx, bufs);
        note(this.sent, &written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.project().io.poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.project().io.poll_shutdown(cx)
    }
}

/// Whether a write is allowed: the first only in time, later ones always.
fn in_time(sent: &AtomicBool, send_by: Instant) -> io::Result<()> {
    if sent.load(Ordering::Relaxed) {
        return Ok(());
    }
    fault::point("calling");
    if Instant::now() < send_by {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::TimedOut, "the time in which the token may be presented is over"))
}

/// Whether anything was sent, given the result of a write.
fn note(sent: &AtomicBool, written: &Poll<io::Result<usize>>) {
    if written.is_ready() && !sent.swap(true, Ordering::Relaxed) {
        fault::point("called");
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::AsyncWriteExt;

    use super::*;

    #[tokio::test]
    async fn either_way_of_writing_is_seen() {
        let (io, _far) = tokio::io::duplex(1024);
        let mut watched = Watched::new(io, Instant::now());
        assert!(watched.write(b"x").await.is_err() && !watched.sent.load(Ordering::Relaxed));
        assert!(watched.write_vectored(&[IoSlice::new(b"x")]).await.is_err() && !watched.sent.load(Ordering::Relaxed));
        watched.send_by = Instant::now() + Duration::from_secs(60);
        assert!(watched.write(b"x").await.is_ok() && watched.sent.load(Ordering::Relaxed));
        watched.sent = Arc::default();
        assert!(watched.write_vectored(&[IoSlice::new(b"x")]).await.is_ok() && watched.sent.load(Ordering::Relaxed));
    }
}
