//! A connection's socket, and what it tells the connection's lifetime: bytes came, bytes went, it is blocked, it has ended.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::heads::Ambiguity;
use super::load::Place;
use super::protocol::{PREFACE, Protocol};
use super::stream::{Ahead, Stream};

/// A socket that reports to [`Signals`]. Below TLS, so that it sees what really moves.
pub(super) struct Socket {
    stream: Stream,
    signals: Arc<Signals>,
    /// Read to find the protocol, and not yet handed on.
    prefix: Prefix,
    /// Bytes are there that nobody has asked for.
    unread: bool,
    _place: Place,
}

/// What the socket has seen since the connection's lifetime last looked.
///
/// Atomics for their type alone: hyper wants an upgradeable connection's IO to be `Send`. One thread touches them, and relaxed
/// loads and stores are plain moves.
pub(super) struct Signals {
    /// Bytes came in.
    read: AtomicBool,
    /// Bytes went out.
    wrote: AtomicBool,
    /// The last attempt to write found no room.
    blocked: AtomicBool,
    /// The client has ended its side.
    eof: AtomicBool,
    /// HTTP/1: a request is in flight.
    busy: AtomicBool,
    /// This side is ended.
    shut: AtomicBool,
    /// After the end of this side, read on to the client's.
    linger: AtomicBool,
    /// End with a reset: see [`Signals::reset`].
    reset: AtomicBool,
    /// HTTP/1: the number of the request whose body is not yet whole; 0: none.
    receiving: AtomicU64,
    /// HTTP/1: the number of the first request whose head is to be refused, from 1 on, and why.
    refused: OnceLock<(u64, Ambiguity)>,
}

#[derive(Default)]
struct Prefix {
    bytes: [u8; PREFACE.len()],
    start: u8,
    end: u8,
}

// === impl Socket ===

impl Socket {
    pub(super) fn new(stream: Stream, place: Place) -> Self {
        Self { stream, signals: Arc::default(), prefix: Prefix::default(), unread: false, _place: place }
    }

    pub(super) fn signals(&self) -> Arc<Signals> {
        self.signals.clone()
    }

    /// Finds out which HTTP the client speaks, by its first bytes, which are read again afterwards.
    ///
    /// `None`: it has closed without a word.
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
                // The buffer is shorter than any `u8`: only the end of the stream comes here.
                Ok(0) | Err(_) => return Poll::Ready(Ok(None)),
            }
        }
    }

    /// What a poll has come to; an error where the client has ended its side while its request is in flight. Sees to it that this is
    /// noticed.
    ///
    /// hyper would read to find out, for which it takes a new buffer a request, since the request still has a part of the last.
    /// Instead this is asked whenever hyper flushes, which it does in each of its polls, and when it can't write. What a client
    /// sends behind its request hides its end, until that is read.
    pub(super) fn unless_client_has_gone<T>(
        &mut self,
        polled: Poll<io::Result<T>>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        // An end that was read, within a request's body, hyper knows of: it still has an answer.
        if !Signals::is(&self.signals.busy) || Signals::is(&self.signals.eof) || self.unread {
            return polled;
        }
        match self.stream.poll_ahead(cx) {
            Poll::Ready(Ahead::End) => {
                Signals::set(&self.signals.eof);
                Poll::Ready(Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the client has gone")))
            }
            Poll::Ready(Ahead::Bytes) => {
                self.unread = true;
                polled
            }
            Poll::Pending => polled,
        }
    }

    /// Reads and throws away until the client closes.
    ///
    /// To close with unread bytes would reset the connection, and a reset can destroy a response that the client has not yet
    /// read (RFC 9112 §9.6): a 413 while the body is still being sent, for one.
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
        if Signals::is(&self.signals.reset)
            && let Err(error) = self.stream.reset_on_close()
        {
            tracing::debug!(%error, "a connection could not be reset");
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.unread = false;
        let put_back = this.prefix.move_to(buf);
        let before = buf.filled().len();
        let result = Pin::new(&mut this.stream).poll_read(cx, buf);
        if let Poll::Ready(Ok(())) = result {
            if buf.filled().len() > before {
                this.signals.saw_read();
            } else if buf.remaining() > 0 {
                Signals::set(&this.signals.eof);
            }
        }
        // What was put back is there, whatever the socket says; it will say so again.
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
        if !Signals::is(&this.signals.shut) {
            ready!(Pin::new(&mut this.stream).poll_shutdown(cx))?;
            Signals::set(&this.signals.shut);
        }
        if Signals::is(&this.signals.linger) && !Signals::is(&this.signals.eof) {
            ready!(this.poll_discard(cx));
        }
        Poll::Ready(Ok(()))
    }
}

