//! The flags that the parts of a connection share: socket, strict HTTP/1, requests, lifetime.

use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Poll;

/// Events of the socket since the lifetime of the connection last read them.
///
/// One thread uses the atomics. They are atomics because hyper requires the IO of an upgradeable connection to be `Send`. Relaxed loads
/// and stores are plain moves.
pub(super) struct Signals {
    /// Bytes arrived.
    read: AtomicBool,
    /// Bytes were written.
    wrote: AtomicBool,
    /// The last write would have blocked.
    blocked: AtomicBool,
    /// The client has ended its side.
    eof: AtomicBool,
    /// HTTP/1: a request is in flight.
    busy: AtomicBool,
    /// The proxy has ended its side.
    shut: AtomicBool,
    /// After the proxy has ended its side, read until the client ends its own.
    linger: AtomicBool,
    /// End with a reset: see [`Signals::reset`].
    reset: AtomicBool,
    /// HTTP/1: the number of the request whose body is incomplete; 0: none.
    receiving: AtomicU64,
    /// HTTP/1: the number of the first request whose head must be refused (from 1), and the reason.
    refused: OnceLock<(u64, Ambiguity)>,
}

/// Why a request is refused. An extension of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ambiguity {
    /// Both `Content-Length` and `Transfer-Encoding`.
    LengthAndCoding,
    /// More than one `Content-Length`.
    Lengths,
    /// The target has a `#`.
    Fragment,
    /// The target has a character that hyper would answer with an uncounted bare 400. The character was replaced.
    Target,
}

// === impl Signals ===

impl Signals {
    /// Whether bytes arrived since the last call of this function or of [`Signals::forget_read`].
    pub(super) fn take_read(&self) -> bool {
        Self::take(&self.read)
    }

    /// The bytes that arrived so far belong to a known request.
    pub(super) fn forget_read(&self) {
        self.read.store(false, Ordering::Relaxed);
    }

    pub(super) fn is_busy(&self) -> bool {
        Self::is(&self.busy)
    }

    pub(super) fn set_busy(&self, busy: bool) {
        self.busy.store(busy, Ordering::Relaxed);
    }

    /// Whether bytes were written since the last call.
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

    pub(super) fn set_ended(&self) {
        Self::set(&self.eof);
    }

    pub(super) fn is_shut(&self) -> bool {
        Self::is(&self.shut)
    }

    pub(super) fn set_shut(&self) {
        Self::set(&self.shut);
    }

    /// Whether to read on to the client's end after the end of this side.
    pub(super) fn lingers(&self) -> bool {
        Self::is(&self.linger)
    }

    /// Close without waiting for the client: no part of a response can be lost.
    pub(super) fn do_not_linger(&self) {
        self.linger.store(false, Ordering::Relaxed);
    }

    /// Discard the unread bytes with the connection. After an orderly close they would stay in the kernel, megabytes for each connection, as
    /// long as the client reads a byte from time to time.
    pub(super) fn reset(&self) {
        Self::set(&self.reset);
    }

    /// Whether the connection ends with a reset.
    pub(super) fn is_reset(&self) -> bool {
        Self::is(&self.reset)
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

    /// Whether the body of this request is incomplete.
    pub(super) fn is_receiving(&self, request: u64) -> bool {
        self.receiving.load(Ordering::Relaxed) == request
    }

    pub(super) fn refuse(&self, request: u64, ambiguity: Ambiguity) {
        let _ = self.refused.set((request, ambiguity));
    }

    /// Why this request, and every later one of the connection, must be refused.
    pub(super) fn ambiguity(&self, request: u64) -> Option<Ambiguity> {
        self.refused.get().filter(|(refused, _)| request >= *refused).map(|(_, ambiguity)| *ambiguity)
    }

    fn is(flag: &AtomicBool) -> bool {
        flag.load(Ordering::Relaxed)
    }

    fn set(flag: &AtomicBool) {
        flag.store(true, Ordering::Relaxed);
    }

    /// Not a swap, which would lock the bus: only one thread uses the flag.
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
