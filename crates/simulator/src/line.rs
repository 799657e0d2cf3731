//! The handle of one connection. Its owner can end the connection during an exchange, and learns when bytes have left.

use std::fmt;
use std::mem;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use tokio::sync::watch;

use super::ledger::Delivery;

/// How a connection is ended early.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// At once.
    Close,
    /// At once, and with a TCP reset.
    Reset,
    /// After these bytes.
    Raw(Vec<u8>),
    /// When the exchanges in flight are done: `Connection: close`, or GOAWAY.
    Drain,
}

/// One connection.
pub(super) struct Line {
    pub id: u64,
    end: watch::Sender<Option<End>>,
    flushes: Mutex<Flushes>,
}

#[derive(Default)]
struct Flushes {
    count: u64,
    waiting: Vec<Waker>,
    owed: Vec<Told>,
    is_closed: bool,
}

/// Receives the delivery of a response.
type Told = Box<dyn FnOnce(Delivery) + Send>;

// === impl Line ===

impl Line {
    pub fn new(id: u64) -> Self {
        Self { id, end: watch::Sender::new(None), flushes: Mutex::default() }
    }

    /// The first end that is not a drain wins.
    pub fn end(&self, how: End) {
        self.end.send_if_modified(|end| {
            let is_first = matches!(end, None | Some(End::Drain)) && end.as_ref() != Some(&how);
            if is_first {
                *end = Some(how);
            }
            is_first
        });
    }

    /// How the connection must end. `None`: it continues.
    pub fn ending(&self) -> Option<End> {
        self.end.borrow().clone()
    }

    /// Reports each change of [`Line::ending`].
    pub fn endings(&self) -> watch::Receiver<Option<End>> {
        self.end.subscribe()
    }

    /// Returns when the connection must end at once.
    pub async fn ended(&self) {
        let mut endings = self.endings();
        let _ = endings.wait_for(|end| end.as_ref().is_some_and(|end| *end != End::Drain)).await;
    }

    /// Ready once everything that was written before `mark` was taken has been handed to the socket.
    pub fn poll_flushed_since(&self, mark: u64, cx: &mut Context<'_>) -> Poll<()> {
        let mut flushes = self.lock();
        if flushes.count > mark || flushes.is_closed {
            return Poll::Ready(());
        }
        flushes.waiting.push(cx.waker().clone());
        Poll::Pending
    }

    /// A mark for [`Line::poll_flushed_since`].
    pub fn flushes(&self) -> u64 {
        self.lock().count
    }

    /// The protocol has the last byte of a response. The next flush delivers it.
    pub fn tell_when_flushed(&self, told: Told) {
        let mut flushes = self.lock();
        if flushes.is_closed {
            drop(flushes);
            told(Delivery::Lost);
        } else {
            flushes.owed.push(told);
        }
    }

    /// The socket has accepted everything.
    pub(super) fn flushed(&self) {
        let mut flushes = self.lock();
        flushes.count += 1;
        let (waiting, owed) = (mem::take(&mut flushes.waiting), mem::take(&mut flushes.owed));
        drop(flushes);
        waiting.into_iter().for_each(Waker::wake);
        owed.into_iter().for_each(|told| told(Delivery::Delivered));
    }

    /// The socket is closed. Undelivered responses are lost.
    pub(super) fn closed(&self) {
        let mut flushes = self.lock();
        flushes.is_closed = true;
        let (waiting, owed) = (mem::take(&mut flushes.waiting), mem::take(&mut flushes.owed));
        drop(flushes);
        waiting.into_iter().for_each(Waker::wake);
        owed.into_iter().for_each(|told| told(Delivery::Lost));
    }

    fn lock(&self) -> MutexGuard<'_, Flushes> {
        self.flushes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Line").field("id", &self.id).finish_non_exhaustive()
    }
}
