//! A bound on requests in flight, over all workers: a short queue, then 503.
//!
//! A tunnel (a WebSocket) keeps its place for as long as it is open.
//!
//! The queue is bounded as well: who waits holds a head, and one HTTP/2 client can let hundreds wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use http::Response;
use prometheus::IntGauge;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError};
use tower::{Layer, Service};

use super::LocalBoxFuture;
use super::body::Body;
use super::error::Failure;
use super::guard::Admitted;

/// The process's bound.
#[derive(Clone, Debug)]
pub struct InFlightLimit {
    places: Arc<Semaphore>,
    /// Room to wait in.
    waiting: Arc<Semaphore>,
    max: usize,
    queue: Duration,
    draining: Arc<AtomicBool>,
    /// Places that tunnels hold, of the whole process.
    tunnels: IntGauge,
}

/// A place among the requests in flight, given back when dropped.
#[derive(Debug)]
pub struct Place {
    _permit: OwnedSemaphorePermit,
    tunnels: IntGauge,
    is_tunnel: bool,
}

#[derive(Clone)]
pub struct Limit<S> {
    inner: S,
    limit: InFlightLimit,
}

// === impl InFlightLimit ===

impl InFlightLimit {
    /// At most `max` at once; as many again may wait, up to `queue` each.
    pub fn new(max: usize, queue: Duration, tunnels: IntGauge) -> Self {
        let max = max.min(Semaphore::MAX_PERMITS);
        let [places, waiting] = [max, max].map(|count| Arc::new(Semaphore::new(count)));
        Self { places, waiting, max, queue, draining: Arc::default(), tunnels }
    }

    /// From now on who finds no place is told that it is for the drain's sake: to come again here is of no use.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    fn at_once(&self) -> Result<Place, TryAcquireError> {
        Arc::clone(&self.places).try_acquire_owned().map(|permit| self.place(permit))
    }

    fn place(&self, permit: OwnedSemaphorePermit) -> Place {
        Place { _permit: permit, tunnels: self.tunnels.clone(), is_tunnel: false }
    }

    async fn queue(self) -> Result<Place, Failure> {
        let turn = async {
            let _waits = self.waiting.try_acquire().ok()?;
            tokio::time::timeout(self.queue, Arc::clone(&self.places).acquire_owned()).await.ok()?.ok()
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
    /// Its request has become a tunnel.
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

impl<S> Layer<S> for InFlightLimit {
    type Service = Limit<S>;

    fn layer(&self, inner: S) -> Limit<S> {
        Limit { inner, limit: self.clone() }
    }
}

// === impl Limit ===

impl<S> Service<Admitted> for Limit<S>
where
    S: Service<Admitted, Response = Response<Body>, Error = Failure> + Clone + 'static,
    // The same box, so that a request that finds a place at once pays for no second one.
    S: Service<Admitted, Future = LocalBoxFuture<Result<Response<Body>, Failure>>>,
{
    type Response = Response<Body>;
    type Error = Failure;
    type Future = LocalBoxFuture<Result<Response<Body>, Failure>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut admitted: Admitted) -> Self::Future {
        match self.limit.at_once() {
            Ok(place) => {
                admitted.hold(place);
                self.inner.call(admitted)
            }
            Err(_) => {
                let (limit, mut inner) = (self.limit.clone(), self.inner.clone());
                Box::pin(async move {
                    match limit.queue().await {
                        Ok(place) => {
                            admitted.hold(place);
                            inner.call(admitted).await
                        }
                        Err(failure) => {
                            admitted.into_parts().0.into_body().discard().await;
                            Err(failure)
                        }
                    }
                })
            }
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
