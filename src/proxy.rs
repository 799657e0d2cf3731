//! A REQUEST: the tower stack, in the order of processing.
//!
//! ```text
//! observe   every request gets a response, is counted and logged; only here a failure becomes a response
//! guard     Request → Admitted: framing, host, cross-site, loop, client key, allow-list, limits
//! route     the lookup: which upstream, and which grant's token
//! limit     a bounded number of requests in flight, a short queue
//! bearer    Admitted → Authorized: hygiene, the live token; reads a refusal; replays once
//! forward   Authorized → upstream → Response
//! ```

pub mod attempt;
pub mod bearer;
pub mod body;
mod challenge;
pub mod error;
mod exchange;
pub mod forward;
pub mod guard;
pub(crate) mod headers;
mod in_flight;
pub mod incoming;
pub mod limit;
mod location;
mod observe;
mod pace;
mod problem;
pub(crate) mod refusal;
mod replay;
pub mod route;
mod target;
mod tunnel;
pub mod upstream;

use std::cell::RefCell;
use std::convert::Infallible;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use arc_swap::ArcSwap;
use http::{Request, Response};
use hyper::body::Incoming;
use tower::{Service, ServiceBuilder};

use self::bearer::{Authorizer, BearerLayer};
use self::body::Body;
use self::error::Failure;
use self::exchange::Observer;
use self::forward::Forward;
use self::guard::{Admitted, GuardLayer, Rules};
use self::limit::LimitLayer;
use self::observe::ObserveLayer;
use self::route::{Lookup, Route};
use crate::config::Config;
use crate::metrics::{Metrics, WorkerMetrics};

/// A future that stays on one worker's thread.
type LocalBoxFuture<T> = Pin<Box<dyn Future<Output = T>>>;

/// Everything that a worker needs to build its stack. A reload replaces it.
#[derive(Clone)]
pub struct Setup {
    pub config: Arc<Config>,
    pub route: Route,
}

/// The stack of one worker, rebuilt after a reload. Requests in flight keep the stack that they began with.
struct Worker<S> {
    setup: Arc<ArcSwap<Setup>>,
    metrics: WorkerMetrics,
    made: RefCell<(Arc<Setup>, S)>,
    make: fn(&Setup, &WorkerMetrics) -> S,
}

/// Builds the service of one worker. Must be called on the worker's thread.
pub fn worker(
    setup: Arc<ArcSwap<Setup>>,
    metrics: &Metrics,
) -> impl Service<Request<Incoming>, Response = Response<Body>, Error = Infallible, Future: 'static> + Clone + use<> {
    let metrics = metrics.worker();
    let now = setup.load_full();
    let made = RefCell::new((Arc::clone(&now), stack(&now, &metrics)));
    Reloading(Rc::new(Worker { setup, metrics, made, make: stack }))
}

fn stack(
    Setup { config, route }: &Setup,
    metrics: &WorkerMetrics,
) -> impl Service<Request<Incoming>, Response = Response<Body>, Error = Infallible, Future: 'static> + Clone + use<> {
    let observer = Observer { metrics: metrics.clone(), log: config.log.requests, via: config.via.clone() };
    ServiceBuilder::new()
        // Outermost, so that it counts the responses of all layers below.
        .layer(ObserveLayer(Rc::new(observer)))
        // Before the request takes a place in the queue, or waits for a token.
        .layer(GuardLayer(Rc::new(Rules::new(config))))
        .service(Lookup::new(layers(config, route, metrics)))
}

/// The layers that know one upstream and one grant.
fn layers(
    config: &Config,
    route: &Route,
    metrics: &WorkerMetrics,
) -> impl Service<Admitted, Response = Response<Body>, Error = Failure, Future = Layered> + Clone + use<> {
    let upstream = &route.upstream;
    ServiceBuilder::new()
        // Before the token, so that the requests that wait for one are bounded too.
        .layer(LimitLayer(upstream.in_flight.clone()))
        // Around the upstream, so that a refused attempt can be repeated.
        .layer(BearerLayer(Rc::new(Authorizer::new(config, route, metrics))))
        .service(Forward::new(upstream.pool(), &upstream.config))
}

type Layered = LocalBoxFuture<Result<Response<Body>, Failure>>;

/// A handle to the worker's stack, one for each connection.
struct Reloading<S>(Rc<Worker<S>>);

// === impl Reloading ===

impl<S> Clone for Reloading<S> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<S> Service<Request<Incoming>> for Reloading<S>
where
    S: Service<Request<Incoming>, Response = Response<Body>, Error = Infallible, Future: 'static>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = S::Future;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Incoming>) -> Self::Future {
        let worker = &*self.0;
        let mut made = worker.made.borrow_mut();
        let now = worker.setup.load();
        if !Arc::ptr_eq(&made.0, &now) {
            *made = (Arc::clone(&now), (worker.make)(&now, &worker.metrics));
        }
        made.1.call(request)
    }
}
