//! The proxy's stack without its upper layers. Below and above them stands the least that works.

use std::convert::Infallible;
use std::rc::Rc;

use bearer_proxy::downstream::{BoxError, Service};
use bearer_proxy::proxy::Shared;
use bearer_proxy::proxy::attempt::NoResponse;
use bearer_proxy::proxy::bearer::{Authorized, BearerLayer, Bearing};
use bearer_proxy::proxy::body::Body;
use bearer_proxy::proxy::error::Failure;
use bearer_proxy::proxy::forward::Forward;
use bearer_proxy::proxy::guard::{Admitted, GuardLayer, Rules};
use bearer_proxy::proxy::headers::Hygiene;
use bearer_proxy::proxy::incoming::ClientIncoming;
use bearer_proxy::proxy::limit::LimitLayer;
use bearer_proxy::proxy::refusal::Refusals;
use bearer_proxy::proxy::target::Prefix;
use bearer_proxy::upstream::pool::{Pool, RequestBody, UpstreamBody};
use bytes::{Buf, Bytes};
use futures_util::FutureExt;
use http::header::{AUTHORIZATION, HeaderValue};
use http::{Request, Response};
use http_body_util::{Either, Empty};
use hyper::body::Incoming;
use tower::{ServiceBuilder, service_fn};

use super::bare::bad_gateway;

/// What the layers are made of, as `proxy::worker` makes them.
pub struct Parts(Shared);

/// The pool alone, as a service would use it that is content with any token.
#[derive(Clone)]
struct Direct {
    pool: Rc<Pool<ClientIncoming>>,
    bearer: HeaderValue,
}

// === impl Parts ===

impl Parts {
    pub fn new(shared: &Shared) -> Self {
        Self(shared.clone())
    }

    pub fn into_shared(self) -> Shared {
        self.0
    }

    pub fn pool(&self) -> impl Service + use<> {
        let direct = self.direct();
        service_fn(move |request| {
            let direct = direct.clone();
            async { Ok::<_, Infallible>(direct.send(ClientIncoming::of(request)).await) }
        })
    }

    pub fn guard(&self) -> impl Service + use<> {
        let direct = self.direct();
        let guarded = ServiceBuilder::new().layer(self.guard_layer()).service_fn(move |admitted: Admitted| {
            let direct = direct.clone();
            // In a box, as the layer below the guard answers.
            async { Ok(direct.send(admitted.into_parts().0).await) }.boxed_local()
        });
        answered(guarded, |_| bad_gateway())
    }

    pub fn bearer(&self) -> impl Service + use<> {
        let pool = self.new_pool();
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
            .service(Forward::new(self.new_pool(), &self.0.config.upstream));
        answered(stack, answer)
    }

    pub fn limit(&self) -> impl Service + use<> {
        let stack = ServiceBuilder::new()
            .layer(self.guard_layer())
            .layer(LimitLayer(self.0.in_flight.clone()))
            .layer(self.bearer_layer())
            .service(Forward::new(self.new_pool(), &self.0.config.upstream));
        answered(stack, answer)
    }

    fn new_pool<B: RequestBody>(&self) -> Rc<Pool<B>> {
        let Shared { connector, config, metrics, .. } = &self.0;
        Pool::new(connector.clone(), &config.upstream, metrics.upstream_connections())
    }

    fn direct(&self) -> Direct {
        // The static grant has its token before the first request.
        let token = self.0.tokens.at_hand(false);
        let bearer = token.map_or(HeaderValue::from_static(""), |token| token.header.clone());
        Direct { pool: self.new_pool(), bearer }
    }

    fn guard_layer(&self) -> GuardLayer {
        GuardLayer(Rc::new(Rules::new(&self.0.config)))
    }

    fn bearer_layer(&self) -> BearerLayer {
        let Shared { config, tokens, metrics, budget, .. } = &self.0;
        BearerLayer(Rc::new(Bearing {
            tokens: tokens.clone(),
            hygiene: Hygiene::new(config),
            prefix: Prefix::new(&config.upstream.path_prefix),
            refusals: Refusals::new(config.upstream.refusal.clone()),
            budget: budget.clone(),
            replay_limit: config.upstream.replay_limit,
            idle_timeout: config.upstream.idle_timeout,
            max_body_size: config.guard.max_body_size,
            min_body_rate: None,
            metrics: metrics.worker(),
        }))
    }
}

/// In the place of `observe`: every request gets an answer.
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
