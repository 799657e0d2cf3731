//! [`Authorized`] → upstream → response: the innermost service. It limits the wait for the response head.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::Response;
use tokio::time::{Instant, Sleep, sleep};
use tower::Service;

use super::LocalBoxFuture;
use super::attempt::{NoResponse, RequestBody};
use super::bearer::Authorized;
use super::body::ClientBody;
use super::replay::{Progress, ReplayBuffer};
use crate::config::UpstreamConfig;
use crate::upstream::pool::{Pool, SendResult, UpstreamBody};

/// Sends to the upstream.
#[derive(Clone)]
pub struct Forward {
    pool: Rc<Pool<RequestBody>>,
    limits: TimeLimits,
}

#[derive(Clone, Copy)]
struct TimeLimits {
    /// From the end of the request to the response head.
    response: Duration,
    /// Between two pieces of the request body.
    idle: Duration,
}

pin_project_lite::pin_project! {
    /// A response within the time limits.
    struct InTime<R> {
        #[pin]
        response: R,
        #[pin]
        timer: Sleep,
        limits: TimeLimits,
        buffer: Option<Rc<ReplayBuffer<ClientBody>>>,
    }
}

// === impl Forward ===

impl Forward {
    pub fn new(pool: Rc<Pool<RequestBody>>, config: &UpstreamConfig) -> Self {
        Self { pool, limits: TimeLimits { response: config.response_timeout, idle: config.idle_timeout } }
    }
}

impl Service<Authorized> for Forward {
    type Response = Response<UpstreamBody>;
    type Error = NoResponse;
    type Future = LocalBoxFuture<Result<Response<UpstreamBody>, NoResponse>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), NoResponse>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, authorized: Authorized) -> Self::Future {
        let (request, upgrade, buffer) = authorized.into_parts();
        if upgrade {
            let pool = Rc::clone(&self.pool);
            return Box::pin(InTime::new(async move { pool.send_upgrade(request).await }, self.limits, buffer));
        }
        Box::pin(InTime::new(self.pool.send(request), self.limits, buffer))
    }
}

// === impl InTime ===

impl<R> InTime<R> {
    fn new(response: R, limits: TimeLimits, buffer: Option<Rc<ReplayBuffer<ClientBody>>>) -> Self {
        let TimeLimits { response: limit, idle } = limits;
        // The limits are checked only when the earliest deadline passes, so that a request sets one timer.
        let timer = sleep(if buffer.is_some() { limit.min(idle) } else { limit });
        Self { response, timer, limits, buffer }
    }
}

impl<R> Future for InTime<R>
where
    R: Future<Output = SendResult<RequestBody>>,
{
    type Output = Result<Response<UpstreamBody>, NoResponse>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        if let Poll::Ready(sent) = this.response.poll(cx) {
            return Poll::Ready(sent.map_err(NoResponse::Failed));
        }
        loop {
            ready!(this.timer.as_mut().poll(cx));
            match this.limits.later(this.buffer.as_deref()) {
                Ok(later) => this.timer.as_mut().reset(later),
                Err(attempted) => return Poll::Ready(Err(attempted)),
            }
        }
    }
}

// === impl TimeLimits ===

impl TimeLimits {
    /// Returns the next deadline, or an error if one has passed.
    ///
    /// The limit on the response counts from the end of the request. Before that, the idle limit counts: against the client while its
    /// next piece is awaited, which the body itself checks, and against the upstream while it reads nothing.
    fn later(self, buffer: Option<&ReplayBuffer<ClientBody>>) -> Result<Instant, NoResponse> {
        let Self { response, idle } = self;
        let now = Instant::now();
        let (due, outcome) = match buffer.map(ReplayBuffer::progress) {
            None => (now, NoResponse::TimedOut(response)),
            Some(Progress::Ended(end)) => (end + response, NoResponse::TimedOut(response)),
            Some(Progress::Awaited) => return Ok(now + idle),
            Some(Progress::Given(at)) => (at + idle, NoResponse::Stalled(idle)),
        };
        if due > now { Ok(due) } else { Err(outcome) }
    }
}
