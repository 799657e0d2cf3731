//! How many connections there are, and in which worker.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

/// How many downstream connections are open, upgraded ones included.
#[derive(Clone, Default)]
pub struct Connections(Arc<Count>);

#[derive(Default)]
struct Count {
    open: AtomicUsize,
    /// One fewer, or one more allowed.
    changed: Notify,
}

/// The accept loop's view of the workers.
pub(super) struct Balancer {
    connections: Connections,
    workers: Vec<Arc<AtomicUsize>>,
    /// Where the search for the emptiest begins.
    next: usize,
}

/// One open connection's place in the counts, given back when dropped.
///
/// It travels with the socket, so that an upgraded connection counts for as long as its tunnel lives.
pub(super) struct ConnectionPermit {
    connections: Connections,
    worker: Arc<AtomicUsize>,
}

// === impl Connections ===

impl Connections {
    pub fn count(&self) -> usize {
        self.0.open.load(Ordering::Relaxed)
    }

    /// Returns when no more than `limit` are open.
    pub(super) async fn at_most(&self, limit: impl Fn() -> usize) {
        while self.count() > limit() {
            // One waiter at a time: the accept loop, then, after its end, the drain. A wake-up between the look and the wait
            // is kept by `Notify`.
            self.0.changed.notified().await;
        }
    }

    /// Has whoever waits in [`Connections::at_most`] look again.
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

    /// A place in the worker with the fewest connections.
    ///
    /// The search begins behind the worker that was last chosen: with short connections all counts are mostly zero, and a
    /// fixed order would leave them all to one.
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
