//! The bound on requests in flight to one upstream, over all workers: a place for each, a short queue, then 503.
//!
//! A tunnel (a WebSocket) keeps its place for as long as it is open.
//!
//! The queue is bounded as well, because each waiting request holds its head in memory, and one HTTP/2 client can send hundreds.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use prometheus::IntGauge;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError};

use super::error::Failure;

/// `upstream.max_in_flight` and `upstream.queue_timeout`. Clones share the places.
#[derive(Clone, Debug)]
pub struct InFlightLimit {
    places: Arc<Semaphore>,
    /// The places in the queue.
    waiting: Arc<Semaphore>,
    max: usize,
    queue_timeout: Duration,
    draining: Arc<AtomicBool>,
    /// How many places tunnels hold.
    tunnels: IntGauge,
}

/// A place among the requests in flight. Dropping it frees the place.
#[derive(Debug)]
pub struct Place {
    _permit: OwnedSemaphorePermit,
    tunnels: IntGauge,
    is_tunnel: bool,
}

// === impl InFlightLimit ===

impl InFlightLimit {
    /// At most `max` requests are in flight. As many again may wait, each for up to `queue_timeout`.
    pub fn new(max: usize, queue_timeout: Duration, tunnels: IntGauge) -> Self {
        let max = max.min(Semaphore::MAX_PERMITS);
        let [places, waiting] = [max, max].map(|count| Arc::new(Semaphore::new(count)));
        Self { places, waiting, max, queue_timeout, draining: Arc::default(), tunnels }
    }

    /// From now on, a request that finds no place fails with `draining`, because a retry on this process is of no use.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    pub(super) fn at_once(&self) -> Result<Place, TryAcquireError> {
        Arc::clone(&self.places).try_acquire_owned().map(|permit| self.place(permit))
    }

    fn place(&self, permit: OwnedSemaphorePermit) -> Place {
        Place { _permit: permit, tunnels: self.tunnels.clone(), is_tunnel: false }
    }

    pub(super) async fn queue(self) -> Result<Place, Failure> {
        let turn = async {
            let _waits = self.waiting.try_acquire().ok()?;
            tokio::time::timeout(self.queue_timeout, Arc::clone(&self.places).acquire_owned()).await.ok()?.ok()
        };
        match turn.await {
            Some(permit) => Ok(self.place(permit)),
            None if self.draining.load(Ordering::Relaxed) => Err(Failure::Draining),
            None => {
                let tunnels = usize::try_from(self.tunnels.get()).unwrap_or_default().min(self.max);
                Err(Failure::Overloaded { requests: self.max - tunnels, tunnels })
            }
        }
    }
}

// === impl Place ===

impl Place {
    /// The request has become a tunnel.
    pub(super) fn becomes_tunnel(&mut self) {
        if !std::mem::replace(&mut self.is_tunnel, true) {
            self.tunnels.inc();
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.is_tunnel {
            self.tunnels.dec();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn tunnels() -> IntGauge {
        IntGauge::new("tunnels", "tunnels").unwrap()
    }

    #[tokio::test]
    async fn who_finds_no_place_is_told_what_holds_them() {
        let tunnels = tunnels();
        let limit = InFlightLimit::new(3, Duration::ZERO, tunnels.clone());
        let mut places = [0; 3].map(|_| limit.at_once().unwrap());
        places[0].becomes_tunnel();
        places[0].becomes_tunnel();
        places[1].becomes_tunnel();
        assert!(matches!(limit.clone().queue().await, Err(Failure::Overloaded { requests: 1, tunnels: 2 })));
        drop(places);
        assert_eq!(tunnels.get(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn as_many_wait_as_are_in_flight_and_the_next_is_told_at_once() {
        let limit = InFlightLimit::new(2, Duration::from_secs(5), tunnels());
        let first = limit.at_once().unwrap();
        let _second = limit.at_once().unwrap();
        assert!(limit.at_once().is_err());
        let mut waiting = [0; 2].map(|_| Box::pin(limit.clone().queue()));
        assert!(waiting.iter_mut().all(|waits| waits.as_mut().now_or_never().is_none()));
        assert!(matches!(
            limit.clone().queue().now_or_never(),
            Some(Err(Failure::Overloaded { requests: 2, tunnels: 0 }))
        ));
        // A place that becomes free makes room for another that waits.
        drop(first);
        let [served, late] = waiting;
        let _served = served.await.unwrap();
        assert!(limit.clone().queue().now_or_never().is_none());
        assert!(matches!(late.await, Err(Failure::Overloaded { requests: 2, .. })));
    }

    #[tokio::test]
    async fn without_a_queue_nobody_waits() {
        let limit = InFlightLimit::new(1, Duration::ZERO, tunnels());
        let _only = limit.at_once().unwrap();
        assert!(matches!(limit.clone().queue().await, Err(Failure::Overloaded { requests: 1, .. })));
    }
}
