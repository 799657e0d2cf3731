//! A request body that can be sent twice: capped, zero-copy, with trailers, and never collected before it is sent.
//!
//! The body streams to the upstream as it arrives. Each piece is also kept by reference, while the body so far fits
//! `upstream.replay_limit` and `upstream.replay_budget`. A piece that exceeds either one drops the kept pieces, and the body continues
//! as a plain stream: a large body forfeits the replay, not the request.
//!
//! The upstream may respond before the client has sent everything, while the first attempt is still reading the body. So an attempt
//! can be **revoked**. [`ReplayBuffer::replay`] revokes the present attempt, whose next poll returns an error that makes hyper end it.
//! The new attempt repeats the kept pieces, and continues where the old one stopped.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use tokio::time::Instant;

/// How many more bytes may be kept for replays (`upstream.replay_budget`). Clones share it.
#[derive(Clone, Debug)]
pub struct Budget {
    left: Arc<AtomicUsize>,
}

/// The pieces of a body, for a replay.
pub struct ReplayBuffer<B> {
    shared: Rc<RefCell<State<B>>>,
}

/// The body as one attempt reads it.
pub struct AttemptBody<B> {
    shared: Rc<RefCell<State<B>>>,
    number: u32,
    /// How many of the kept pieces this attempt has sent.
    sent: usize,
    /// How many bytes of the kept pieces this attempt has sent.
    sent_bytes: u64,
    trailers_sent: bool,
}

/// Why a body ended too early.
#[derive(Debug, thiserror::Error)]
pub enum AttemptError<E> {
    /// A newer attempt reads the body now.
    #[error("a replay replaced this attempt")]
    Revoked,
    #[error(transparent)]
    Source(E),
}

/// Who must act next for the body to continue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The client: it owes the next piece.
    Awaited,
    /// The upstream: it got a piece at this time, and has not asked for the next.
    Given(Instant),
    /// Nobody: the body ended at this time.
    Ended(Instant),
}

/// The result of polling a body.
type Polled<E> = Poll<Option<Result<Frame<Bytes>, AttemptError<E>>>>;

struct State<B> {
    rest: B,
    pieces: Pieces,
    end: End,
    progress: Progress,
    /// The length of the body was announced.
    sized: bool,
    /// The number of the attempt that may read.
    reader: u32,
    /// The waker of the present attempt: a revoked attempt must wake to notice.
    waker: Option<Waker>,
    limit: usize,
    budget: Budget,
}

/// A body of which a part is missing cannot be replayed: `Dropped` holds no pieces.
enum Pieces {
    Whole { list: Vec<Bytes>, bytes: usize },
    Dropped,
}

enum End {
    NotYet,
    Reached(Option<HeaderMap>),
    /// The body ended in an error, so the kept pieces are incomplete.
    Failed,
}

// === impl Budget ===

impl Budget {
    pub fn new(bytes: usize) -> Self {
        Self { left: Arc::new(AtomicUsize::new(bytes)) }
    }

    pub(super) fn take(&self, bytes: usize) -> bool {
        self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(bytes)).is_ok()
    }

    fn give_back(&self, bytes: usize) {
        self.left.fetch_add(bytes, Ordering::Relaxed);
    }
}

// === impl ReplayBuffer ===

impl<B: Body<Data = Bytes> + Unpin> ReplayBuffer<B> {
    /// Also returns the body of the first attempt. `limit`: in bytes.
    pub fn new(body: B, limit: usize, budget: &Budget) -> (Self, AttemptBody<B>) {
        let state = State {
            sized: body.size_hint().exact().is_some(),
            rest: body,
            pieces: Pieces::Whole { list: Vec::new(), bytes: 0 },
            end: End::NotYet,
            progress: Progress::Given(Instant::now()),
            reader: 0,
            waker: None,
            limit,
            budget: budget.clone(),
        };
        let kept = Self { shared: Rc::new(RefCell::new(state)) };
        let attempt = kept.attempt(0);
        (kept, attempt)
    }

    /// A body that is streamed and not kept: it cannot be replayed.
    pub fn streamed(body: B, budget: &Budget) -> (Self, AttemptBody<B>) {
        let (kept, attempt) = Self::new(body, 0, budget);
        kept.shared.borrow_mut().drop_pieces();
        (kept, attempt)
    }

    /// Whether everything that was read so far is kept.
    pub fn is_whole(&self) -> bool {
        let shared = self.shared.borrow();
        matches!((&shared.pieces, &shared.end), (Pieces::Whole { .. }, End::NotYet | End::Reached(..)))
    }

    pub fn progress(&self) -> Progress {
        self.shared.borrow().progress
    }

    /// Revokes the present attempt, and begins another one with the first byte. Returns `None` if not everything was kept.
    pub fn replay(&self) -> Option<AttemptBody<B>> {
        if !self.is_whole() {
            return None;
        }
        let mut shared = self.shared.borrow_mut();
        shared.reader += 1;
        let number = shared.reader;
        let waker = shared.waker.take();
        drop(shared);
        if let Some(waker) = waker {
            waker.wake();
        }
        Some(self.attempt(number))
    }

    /// Gives up the replay. The next piece drops the kept ones, and nothing more is kept.
    pub fn release(&self) {
        self.shared.borrow_mut().limit = 0;
    }

    fn attempt(&self, number: u32) -> AttemptBody<B> {
        AttemptBody { shared: Rc::clone(&self.shared), number, sent: 0, sent_bytes: 0, trailers_sent: false }
    }

