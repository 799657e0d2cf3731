//! The drain: no new connections, no new requests. Requests in flight may finish within the grace; the rest is cut.

use std::cell::Cell;
use std::sync::Arc;

use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;
use tokio::time::Instant;

use super::connection_state::LAST_CALL;

/// The result of a drain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drained {
    /// Connections that were still open after the grace, with a request in flight or upgraded.
    pub aborted: usize,
}

/// Tells the connections of one worker that it drains.
#[derive(Default)]
pub(super) struct Draining {
    since: Cell<Option<Instant>>,
    begins: Arc<Notify>,
}

// === impl Draining ===

impl Draining {
    pub(super) fn begin(&self) {
        self.since.set(Some(Instant::now()));
        self.begins.notify_waiters();
    }

    pub(super) fn since(&self) -> Option<Instant> {
        self.since.get()
    }

    pub(super) fn begins(&self) -> OwnedNotified {
        self.begins.clone().notified_owned()
    }

    /// Returns when a connection that is not yet open must be closed.
    pub(super) async fn last_call(&self) {
        if self.since().is_none() {
            self.begins.notified().await;
        }
        tokio::time::sleep(LAST_CALL).await;
    }
}
