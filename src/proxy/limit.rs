//! The layer that gives each request a place among the requests in flight, or makes it wait for one.

use std::task::{Context, Poll};

use http::Response;
use tower::{Layer, Service};

use super::LocalBoxFuture;
use super::body::Body;
use super::error::Failure;
use super::guard::Admitted;
use super::in_flight::InFlightLimit;

#[derive(Clone)]
pub struct LimitLayer(pub InFlightLimit);

#[derive(Clone)]
pub struct Limit<S> {
    inner: S,
    limit: InFlightLimit,
}

// === impl Limit ===

impl<S> Layer<S> for LimitLayer {
    type Service = Limit<S>;

    fn layer(&self, inner: S) -> Limit<S> {
        Limit { inner, limit: self.0.clone() }
    }
}

impl<S> Service<Admitted> for Limit<S>
where
    S: Service<Admitted, Response = Response<Body>, Error = Failure> + Clone + 'static,
    // Returns the inner future unchanged, so that a request that gets a place at once needs no second box.
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