// === impl Signals ===

impl Signals {
    /// Whether bytes came in since this was last asked, or [`Signals::forget_read`] called.
    pub(super) fn take_read(&self) -> bool {
        Self::take(&self.read)
    }

    /// The bytes that came in so far belong to a request that is known.
    pub(super) fn forget_read(&self) {
        self.read.store(false, Ordering::Relaxed);
    }

    pub(super) fn set_busy(&self, busy: bool) {
        self.busy.store(busy, Ordering::Relaxed);
    }

    /// Whether bytes went out since this was last asked.
    pub(super) fn take_wrote(&self) -> bool {
        Self::take(&self.wrote)
    }

    pub(super) fn is_blocked(&self) -> bool {
        Self::is(&self.blocked)
    }

    /// Whether the client has ended its side.
    pub(super) fn is_ended(&self) -> bool {
        Self::is(&self.eof)
    }

    pub(super) fn is_shut(&self) -> bool {
        Self::is(&self.shut)
    }

    /// Close without waiting for the client: nothing of a response can be lost.
    pub(super) fn do_not_linger(&self) {
        self.linger.store(false, Ordering::Relaxed);
    }

    /// Throw away, with the connection, what the client has not taken. Closed in order, it would stay in the kernel, megabytes a
    /// connection, for as long as the client likes to take a byte now and then.
    pub(super) fn reset(&self) {
        Self::set(&self.reset);
    }

    pub(super) fn saw_read(&self) {
        Self::set(&self.read);
    }

    pub(super) fn saw_write(&self, result: &Poll<io::Result<usize>>) {
        self.blocked.store(result.is_pending(), Ordering::Relaxed);
        if matches!(result, Poll::Ready(Ok(1..))) {
            Self::set(&self.wrote);
        }
    }

    pub(super) fn set_receiving(&self, request: Option<u64>) {
        self.receiving.store(request.unwrap_or_default(), Ordering::Relaxed);
    }

    /// Whether some of this request's body has not come yet.
    pub(super) fn is_receiving(&self, request: u64) -> bool {
        self.receiving.load(Ordering::Relaxed) == request
    }

    pub(super) fn refuse(&self, request: u64, ambiguity: Ambiguity) {
        let _ = self.refused.set((request, ambiguity));
    }

    /// Why this request, and every later one of the connection, is to be refused.
    pub(super) fn ambiguity(&self, request: u64) -> Option<Ambiguity> {
        self.refused.get().filter(|(refused, _)| request >= *refused).map(|(_, ambiguity)| *ambiguity)
    }

    fn is(flag: &AtomicBool) -> bool {
        flag.load(Ordering::Relaxed)
    }

    fn set(flag: &AtomicBool) {
        flag.store(true, Ordering::Relaxed);
    }

    /// Not a swap, which would lock the bus: there is one thread.
    fn take(flag: &AtomicBool) -> bool {
        let value = flag.load(Ordering::Relaxed);
        flag.store(false, Ordering::Relaxed);
        value
    }
}

impl Default for Signals {
    fn default() -> Self {
        Self {
            read: AtomicBool::new(false),
            wrote: AtomicBool::new(false),
            blocked: AtomicBool::new(false),
            eof: AtomicBool::new(false),
            busy: AtomicBool::new(false),
            shut: AtomicBool::new(false),
            linger: AtomicBool::new(true),
            reset: AtomicBool::new(false),
            receiving: AtomicU64::new(0),
            refused: OnceLock::new(),
        }
    }
}

// === impl Prefix ===

impl Prefix {
    /// Whether there was anything to move.
    fn move_to(&mut self, buf: &mut ReadBuf<'_>) -> bool {
        let rest = &self.bytes[usize::from(self.start)..usize::from(self.end)];
        let moved = rest.len().min(buf.remaining());
        buf.put_slice(&rest[..moved]);
        self.start = self.start.saturating_add(u8::try_from(moved).unwrap_or(u8::MAX));
        moved > 0
    }
}
