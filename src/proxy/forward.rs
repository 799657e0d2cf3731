//! [`Authorized`] → upstream → response: the innermost service.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Method, Response};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tower::Service;

use super::LocalBoxFuture;
use super::bearer::Authorized;
use super::body::{BoxError, ClientBody};
use super::error::Failure;
use super::replay::Attempt;
use crate::config::Config;
use crate::metrics::Metrics;
use crate::upstream::connect::Connector;

/// The body of one attempt.
#[derive(Default)]
pub enum RequestBody {
    #[default]
    Empty,
    Attempt(Attempt<ClientBody>),
}

/// An attempt that brought no answer.
pub struct Attempted {
    pub failure: Failure,
}

/// Sends to the upstream.
#[derive(Clone)]
pub struct Forward {}

// === impl RequestBody ===

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.get_mut() {
            Self::Empty => Poll::Ready(None),
            Self::Attempt(attempt) => Pin::new(attempt).poll_frame(cx).map_err(BoxError::from),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Attempt(attempt) => attempt.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Attempt(attempt) => attempt.size_hint(),
        }
    }
}

// === impl Attempted ===

impl Attempted {
    pub fn may_resend(&self, _method: &Method, _replayable: bool) -> bool {
        false
    }
}

// === impl Forward ===

impl Forward {
    pub fn new(_config: &Config, _connector: Connector, _metrics: &Metrics) -> Self {
        Self {}
    }
}

impl Service<Authorized> for Forward {
    type Response = Response<Incoming>;
    type Error = Attempted;
    type Future = LocalBoxFuture<Result<Response<Incoming>, Attempted>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Attempted>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _authorized: Authorized) -> Self::Future {
        todo!()
    }
}
