//! Whether the peer of an HTTP/2 connection is still there: with requests in flight and nothing heard, it is asked (RFC 9113 §6.7).
//! It is asked once at the beginning, too: how long that answer takes says how far it is.
//!
//! An idle connection is closed before a NAT would forget it; a ping would be a wake-up for nothing.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use h2::{Ping, PingPong};
use tokio::time::{Instant, Sleep, sleep};

/// This long without a byte, while requests wait for one.
const INTERVAL: Duration = Duration::from_secs(20);
/// For the answer.
const TIMEOUT: Duration = Duration::from_secs(10);

pub(super) struct Keepalive {
    ping: PingPong,
    timer: Pin<Box<Sleep>>,
    heard: Instant,
    state: State,
    /// Since when a ping is out.
    asked: Option<Instant>,
    /// Of the first ping, until it is taken.
    round_trip: Option<Duration>,
    measured: bool,
}

#[derive(Clone, Copy)]
enum State {
    /// Nothing is in flight; the timer is not looked at.
    Rests,
    Listens,
    /// A ping is out.
    Asked,
}

/// The peer is gone.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("no answer to a ping within {TIMEOUT:?}")]
pub(super) struct Silent;

// === impl Keepalive ===

impl Keepalive {
    pub(super) fn new(mut ping: PingPong) -> Self {
        let now = Instant::now();
        // Refused, the connection is ending, and says so itself.
        let asked = ping.send_ping(Ping::opaque()).is_ok().then_some(now);
        let timer = Box::pin(sleep(INTERVAL));
        Self { ping, timer, heard: now, state: State::Rests, asked, round_trip: None, measured: false }
    }

    /// How long the first answer took, once it has come.
    pub(super) fn take_round_trip(&mut self) -> Option<Duration> {
        self.round_trip.take()
    }

    /// To be polled with the connection. `heard`: a byte has come since; `busy`: requests are in flight.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, heard: bool, busy: bool) -> Poll<Silent> {
        if heard {
            self.heard = Instant::now();
        }
        if let Some(asked) = self.asked
            && self.ping.poll_pong(cx).is_ready()
        {
            self.asked = None;
            if !std::mem::replace(&mut self.measured, true) {
                self.round_trip = Some(asked.elapsed());
            }
        }
        loop {
            match self.state {
                State::Rests if !busy => return Poll::Pending,
                State::Rests => {
                    // What was quiet before the first request says nothing.
                    self.heard = Instant::now();
                    self.timer.as_mut().reset(self.heard + INTERVAL);
                    self.state = State::Listens;
                }
                State::Listens => {
                    ready!(self.timer.as_mut().poll(cx));
                    let due = self.heard + INTERVAL;
                    if !busy {
                        self.state = State::Rests;
                    } else if due > Instant::now() {
                        self.timer.as_mut().reset(due);
                    } else if self.asked.is_none() && self.ping.send_ping(Ping::opaque()).is_err() {
                        // The connection is ending, and says so itself.
                        return Poll::Pending;
                    } else {
                        self.asked.get_or_insert_with(Instant::now);
                        self.timer.as_mut().reset(Instant::now() + TIMEOUT);
                        self.state = State::Asked;
                    }
                }
                State::Asked => {
                    if self.asked.is_some() {
                        return self.timer.as_mut().poll(cx).map(|()| Silent);
                    }
                    self.state = State::Rests;
                }
            }
        }
    }
}
