//! A bound on requests in flight, over all workers: a short queue, then 503.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use http::Response;
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
    max: usize,
    queue: Duration,
    draining: Arc<AtomicBool>,
}

/// A place among the requests in flight, given back when dropped.
#[derive(Debug)]
pub struct Place {
    _permit: OwnedSemaphorePermit,
}

#[derive(Clone)]
pub struct Limit<S> {
    inner: S,
    limit: InFlightLimit,
}

// === impl InFlightLimit ===

impl InFlightLimit {
    /// At most `max` at once; the next waits up to `queue`.
    pub fn new(max: usize, queue: Duration) -> Self {
        let max = max.min(Semaphore::MAX_PERMITS);
        Self { places: Arc::new(Semaphore::new(max)), max, queue, draining: Arc::default() }
    }

    /// From now on who finds no place is told that it is for the drain's sake: to come again here is of no use.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    fn at_once(&self) -> Result<Place, TryAcquireError> {
        Arc::clone(&self.places).try_acquire_owned().map(|permit| Place { _permit: permit })
    }

    async fn queue(self) -> Result<Place, Failure> {
        match tokio::time::timeout(self.queue, self.places.acquire_owned()).await {
            Ok(Ok(permit)) => Ok(Place { _permit: permit }),
            Ok(Err(_)) | Err(_) if self.draining.load(Ordering::Relaxed) => Err(Failure::Draining),
            Ok(Err(_)) | Err(_) => Err(Failure::Overloaded(self.max)),
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
                    admitted.hold(limit.queue().await?);
                    inner.call(admitted).await
                })
            }
        }
    }
}
