//! Detects HTTP/2 clients that do not read a stream. Each stream is a task in the worker of its connection.
//!
//! A client that opens no window for a stream blocks only that stream, and the socket does not show it. So each stream watches its
//! response body: a body that returned a frame and is not polled again waits for the client.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::rt::Executor;
use tokio::time::{Instant, Sleep};

use super::in_flight::{BodyPoll, InFlight};

/// Runs the streams of one connection.
#[derive(Clone)]
pub(super) struct StreamExecutor {
    in_flight: Rc<InFlight>,
    stall_timeout: Duration,
}

pin_project_lite::pin_project! {
    /// One stream, until it is answered or its client has read nothing for too long. Dropping it resets the stream.
    struct WatchedStream<F> {
        #[pin]
        stream: F,
        in_flight: Rc<InFlight>,
        stall_timeout: Duration,
        blocked: bool,
        // Created when the client blocks for the first time: most never do.
        timer: Option<Pin<Box<Sleep>>>,
    }
}

// === impl StreamExecutor ===

impl StreamExecutor {
    pub(super) fn new(in_flight: Rc<InFlight>, stall_timeout: Duration) -> Self {
        Self { in_flight, stall_timeout }
    }
}

impl<F: Future<Output = ()> + 'static> Executor<F> for StreamExecutor {
    fn execute(&self, stream: F) {
        let Self { in_flight, stall_timeout } = self.clone();
        tokio::task::spawn_local(WatchedStream { stream, in_flight, stall_timeout, blocked: false, timer: None });
    }
}

// === impl WatchedStream ===

impl<F: Future<Output = ()>> Future for WatchedStream<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        // The streams share the state of their connection, and are polled one at a time.
        this.in_flight.take_body_poll();
        if this.stream.poll(cx).is_ready() {
            return Poll::Ready(());
        }
        let body = this.in_flight.take_body_poll();
        match body {
            BodyPoll::Gave => *this.blocked = true,
            BodyPoll::Waits => *this.blocked = false,
            // The stream was woken for another reason.
            BodyPoll::Untouched => {}
        }
        if !*this.blocked {
            return Poll::Pending;
        }
        let deadline = || Instant::now() + *this.stall_timeout;
        let timer = match this.timer {
            None => this.timer.insert(Box::pin(tokio::time::sleep_until(deadline()))),
            Some(timer) => {
                if body == BodyPoll::Gave {
                    timer.as_mut().reset(deadline());
                }
                timer
            }
        };
        if timer.as_mut().poll(cx).is_ready() {
            tracing::debug!("a stream was reset: the client does not read");
            return Poll::Ready(());
        }
        Poll::Pending
    }
}
