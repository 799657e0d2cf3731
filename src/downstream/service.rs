//! What a server runs: the service that answers requests, and what it tells the server about a response.

use std::convert::Infallible;

use bytes::Buf;
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;

/// Which worker a service is made for.
#[derive(Clone, Copy, Debug)]
pub struct WorkerContext {
    /// From 0.
    pub index: usize,
    /// How many there are.
    pub workers: usize,
}

/// An extension of a response that refuses a client key: a connection that gets only these is ended.
#[derive(Clone, Copy, Debug)]
pub struct KeyRefused;

/// An extension of a response that is the proxy's own: a connection on which many of these stay unread is ended.
#[derive(Clone, Copy, Debug)]
pub struct OwnResponse;

/// What answers requests: a short name for its bounds.
///
/// It is cloned once for each connection, and stays in its worker. `poll_ready` is asked before each call; a service that is
/// always ready costs nothing there.
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
