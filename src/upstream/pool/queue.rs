//! Those who wait for a connection, and the connections that are being opened for them.
//!
//! A connection is opened by a task of its own: a request that is dropped does not take along what others wait for. As
//! many are opened as those who wait need, and no more: one, while the protocol is not known (many requests at a cold
//! start are no herd of connections); then one a request with HTTP/1, and one for as many requests as the upstream
//! allowed last with HTTP/2. Who waits gets whatever comes free first.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::{Rc, Weak};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;
use tracing::debug;

use crate::config::UpstreamHttp;
use crate::outbound::{ConnectError, Offer, Protocol};

use super::h2::MAX_STREAMS;
use super::{OpenConnections, Pool, RequestBody, Slot, h1, h2};

pub(super) struct Queue<B: RequestBody> {
    waiting: RefCell<VecDeque<Waiting<B>>>,
    /// How many connections are being opened.
    opening: Cell<usize>,
    /// How many of those who wait one more connection will serve.
    per_connection: Cell<usize>,
}

pub(super) struct Waiting<B: RequestBody>(oneshot::Sender<Result<Slot<B>, ConnectError>>);

/// Counted as one connection being opened until dropped.
pub(super) struct Opening<B: RequestBody> {
    pool: Weak<Pool<B>>,
    connections: OpenConnections,
}

// === impl Queue ===

impl<B: RequestBody> Queue<B> {
    pub(super) fn new(http: UpstreamHttp) -> Self {
        let per_connection = match http {
            // Not known before the first has come.
            UpstreamHttp::Auto => usize::MAX,
            UpstreamHttp::Http1 => 1,
            UpstreamHttp::Http2 => MAX_STREAMS,
        };
        Self { waiting: RefCell::default(), opening: Cell::new(0), per_connection: Cell::new(per_connection) }
    }

    fn push(&self, waiting: Waiting<B>) {
        let mut queue = self.waiting.borrow_mut();
        // Those who have given up would be counted as in need of a connection.
        while queue.pop_front_if(|first| first.0.is_closed()).is_some() {}
        queue.push_back(waiting);
    }

    /// The first who waits and is still there: what it is given will be taken.
    pub(super) fn next(&self) -> Option<Waiting<B>> {
        let mut waiting = self.waiting.borrow_mut();
        std::iter::from_fn(|| waiting.pop_front()).find(|waiting| !waiting.0.is_closed())
    }

    /// Those hear of it for whom no other connection is being opened.
    fn fail(&self, error: &ConnectError) {
        let Self { waiting, opening, per_connection } = self;
        let served = opening.get().saturating_mul(per_connection.get());
        waiting.borrow_mut().retain(|waiting| !waiting.0.is_closed());
        while waiting.borrow().len() > served {
            let Some(Waiting(first)) = waiting.borrow_mut().pop_front() else { return };
            let _ = first.send(Err(error.clone()));
        }
    }

    /// How many connections those need who wait.
    fn wanted(&self) -> usize {
        let mut waiting = self.waiting.borrow_mut();
        if waiting.len().div_ceil(self.per_connection.get()) > self.opening.get() {
            // A connection for those who have given up would be opened for nobody.
            waiting.retain(|waiting| !waiting.0.is_closed());
        }
        waiting.len().div_ceil(self.per_connection.get())
    }

    pub(super) fn is_opening(&self) -> bool {
        self.opening.get() > 0
    }
}

// === impl Waiting ===

impl<B: RequestBody> Waiting<B> {
    pub(super) fn grant(self, slot: Slot<B>) {
        // A slot that is not taken after all gives itself back when it is dropped.
        let _ = self.0.send(Ok(slot));
    }
}

// === impl Opening ===

impl<B: RequestBody> Opening<B> {
    fn new(pool: &Pool<B>) -> Self {
        pool.queue.opening.set(pool.queue.opening.get() + 1);
        pool.connections.began();
        Self { pool: pool.this.clone(), connections: pool.connections.clone() }
    }

    /// The connection is there, and serves so many of those who wait.
    pub(super) fn succeeded(self, per_connection: usize) {
        let pool = self.pool.upgrade();
        drop(self);
        if let Some(pool) = pool {
            pool.queue.per_connection.set(per_connection);
            pool.open_for_waiting();
        }
    }

    /// Those hear of it for whom no other connection is being opened.
    pub(super) fn failed(self, error: ConnectError) {
        let (pool, connections) = (self.pool.upgrade(), self.connections.clone());
        drop(self);
        debug!(%error, "a connection to the upstream could not be opened");
        connections.dials().give();
        if let Some(pool) = pool {
            pool.queue.fail(&error);
        }
    }
}

impl<B: RequestBody> Drop for Opening<B> {
    fn drop(&mut self) {
        self.connections.ended();
        if let Some(pool) = self.pool.upgrade() {
            pool.queue.opening.set(pool.queue.opening.get() - 1);
        }
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

    fn open_for_waiting(&self) {
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

    /// A request was answered: another connection may be opened for those who wait.
    pub(super) fn may_dial(&self) {
        self.connections.dials().give();
        if self.pausing.get() {
            self.open_for_waiting();
        }
    }

    /// Tries again after this time.
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

    /// Whether the descriptors that are reserved for others stay free.
    pub(super) fn may_open(&self) -> bool {
        self.connections.total() < self.limits.most_connections
    }

    /// Opens one connection more.
    pub(super) fn open_one(&self) {
        tokio::task::spawn_local(open(self.this.clone(), Opening::new(self)));
    }
}

async fn open<B: RequestBody>(pool: Weak<Pool<B>>, opening: Opening<B>) {
    let Some((connector, offer)) = pool.upgrade().map(|pool| (pool.connector.clone(), pool.offer())) else { return };
    let mut outcome = connector.connect(offer).await;
    let Some(pool) = pool.upgrade() else { return };
    // The upstream has said meanwhile that it requires HTTP/1.1.
    if pool.offer() == Offer::Http1 && matches!(outcome, Ok((_, Protocol::Http2))) {
        outcome = connector.connect(Offer::Http1).await;
    }
    match outcome {
        Ok((stream, Protocol::Http1)) => match h1::start(&pool, stream).await {
            Ok(conn) => {
                pool.check_in(conn);
                opening.succeeded(1);
            }
            Err(error) => opening.failed(ConnectError::Unreachable(error.to_string())),
        },
        Ok((stream, Protocol::Http2)) => {
            if let Some(conn) = h2::start(&pool, stream, opening).await {
                pool.shared.borrow_mut().push(Rc::clone(&conn));
                pool.share(&conn);
            }
        }
        Err(error) => opening.failed(error),
    }
}
