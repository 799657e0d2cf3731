//! What a connection's parts tell each other: the socket, the check of HTTP/1 heads, the requests, and the lifetime.

use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Poll;

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

/// Why a request is refused, as one of its extensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ambiguity {
    /// Both `Content-Length` and `Transfer-Encoding`.
    LengthAndCoding,
    /// More than one `Content-Length`.
    Lengths,
    /// The target has a `#`.
    Fragment,
    /// The target has a character that hyper answers with a bare 400, which nobody counts. It was replaced.
    Target,
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

    pub(super) fn is_busy(&self) -> bool {
        Self::is(&self.busy)
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

    /// Close without waiting for the client: nothing of a response can be lost.
    pub(super) fn do_not_linger(&self) {
        self.linger.store(false, Ordering::Relaxed);
    }

    /// Throw away, with the connection, what the client has not taken. Closed in order, it would stay in the kernel, megabytes a
    /// connection, for as long as the client likes to take a byte now and then.
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
