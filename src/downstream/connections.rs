//! Counts connections, and assigns each one to a worker.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

/// The number of open downstream connections, upgraded ones included.
#[derive(Clone, Default)]
pub struct Connections(Arc<Count>);

#[derive(Default)]
struct Count {
    open: AtomicUsize,
    /// A connection has ended, or more are allowed.
    changed: Notify,
}

/// Assigns each connection to the worker with the fewest.
pub(super) struct Balancer {
    connections: Connections,
    workers: Vec<Arc<AtomicUsize>>,
    /// Where the search begins.
    next: usize,
}

/// One open connection in the counts, until it is dropped.
///
/// The socket owns it, so that an upgraded connection counts for as long as its tunnel lives.
pub(super) struct ConnectionPermit {
    connections: Connections,
    worker: Arc<AtomicUsize>,
}

// === impl Connections ===

impl Connections {
    pub fn count(&self) -> usize {
        self.0.open.load(Ordering::Relaxed)
    }

    /// Returns when at most `limit` are open.
    pub(super) async fn at_most(&self, limit: impl Fn() -> usize) {
        while self.count() > limit() {
            // There is one waiter at a time: the accept loop, and the drain after it. `Notify` keeps a wake-up between the count and
            // the wait.
            self.0.changed.notified().await;
        }
    }

    /// Lets the waiter in [`Connections::at_most`] count again.
    pub(super) fn wake(&self) {
        self.0.changed.notify_one();
    }
}

impl std::fmt::Debug for Connections {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Connections").field(&self.count()).finish()
    }
}

// === impl Balancer ===

impl Balancer {
    pub(super) fn new(connections: Connections, workers: NonZeroUsize) -> Self {
        Self { connections, workers: (0..workers.get()).map(|_| Arc::default()).collect(), next: 0 }
    }

    pub(super) fn connections(&self) -> &Connections {
        &self.connections
    }

    /// A permit in the worker with the fewest connections.
    ///
    /// The search begins after the worker that was chosen last. With short connections, most counts are zero, and a fixed order would
    /// assign all of them to one worker.
    pub(super) fn assign(&mut self) -> (usize, ConnectionPermit) {
        let count = self.workers.len();
        let order = (0..count).map(|step| (self.next + step) % count);
        let chosen = order.min_by_key(|&index| self.workers[index].load(Ordering::Relaxed)).unwrap_or(0);
        self.next = (chosen + 1) % count;
        let worker = self.workers[chosen].clone();
        worker.fetch_add(1, Ordering::Relaxed);
        self.connections.0.open.fetch_add(1, Ordering::Relaxed);
        (chosen, ConnectionPermit { connections: self.connections.clone(), worker })
    }
}

// === impl ConnectionPermit ===

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        self.worker.fetch_sub(1, Ordering::Relaxed);
        self.connections.0.open.fetch_sub(1, Ordering::Relaxed);
        self.connections.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn balancer(workers: usize) -> Balancer {
        Balancer::new(Connections::default(), NonZeroUsize::new(workers).unwrap())
    }

    #[test]
    fn open_connections_are_spread_evenly() {
        let mut balancer = balancer(2);
        let places: Vec<_> = (0..4).map(|_| balancer.assign()).collect();
        assert_eq!(places.iter().map(|(worker, _)| *worker).collect::<Vec<_>>(), [0, 1, 0, 1]);
        assert_eq!(balancer.connections().count(), 4);
    }

    #[test]
    fn short_connections_take_turns() {
        let mut balancer = balancer(3);
        let workers: Vec<_> = (0..6).map(|_| balancer.assign().0).collect();
        assert_eq!(workers, [0, 1, 2, 0, 1, 2]);
        assert_eq!(balancer.connections().count(), 0);
    }

    #[test]
    fn the_emptiest_worker_is_next() {
        let mut balancer = balancer(2);
        let first = balancer.assign();
        let _second = balancer.assign();
        let _third = balancer.assign();
        drop(first);
        let (worker, _permit) = balancer.assign();
        assert_eq!(worker, 1, "worker 0 has one, worker 1 has one, and it is worker 1's turn");
        assert_eq!(balancer.assign().0, 0);
    }
}
