//! A REQUEST: the tower stack, in the order of processing.
//!
//! ```text
//! observe   every request is answered, counted, logged; the only place where a failure becomes a response
//! guard     Request → Admitted: framing, host, cross-site, loop, client key, allow-list, limits
//! limit     a bounded number in flight, a short queue
//! bearer    Admitted → Authorized: hygiene, the live token; reads a refusal; replays once
//! forward   Authorized → upstream → Response
//! ```

pub mod attempt;
pub mod bearer;
pub mod body;
mod challenge;
pub mod error;
pub mod exchange;
pub mod forward;
pub mod guard;
pub mod headers;
pub mod in_flight;
pub mod incoming;
pub mod limit;
mod location;
pub mod observe;
pub mod pace;
mod problem;
pub mod refusal;
pub mod replay;
pub mod target;
mod tunnel;

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

use self::bearer::{BearerLayer, Bearing};
use self::body::Body;
use self::exchange::Observer;
use self::forward::Forward;
use self::guard::{GuardLayer, Rules};
use self::headers::Hygiene;
use self::in_flight::InFlightLimit;
use self::limit::LimitLayer;
use self::observe::ObserveLayer;
use self::refusal::Refusals;
use self::replay::Budget;
use self::target::Prefix;
use crate::config::Config;
use crate::metrics::{Metrics, WorkerMetrics};
use crate::outbound::Connector;
use crate::token::refresher::Tokens;
use crate::upstream::pool::Pool;

/// A future of one worker's thread.
type LocalBoxFuture<T> = Pin<Box<dyn Future<Output = T>>>;

/// What all workers share: bounds and the token.
#[derive(Clone)]
pub struct Shared {
    pub config: Arc<Config>,
    pub tokens: Tokens,
    pub metrics: Metrics,
    pub connector: Connector,
    pub in_flight: InFlightLimit,
    pub budget: Budget,
}

// === impl Shared ===

impl Shared {
    pub fn new(config: Arc<Config>, tokens: Tokens, metrics: Metrics, connector: Connector) -> Self {
        let upstream = &config.upstream;
        let in_flight = InFlightLimit::new(upstream.max_in_flight, upstream.queue_timeout, metrics.tunnels());
        let budget = Budget::new(upstream.replay_budget);
        Self { config, tokens, metrics, connector, in_flight, budget }
    }
}

/// One worker's way to answer requests: the stack, made again when what it was made from has been replaced by a reload.
///
/// Requests in flight keep the stack that they began with.
pub struct Worker<S> {
    shared: Arc<ArcSwap<Shared>>,
    metrics: WorkerMetrics,
    made: RefCell<(Arc<Shared>, S)>,
    make: fn(&Shared, &WorkerMetrics) -> S,
}

/// To be called on the worker's thread.
pub fn worker(
    shared: Arc<ArcSwap<Shared>>,
    metrics: &Metrics,
) -> impl Service<Request<Incoming>, Response = Response<Body>, Error = Infallible, Future: 'static> + Clone + use<> {
    let metrics = metrics.worker();
    let now = shared.load_full();
    let made = RefCell::new((Arc::clone(&now), stack(&now, &metrics)));
    Reloading(Rc::new(Worker { shared, metrics, made, make: stack }))
}

fn stack(
    shared: &Shared,
    metrics: &WorkerMetrics,
) -> impl Service<Request<Incoming>, Response = Response<Body>, Error = Infallible, Future: 'static> + Clone + use<> {
    let Shared { config, tokens, metrics: all, connector, in_flight, budget } = shared;
    let observer = Observer { metrics: metrics.clone(), log: config.log.requests, via: config.via.clone() };
    let bearing = Bearing {
        tokens: tokens.clone(),
        hygiene: Hygiene::new(config),
        prefix: Prefix::new(&config.upstream.path_prefix),
        refusals: Refusals::new(config.upstream.refusal.clone()),
        budget: budget.clone(),
        replay_limit: config.upstream.replay_limit,
        idle_timeout: config.upstream.idle_timeout,
        max_body_size: config.guard.max_body_size,
        min_body_rate: config.guard.min_body_rate,
        metrics: metrics.clone(),
    };
    let pool = Pool::new(connector.clone(), &config.upstream, all.upstream_connections());
    ServiceBuilder::new()
        // Outermost, so that what any layer below says is answered and counted.
        .layer(ObserveLayer(Rc::new(observer)))
        // Before anything is spent on the request: no place in the queue, no token.
        .layer(GuardLayer(Rc::new(Rules::new(config))))
        // Before the token: those who wait for one are bounded too.
        .layer(LimitLayer(in_flight.clone()))
        // Around the upstream, so that a refused attempt can be repeated.
        .layer(BearerLayer(Rc::new(bearing)))
        .service(Forward::new(pool, &config.upstream))
}

/// A handle to the worker's [`Worker`], one for each connection.
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
        let now = worker.shared.load();
        if !Arc::ptr_eq(&made.0, &now) {
            *made = (Arc::clone(&now), (worker.make)(&now, &worker.metrics));
        }
        made.1.call(request)
    }
}
