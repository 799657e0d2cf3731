//! The service that answers requests, and the extensions of its responses that the server reads.

use std::convert::Infallible;

use bytes::Buf;
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;

/// Extension of a response that refuses a client key. A connection that gets only such responses is closed.
#[derive(Clone, Copy, Debug)]
pub struct KeyRefused;

/// Extension of a response that the proxy made itself. A connection on which many of them stay unread is closed.
#[derive(Clone, Copy, Debug)]
pub struct OwnResponse;

/// A service that answers requests: a short name for its bounds.
///
/// It is cloned once for each connection, and stays in its worker. The server calls `poll_ready` before each call. This costs
/// nothing if the service is always ready.
pub trait Service:
    tower::Service<Request<Incoming>, Response = Response<Self::Body>, Error = Infallible> + Clone + 'static
{
    type Body: Body<Data: Buf, Error: Into<BoxError>> + 'static;
}

pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

// === impl Service ===

impl<S, B> Service for S
where
    S: tower::Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Clone + 'static,
    B: Body<Data: Buf, Error: Into<BoxError>> + 'static,
{
    type Body = B;
}
