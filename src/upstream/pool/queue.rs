//! The requests that wait for a connection, and how many connections are opened for them.
//!
//! The pool opens as many connections as the waiting requests need:
//!
//! - while the protocol is unknown, one: many requests at a cold start must not open many connections
//! - with HTTP/1, one per request
//! - with HTTP/2, one for as many requests as the upstream allowed on the last connection
//!
//! A waiting request takes the connection that becomes free first.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::config::UpstreamHttp;
use crate::outbound::ConnectError;

use super::{MAX_STREAMS, Pool, RequestBody, Slot};

pub(super) struct Queue<B: RequestBody> {
    waiting: RefCell<VecDeque<Waiting<B>>>,
    /// How many connections are being opened.
    opening: Cell<usize>,
    /// How many waiting requests one more connection will serve.
    per_connection: Cell<usize>,
}

pub(super) struct Waiting<B: RequestBody>(oneshot::Sender<Result<Slot<B>, ConnectError>>);

// === impl Queue ===

impl<B: RequestBody> Queue<B> {
    pub(super) fn new(http: UpstreamHttp) -> Self {
        let per_connection = match http {
            // Unknown until the first connection is open.
            UpstreamHttp::Auto => usize::MAX,
            UpstreamHttp::Http1 => 1,
            UpstreamHttp::Http2 => MAX_STREAMS,
        };
        Self { waiting: RefCell::default(), opening: Cell::new(0), per_connection: Cell::new(per_connection) }
    }

    fn push(&self, waiting: Waiting<B>) {
        let mut queue = self.waiting.borrow_mut();
        // A cancelled request needs no connection.
        while queue.pop_front_if(|first| first.0.is_closed()).is_some() {}
        queue.push_back(waiting);
    }

    /// The first waiting request that was not cancelled.
    pub(super) fn next(&self) -> Option<Waiting<B>> {
        let mut waiting = self.waiting.borrow_mut();
        std::iter::from_fn(|| waiting.pop_front()).find(|waiting| !waiting.0.is_closed())
    }

    /// Fails the waiting requests for which no other connection is being opened.
    pub(super) fn fail(&self, error: &ConnectError) {
        let Self { waiting, opening, per_connection } = self;
        let served = opening.get().saturating_mul(per_connection.get());
        waiting.borrow_mut().retain(|waiting| !waiting.0.is_closed());
        while waiting.borrow().len() > served {
            let Some(Waiting(first)) = waiting.borrow_mut().pop_front() else { return };
            let _ = first.send(Err(error.clone()));
        }
    }

    /// How many connections the waiting requests need.
    fn wanted(&self) -> usize {
        let mut waiting = self.waiting.borrow_mut();
        if waiting.len().div_ceil(self.per_connection.get()) > self.opening.get() {
            // Cancelled requests need no connection.
            waiting.retain(|waiting| !waiting.0.is_closed());
        }
        waiting.len().div_ceil(self.per_connection.get())
    }

    pub(super) fn opening_began(&self) {
        self.opening.set(self.opening.get() + 1);
    }

    pub(super) fn opening_ended(&self) {
        self.opening.set(self.opening.get() - 1);
    }

    /// How many requests the newest connection serves at once: the next one is expected to do the same.
    pub(super) fn set_per_connection(&self, requests: usize) {
        self.per_connection.set(requests);
    }

    pub(super) fn is_opening(&self) -> bool {
        self.opening.get() > 0
    }
}

// === impl Waiting ===

impl<B: RequestBody> Waiting<B> {
    pub(super) fn grant(self, slot: Slot<B>) {
        // An unused slot returns its connection when it is dropped.
        let _ = self.0.send(Ok(slot));
    }
}

// === impl Pool ===

impl<B: RequestBody> Pool<B> {
    pub(super) async fn wait(&self) -> Result<Slot<B>, ConnectError> {
        let (sender, receiver) = oneshot::channel();
        self.queue.push(Waiting(sender));
        self.open_for_waiting();
        let patience = self.limits.patience;
        match tokio::time::timeout(2 * patience, receiver).await {
            Ok(granted) => granted.unwrap_or_else(|_| Err(ConnectError::Unreachable("the worker is ending".into()))),
            Err(_) => Err(ConnectError::Timeout(patience)),
        }
    }

    pub(super) fn open_for_waiting(&self) {
        while self.queue.opening.get() < self.queue.wanted() {
            if !self.may_open() {
                return self.queue.fail(&ConnectError::NoDescriptor);
            }
            if let Err(wait) = self.connections.dials().take(Instant::now()) {
                return self.pause(wait);
            }
            self.open_one();
        }
    }

    /// A response arrived, so one more connection may be opened for the waiting requests.
    pub(super) fn may_dial(&self) {
        self.connections.dials().give();
        if self.pausing.get() {
            self.open_for_waiting();
        }
    }

    /// Tries again later.
    fn pause(&self, wait: Duration) {
        if self.pausing.replace(true) {
            return;
        }
        let pool = self.this.clone();
        tokio::task::spawn_local(async move {
            tokio::time::sleep(wait).await;
            if let Some(pool) = pool.upgrade() {
                pool.pausing.set(false);
                pool.open_for_waiting();
            }
        });
    }

    /// Whether one more connection leaves the descriptors free that are reserved for other uses.
    pub(super) fn may_open(&self) -> bool {
        self.connections.total() < self.limits.most_connections
    }
}
