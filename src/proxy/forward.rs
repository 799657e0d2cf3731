//! [`Authorized`] → upstream → response: the innermost service, with the limit on the wait for a response's head.

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
use crate::upstream::pool::{Outcome, Pool, UpstreamBody};

/// Sends to the upstream.
#[derive(Clone)]
pub struct Forward {
    pool: Rc<Pool<RequestBody>>,
    limits: Limits,
}

#[derive(Clone, Copy)]
struct Limits {
    /// On the wait for a response's head.
    response: Duration,
    /// Between two pieces of the request's body.
    idle: Duration,
}

pin_project_lite::pin_project! {
    /// An answer, within the limits.
    struct InTime<A> {
        #[pin]
        answer: A,
        #[pin]
        timer: Sleep,
        limits: Limits,
        kept: Option<Rc<ReplayBuffer<ClientBody>>>,
    }
}

// === impl Forward ===

impl Forward {
    pub fn new(pool: Rc<Pool<RequestBody>>, config: &UpstreamConfig) -> Self {
        Self { pool, limits: Limits { response: config.response_timeout, idle: config.idle_timeout } }
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
        let (request, upgrade, kept) = authorized.into_parts();
        if upgrade {
            let pool = Rc::clone(&self.pool);
            return Box::pin(InTime::new(async move { pool.send_upgrade(request).await }, self.limits, kept));
        }
        Box::pin(InTime::new(self.pool.send(request), self.limits, kept))
    }
}

// === impl InTime ===

impl<A> InTime<A> {
    fn new(answer: A, limits: Limits, kept: Option<Rc<ReplayBuffer<ClientBody>>>) -> Self {
        let Limits { response, idle } = limits;
        // What is due is looked at only when the first deadline has passed, so that a request sets one timer.
        let timer = sleep(if kept.is_some() { response.min(idle) } else { response });
        Self { answer, timer, limits, kept }
    }
}

impl<A> Future for InTime<A>
where
    A: Future<Output = Outcome<RequestBody>>,
{
    type Output = Result<Response<UpstreamBody>, NoResponse>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        if let Poll::Ready(answer) = this.answer.poll(cx) {
            return Poll::Ready(answer.map_err(NoResponse::Failed));
        }
        loop {
            ready!(this.timer.as_mut().poll(cx));
            match this.limits.later(this.kept.as_deref()) {
                Ok(later) => this.timer.as_mut().reset(later),
                Err(attempted) => return Poll::Ready(Err(attempted)),
            }
        }
    }
}

// === impl Limits ===

impl Limits {
    /// The limit on the response counts from the request's end. Before, the body's own limit counts: for the client while its next
    /// piece is waited for (there the body watches itself), for the upstream while it takes nothing.
    fn later(self, kept: Option<&ReplayBuffer<ClientBody>>) -> Result<Instant, NoResponse> {
        let Self { response, idle } = self;
        let now = Instant::now();
        let (due, outcome) = match kept.map(ReplayBuffer::progress) {
            None => (now, NoResponse::TimedOut(response)),
            Some(Progress::Ended(end)) => (end + response, NoResponse::TimedOut(response)),
            Some(Progress::Awaited) => return Ok(now + idle),
            Some(Progress::Given(at)) => (at + idle, NoResponse::Stalled(idle)),
        };
        if due > now { Ok(due) } else { Err(outcome) }
    }
}
