//! The lookup: which upstream a request goes to, and which grant's token it carries.
//!
//! There is one route today. `Lookup::find` is the place to select one by the listener or a header field.

use std::sync::Arc;
use std::task::{Context, Poll};

use tower::Service;

use super::guard::Admitted;
use super::upstream::Upstream;
use crate::token::refresher::Tokens;

/// An upstream, and the grant whose token its requests carry.
#[derive(Clone)]
pub struct Route {
    pub upstream: Arc<Upstream>,
    pub tokens: Tokens,
}

/// Passes each request to the layers of its route.
#[derive(Clone)]
pub struct Lookup<S> {
    only: S,
}

// === impl Lookup ===

impl<S> Lookup<S> {
    pub fn new(only: S) -> Self {
        Self { only }
    }

    fn find(&mut self, _: &Admitted) -> &mut S {
        &mut self.only
    }
}

impl<S: Service<Admitted>> Service<Admitted> for Lookup<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        // The layers of a route are always ready, and the request's route is not known yet.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, admitted: Admitted) -> S::Future {
        self.find(&admitted).call(admitted)
    }
}
