//! The outermost layer: every request gets a response, is counted, and is logged if configured.
//!
//! Only this layer turns a [`Failure`] into a response.

use std::convert::Infallible;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use http::header::{CONNECTION, HeaderValue};
use http::{Request, Response, Version};
use hyper::body::Incoming;
use tower::{Layer, Service};

use super::body::Body;
use super::error::Failure;
use super::exchange::{Exchange, Observer};
use crate::downstream::{KeyRefused, OwnResponse};

#[derive(Clone)]
pub struct ObserveLayer(pub Rc<Observer>);

#[derive(Clone)]
pub struct Observe<S> {
    inner: S,
    observer: Rc<Observer>,
}

/// Ends with the response head. It is not an `async` block, which would need a box of its own.
pub struct Observed<A> {
    response: A,
    /// `None`: there was a response.
    exchange: Option<Box<Exchange>>,
    is_http1: bool,
}

// === impl Observe ===

impl<S> Layer<S> for ObserveLayer {
    type Service = Observe<S>;

    fn layer(&self, inner: S) -> Observe<S> {
        Observe { inner, observer: Rc::clone(&self.0) }
    }
}

impl<S, A> Service<Request<Incoming>> for Observe<S>
where
    S: Service<Request<Incoming>, Response = Response<Body>, Error = Failure, Future = A>,
    A: Future<Output = Result<Response<Body>, Failure>> + Unpin,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Observed<A>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // Every layer below is always ready: a full one answers with a failure.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Incoming>) -> Observed<A> {
        let exchange = Exchange::new(&self.observer, &request);
        let is_http1 = request.version() < Version::HTTP_2;
        Observed { response: self.inner.call(request), exchange: Some(exchange), is_http1 }
    }
}

// === impl Observed ===

impl<A: Future<Output = Result<Response<Body>, Failure>> + Unpin> Future for Observed<A> {
    type Output = Result<Response<Body>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let outcome = ready!(Pin::new(&mut self.response).poll(cx));
        // A future that is polled after its end stays pending.
        let Some(mut exchange) = self.exchange.take() else { return Poll::Pending };
        let response = match outcome {
            Ok(response) => {
                exchange.responded(response.status());
                response
            }
            Err(failure) => {
                exchange.failed(&failure);
                own_response(&failure, exchange.via(), self.is_http1)
            }
        };
        Poll::Ready(Ok(response.map(|body| body.ending(exchange))))
    }
}

/// The proxy's own response, with what `downstream` needs to know of it.
fn own_response(failure: &Failure, via: &str, is_http1: bool) -> Response<Body> {
    let mut response = failure.response(via);
    if is_http1 && failure.ends_connection() {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    if !is_http1 {
        response.extensions_mut().insert(OwnResponse);
    }
    if let Failure::ClientKeyRequired = failure {
        response.extensions_mut().insert(KeyRefused);
    }
    response
}
