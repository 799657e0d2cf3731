//! The orderly end: no new connections, no new requests, what is in flight finishes; what does not is cut.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::Running;
use super::stage::LAST_CALL;

/// What a drain has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drained {
    /// Connections that were still open after the grace: with a request in flight, or upgraded.
    pub aborted: usize,
}

/// Whether one worker drains, for its connections.
#[derive(Default)]
pub(super) struct Draining {
    since: Cell<Option<Instant>>,
    begins: Arc<Notify>,
}

// === impl Running ===

impl Running {
    /// Ends the server: closes the listeners, lets what is in flight finish for as long as `grace`, and cuts the rest. All
    /// threads have ended when this returns.
    ///
    /// HTTP/1 responses that are still to come carry `Connection: close`; HTTP/2 connections get a GOAWAY. An idle HTTP/1
    /// connection is closed at once, unless it was answered within the last half second: its next request may be on its way.
    pub async fn drain(self, grace: Duration) -> Drained {
        self.drain_or_cut(grace, std::future::pending()).await
    }

    /// Drains, and cuts the requests in flight as soon as `cut` is ready.
    pub async fn drain_or_cut(self, grace: Duration, cut: impl Future<Output = ()>) -> Drained {
        let Self { connections, acceptor, workers, mut ended, .. } = self;
        let (close, closed) = oneshot::channel();
        if acceptor.send(close).is_ok() {
            // From here on the number of connections only falls.
            let _ = closed.await;
        }
        let aborted = tokio::select! {
            () = connections.at_most(|| 0) => 0,
            () = tokio::time::sleep(grace) => connections.count(),
            () = cut => connections.count(),
        };
        let (commands, threads): (Vec<_>, Vec<_>) =
            workers.into_iter().map(|worker| (worker.commands, worker.thread)).unzip();
        drop(commands);
        ended.recv().await;
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a worker panicked");
            }
        }
        Drained { aborted }
    }
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

    /// Returns when a connection that is not open yet has had its last chance.
    pub(super) async fn last_call(&self) {
        if self.since().is_none() {
            self.begins.notified().await;
        }
        tokio::time::sleep(LAST_CALL).await;
    }
}
