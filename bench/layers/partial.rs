//! The proxy's stack without its upper layers. Minimal services replace the layers that are missing.

use std::convert::Infallible;
use std::rc::Rc;

use bearer_proxy::internals::downstream::{BoxError, Service};
use bearer_proxy::internals::metrics::Metrics;
use bearer_proxy::internals::proxy::Setup;
use bearer_proxy::internals::proxy::attempt::NoResponse;
use bearer_proxy::internals::proxy::bearer::{Authorized, Authorizer, BearerLayer};
use bearer_proxy::internals::proxy::body::Body;
use bearer_proxy::internals::proxy::error::Failure;
use bearer_proxy::internals::proxy::forward::Forward;
use bearer_proxy::internals::proxy::guard::{Admitted, GuardLayer, Rules};
use bearer_proxy::internals::proxy::incoming::ClientIncoming;
use bearer_proxy::internals::proxy::limit::LimitLayer;
use bearer_proxy::internals::upstream::pool::{Pool, UpstreamBody};
use bytes::{Buf, Bytes};
use futures_util::FutureExt;
use http::header::{AUTHORIZATION, HeaderValue};
use http::{Request, Response};
use http_body_util::{Either, Empty};
use hyper::body::Incoming;
use tower::{ServiceBuilder, service_fn};

use super::bare::bad_gateway;

/// Makes layers in the same way as `proxy::worker`.
pub struct Parts {
    setup: Setup,
    metrics: Metrics,
}

/// The pool alone, with a fixed token.
#[derive(Clone)]
struct Direct {
    pool: Rc<Pool<ClientIncoming>>,
    bearer: HeaderValue,
}

// === impl Parts ===

impl Parts {
    pub fn new(setup: &Setup, metrics: &Metrics) -> Self {
        Self { setup: setup.clone(), metrics: metrics.clone() }
    }

    pub fn into_setup(self) -> Setup {
        self.setup
    }

    pub fn pool(&self) -> impl Service + use<> {
        let direct = self.direct();
        service_fn(move |request| {
            let direct = direct.clone();
            async { Ok::<_, Infallible>(direct.send(ClientIncoming::wrap(request)).await) }
        })
    }

    pub fn guard(&self) -> impl Service + use<> {
        let direct = self.direct();
        let guarded = ServiceBuilder::new().layer(self.guard_layer()).service_fn(move |admitted: Admitted| {
            let direct = direct.clone();
            // In a box, like the future of the layer below the guard.
            async { Ok(direct.send(admitted.into_parts().0).await) }.boxed_local()
        });
        answered(guarded, |_| bad_gateway())
    }

    pub fn bearer(&self) -> impl Service + use<> {
        let pool = self.setup.route.upstream.pool();
        let send = service_fn(move |authorized: Authorized| {
            let pool = Rc::clone(&pool);
            async move { pool.send(authorized.into_parts().0).await.map_err(NoResponse::Failed) }
        });
        let stack = ServiceBuilder::new().layer(self.guard_layer()).layer(self.bearer_layer()).service(send);
        answered(stack, answer)
    }

    pub fn forward(&self) -> impl Service + use<> {
        let stack = ServiceBuilder::new()
            .layer(self.guard_layer())
            .layer(self.bearer_layer())
            .service(Forward::new(self.setup.route.upstream.pool(), &self.setup.config.upstream));
        answered(stack, answer)
    }

    pub fn limit(&self) -> impl Service + use<> {
        let stack = ServiceBuilder::new()
            .layer(self.guard_layer())
            .layer(LimitLayer(self.setup.route.upstream.in_flight.clone()))
            .layer(self.bearer_layer())
            .service(Forward::new(self.setup.route.upstream.pool(), &self.setup.config.upstream));
        answered(stack, answer)
    }

    fn direct(&self) -> Direct {
        // The static grant has its token before the first request.
        let token = self.setup.route.tokens.at_hand(false);
        let bearer = token.map_or(HeaderValue::from_static(""), |token| token.header.clone());
        Direct { pool: self.setup.route.upstream.pool(), bearer }
    }

    fn guard_layer(&self) -> GuardLayer {
        GuardLayer(Rc::new(Rules::new(&self.setup.config)))
    }

    fn bearer_layer(&self) -> BearerLayer {
        let Setup { config, route } = &self.setup;
        BearerLayer(Rc::new(Authorizer::new(config, route, &self.metrics.worker())))
    }
}

/// Replaces `observe`: every request gets a response.
fn answered<S, B>(mut stack: S, answer: fn(Failure) -> Response<B>) -> impl Service
where
    S: tower::Service<Request<Incoming>, Response = Response<B>, Error = Failure> + Clone + 'static,
    B: http_body::Body<Data: Buf, Error: Into<BoxError>> + 'static,
{
    service_fn(move |request| {
        let outcome = stack.call(request);
        async move { Ok::<_, Infallible>(outcome.await.unwrap_or_else(answer)) }
    })
}

fn answer(failure: Failure) -> Response<Body> {
    failure.response("layers")
}

// === impl Direct ===

impl Direct {
    async fn send(self, mut request: Request<ClientIncoming>) -> Response<Either<UpstreamBody, Empty<Bytes>>> {
        request.headers_mut().insert(AUTHORIZATION, self.bearer);
        match self.pool.send(request).await {
            Ok(response) => response.map(Either::Left),
            Err(_) => bad_gateway(),
        }
    }
}
