//! The socket of a connection. It reports to the lifetime: bytes arrived, bytes were written, the socket is blocked, the client has ended.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::oneshot;

use super::connections::ConnectionPermit;
use super::half_close::HalfClose;
use super::protocol::{PREFACE, Protocol};
use super::signals::Signals;
use super::stream::Stream;

/// A socket that reports to [`Signals`]. It is below TLS, so that it sees the bytes on the wire.
pub(super) struct Socket {
    stream: Stream,
    signals: Arc<Signals>,
    /// Bytes that were read to detect the protocol, and not yet passed on.
    prefix: Prefix,
    half_close: HalfClose,
    /// With client certificates: ends a tunnel from outside.
    cut: Option<oneshot::Receiver<()>>,
    _permit: ConnectionPermit,
}

#[derive(Default)]
struct Prefix {
    bytes: [u8; PREFACE.len()],
    start: u8,
    end: u8,
}

// === impl Socket ===

impl Socket {
    pub(super) fn new(stream: Stream, permit: ConnectionPermit) -> Self {
        Self {
            stream,
            signals: Arc::default(),
            prefix: Prefix::default(),
            half_close: HalfClose::default(),
            cut: None,
            _permit: permit,
        }
    }

    pub(super) fn signals(&self) -> Arc<Signals> {
        self.signals.clone()
    }

    /// Returns a sender. A message to it makes all later reads fail. The socket closes the channel when it is dropped.
    pub(super) fn cutter(&mut self) -> oneshot::Sender<()> {
        let (sender, cut) = oneshot::channel();
        self.cut = Some(cut);
        sender
    }

    fn is_cut(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(cut) = &mut self.cut else { return false };
        match Pin::new(cut).poll(cx) {
            Poll::Ready(Ok(())) => true,
            Poll::Ready(Err(_)) => {
                self.cut = None;
                false
            }
            Poll::Pending => false,
        }
    }

    /// Detects the HTTP version by the first bytes of the client. They are passed on afterwards.
    ///
    /// `None`: the client has closed without sending anything.
    pub(super) async fn sniff(&mut self) -> io::Result<Option<Protocol>> {
        std::future::poll_fn(|cx| self.poll_sniff(cx)).await
    }

    fn poll_sniff(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Protocol>>> {
        loop {
            let Prefix { bytes, end, .. } = &mut self.prefix;
            if let Some(protocol) = Protocol::detect(&bytes[..usize::from(*end)]) {
                return Poll::Ready(Ok(Some(protocol)));
            }
            let mut buf = ReadBuf::new(&mut bytes[usize::from(*end)..]);
            ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buf))?;
            match u8::try_from(buf.filled().len()) {
                Ok(read @ 1..) => *end = end.saturating_add(read),
                // The buffer is shorter than 256 bytes: this is the end of the stream.
                Ok(0) | Err(_) => return Poll::Ready(Ok(None)),
            }
        }
    }

    /// An error if the client has ended its side while its request is in flight: see [`HalfClose`].
    pub(super) fn unless_client_has_gone<T>(
        &mut self,
        polled: Poll<io::Result<T>>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        self.half_close.check(&self.stream, &self.signals, polled, cx)
    }

    /// Reads and discards until the client closes.
    ///
    /// A close with unread bytes would reset the connection. A reset can destroy a response that the client has not yet read
    /// (RFC 9112 §9.6), for example a 413 while the client still sends the body.
    fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut scratch = [MaybeUninit::uninit(); 4096];
        loop {
            let mut buf = ReadBuf::uninit(&mut scratch);
            let read = ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buf));
            if read.is_err() || buf.filled().is_empty() {
                return Poll::Ready(());
            }
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if self.signals.is_reset()
            && let Err(error) = self.stream.reset_on_close()
        {
            tracing::debug!(%error, "a connection could not be reset");
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.is_cut(cx) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        this.half_close.read();
        let put_back = this.prefix.move_to(buf);
        let before = buf.filled().len();
        let result = Pin::new(&mut this.stream).poll_read(cx, buf);
        if let Poll::Ready(Ok(())) = result {
            if buf.filled().len() > before {
                this.signals.saw_read();
            } else if buf.remaining() > 0 {
                this.signals.set_ended();
            }
        }
        // The prefix was delivered, so this read succeeds. The next one returns the result of the stream again.
        if put_back { Poll::Ready(Ok(())) } else { result }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.stream).poll_write(cx, buf);
        this.signals.saw_write(&result);
        result
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.stream).poll_write_vectored(cx, bufs);
        this.signals.saw_write(&result);
        result
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.signals.is_shut() {
            ready!(Pin::new(&mut this.stream).poll_shutdown(cx))?;
            this.signals.set_shut();
        }
        if this.signals.lingers() && !this.signals.is_ended() {
            ready!(this.poll_discard(cx));
        }
        Poll::Ready(Ok(()))
    }
}

// === impl Prefix ===

impl Prefix {
    /// Whether there were bytes to move.
    fn move_to(&mut self, buf: &mut ReadBuf<'_>) -> bool {
        let rest = &self.bytes[usize::from(self.start)..usize::from(self.end)];
        let moved = rest.len().min(buf.remaining());
        buf.put_slice(&rest[..moved]);
        self.start = self.start.saturating_add(u8::try_from(moved).unwrap_or(u8::MAX));
        moved > 0
    }
}
