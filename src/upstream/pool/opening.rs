//! A connection that is being opened, until it can serve requests.

use std::rc::Weak;

use tracing::debug;

use crate::outbound::ConnectError;

use super::{OpenConnections, Pool, RequestBody};

/// Counted as one connection being opened until dropped.
pub(super) struct Opening<B: RequestBody> {
    pool: Weak<Pool<B>>,
    connections: OpenConnections,
}

// === impl Opening ===

impl<B: RequestBody> Opening<B> {
    pub(super) fn new(pool: &Pool<B>) -> Self {
        pool.queue.opening_began();
        pool.connections.began();
        Self { pool: pool.this.clone(), connections: pool.connections.clone() }
    }

    /// The connection is open, and serves `per_connection` requests at once.
    pub(super) fn succeeded(self, per_connection: usize) {
        let pool = self.pool.upgrade();
        drop(self);
        if let Some(pool) = pool {
            pool.queue.set_per_connection(per_connection);
            pool.open_for_waiting();
        }
    }

    /// Fails the requests that wait and for which no other connection is being opened.
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
            pool.queue.opening_ended();
        }
    }
}
