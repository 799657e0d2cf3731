//! HTTP/2 streams: each request is a task in its connection's worker.
//!
//! A client that opens no window for a stream blocks that stream alone, which the socket does not show. So each stream watches
//! itself: a body that gave something away and is not asked for more waits for the client.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::rt::Executor;
use tokio::time::{Instant, Sleep};

use super::flight::{BodyPoll, Flights};

/// Runs the streams of one connection.
#[derive(Clone)]
pub(super) struct Streams {
    flights: Rc<Flights>,
    stall_timeout: Duration,
}

pin_project_lite::pin_project! {
    /// One stream, until it is answered or its client has taken nothing for too long. Dropping it resets the stream.
    struct Stream<F> {
        #[pin]
        stream: F,
        flights: Rc<Flights>,
        stall_timeout: Duration,
        blocked: bool,
        // Made when the client blocks for the first time: most never do.
        timer: Option<Pin<Box<Sleep>>>,
    }
}

// === impl Streams ===

impl Streams {
    pub(super) fn new(flights: Rc<Flights>, stall_timeout: Duration) -> Self {
        Self { flights, stall_timeout }
    }
}

impl<F: Future<Output = ()> + 'static> Executor<F> for Streams {
    fn execute(&self, stream: F) {
        let Self { flights, stall_timeout } = self.clone();
        tokio::task::spawn_local(Stream { stream, flights, stall_timeout, blocked: false, timer: None });
    }
}

// === impl Stream ===

impl<F: Future<Output = ()>> Future for Stream<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        // Streams share their connection's state, and one is polled at a time.
        this.flights.take_body_poll();
        if this.stream.poll(cx).is_ready() {
            return Poll::Ready(());
        }
        let body = this.flights.take_body_poll();
        match body {
            BodyPoll::Gave => *this.blocked = true,
            BodyPoll::Waits => *this.blocked = false,
            // Woken for something else; it blocks as it did.
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