    /// Passes the client's body to `look`.
    pub fn with_source<T>(&self, look: impl FnOnce(&B) -> T) -> T {
        look(&self.shared.borrow().rest)
    }
}

// === impl AttemptBody ===

impl<B: Body<Data = Bytes> + Unpin> Body for AttemptBody<B> {
    type Data = Bytes;
    type Error = AttemptError<B::Error>;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Polled<B::Error> {
        let this = self.get_mut();
        let shared = Rc::clone(&this.shared);
        let mut shared = shared.borrow_mut();
        if shared.reader != this.number {
            return Poll::Ready(Some(Err(AttemptError::Revoked)));
        }
        let polled = this.poll_shared(&mut shared, cx);
        shared.progress = match &polled {
            Poll::Pending => Progress::Awaited,
            Poll::Ready(Some(Ok(_))) if !this.has_ended(&shared) => Progress::Given(Instant::now()),
            Poll::Ready(_) => Progress::Ended(Instant::now()),
        };
        polled
    }

    fn is_end_stream(&self) -> bool {
        let shared = self.shared.borrow();
        shared.reader == self.number && self.has_ended(&shared)
    }

    fn size_hint(&self) -> SizeHint {
        let shared = self.shared.borrow();
        let unsent = match &shared.pieces {
            Pieces::Whole { bytes, .. } => (*bytes as u64).saturating_sub(self.sent_bytes),
            Pieces::Dropped => 0,
        };
        let rest = match shared.end {
            End::NotYet => shared.rest.size_hint(),
            End::Reached(..) | End::Failed => SizeHint::with_exact(0),
        };
        let mut hint = SizeHint::new();
        // A replay is framed like the first attempt. With a known length, HTTP/1.1 has no place for trailers. The upper bound is
        // set first: `set_lower` panics above the present upper bound.
        if shared.sized
            && let Some(upper) = rest.upper().and_then(|upper| upper.checked_add(unsent))
        {
            hint.set_upper(upper);
        }
        hint.set_lower(rest.lower().saturating_add(unsent));
        hint
    }
}

impl<B: Body<Data = Bytes> + Unpin> AttemptBody<B> {
    fn poll_shared(&mut self, shared: &mut State<B>, cx: &mut Context<'_>) -> Polled<B::Error> {
        if let Pieces::Whole { list, .. } = &shared.pieces
            && let Some(piece) = list.get(self.sent)
        {
            self.sent += 1;
            self.sent_bytes += piece.len() as u64;
            return Poll::Ready(Some(Ok(Frame::data(piece.clone()))));
        }
        match &shared.end {
            End::Reached(Some(trailers)) if !self.trailers_sent => {
                self.trailers_sent = true;
                return Poll::Ready(Some(Ok(Frame::trailers(trailers.clone()))));
            }
            End::Reached(..) => return Poll::Ready(None),
            // An error, not an end: a body that was cut must not look complete.
            End::Failed => return Poll::Ready(Some(Err(AttemptError::Revoked))),
            End::NotYet => {}
        }
        match Pin::new(&mut shared.rest).poll_frame(cx) {
            Poll::Pending => {
                if !shared.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
                    shared.waker = Some(cx.waker().clone());
                }
                Poll::Pending
            }
            Poll::Ready(None) => {
                shared.end = End::Reached(None);
                Poll::Ready(None)
            }
            Poll::Ready(Some(Err(error))) => {
                shared.end = End::Failed;
                shared.drop_pieces();
                Poll::Ready(Some(Err(AttemptError::Source(error))))
            }
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(data) = frame.data_ref() {
                    if shared.keep(data) {
                        self.sent += 1;
                        self.sent_bytes += data.len() as u64;
                    }
                    if shared.rest.is_end_stream() {
                        shared.end = End::Reached(None);
                    }
                } else if let Some(trailers) = frame.trailers_ref() {
                    shared.end = End::Reached(Some(trailers.clone()));
                    self.trailers_sent = true;
                } else {
                    // An unknown kind of frame passes, and cannot be repeated.
                    shared.drop_pieces();
                }
                Poll::Ready(Some(Ok(frame)))
            }
        }
    }

    /// Whether this attempt has sent everything.
    fn has_ended(&self, shared: &State<B>) -> bool {
        let unsent = matches!(&shared.pieces, Pieces::Whole { list, .. } if self.sent < list.len());
        match &shared.end {
            _ if unsent => false,
            End::Reached(trailers) => trailers.is_none() || self.trailers_sent,
            End::NotYet => shared.rest.is_end_stream(),
            End::Failed => false,
        }
    }
}

// === impl State ===

impl<B> State<B> {
    /// Keeps a piece. Drops everything if it does not fit. Returns whether the piece was kept.
    fn keep(&mut self, data: &Bytes) -> bool {
        let Pieces::Whole { list, bytes } = &mut self.pieces else { return false };
        if data.len() <= self.limit.saturating_sub(*bytes) && self.budget.take(data.len()) {
            list.push(data.clone());
            *bytes += data.len();
            return true;
        }
        self.drop_pieces();
        false
    }

    fn drop_pieces(&mut self) {
        if let Pieces::Whole { bytes, .. } = std::mem::replace(&mut self.pieces, Pieces::Dropped) {
            self.budget.give_back(bytes);
        }
    }
}

impl<B> Drop for State<B> {
    fn drop(&mut self) {
        self.drop_pieces();
    }
}

#[cfg(test)]
mod tests;
