//! Detects an HTTP/2 connection that has lost its peer: after silence, it sends a PING (RFC 9113 §6.7).
//!
//! Only received bytes prove that the peer is alive. A request that was sent or cancelled proves nothing. So a dead connection is
//! closed at most [`Times::interval`] plus [`Times::timeout`] after its first unanswered request, whatever other clients do. A
//! connection that expects nothing sends no PING: the pool closes it before a NAT forgets it.
//!
//! The first PING is sent at once. Its round-trip time sizes the connection's window.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use h2::{Ping, PingPong};
use tokio::time::{Instant, Sleep, sleep_until};

pub(super) struct Keepalive {
    ping: PingPong,
    watch: Watch,
    timer: Pin<Box<Sleep>>,
    /// The timer is set, and not too late. It may fire too early: that costs less than a reset with each byte.
    armed: bool,
    /// When the first PING was sent. `None`: it was answered, or not sent.
    first_sent: Option<Instant>,
    /// The round-trip time of the first PING, until it is taken.
    round_trip: Option<Duration>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    /// How long a peer may be silent while a request waits for it.
    pub(super) interval: Duration,
    /// The time limit for the answer to a PING.
    pub(super) timeout: Duration,
}

/// The peer is lost.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("no PING response within {0:?}")]
pub(super) struct Silent(Duration);

/// The decision, without a clock and without a connection.
#[derive(Debug)]
struct Watch {
    times: Times,
    /// When the last byte arrived.
    received: Instant,
    /// A request was in flight after that.
    expecting: bool,
    /// A PING is unanswered.
    asked: bool,
    /// When a byte must have arrived.
    deadline: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Rest,
    WaitUntil(Instant),
    Ask,
    GiveUp,
}

// === impl Times ===

impl Default for Times {
    fn default() -> Self {
        Self { interval: Duration::from_secs(15), timeout: Duration::from_secs(10) }
    }
}

// === impl Keepalive ===

impl Keepalive {
    pub(super) fn new(mut ping: PingPong, times: Times) -> Self {
        let now = Instant::now();
        // h2 refuses a PING only while the connection ends, which its own poll reports.
        let first_sent = ping.send_ping(Ping::opaque()).is_ok().then_some(now);
        let watch = Watch { times, received: now, expecting: false, asked: first_sent.is_some(), deadline: None };
        let timer = Box::pin(sleep_until(now + times.interval));
        Self { ping, watch, timer, armed: false, first_sent, round_trip: None }
    }

    /// Takes the first round-trip time, once it is known.
    pub(super) fn take_round_trip(&mut self) -> Option<Duration> {
        self.round_trip.take()
    }

    pub(super) fn received_at(&self) -> Instant {
        self.watch.received
    }

    /// To be polled with the connection. `received`: a byte arrived since the last poll. `busy`: requests are in flight.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, received: bool, busy: bool) -> Poll<Silent> {
        if received {
            self.watch.receive(Instant::now());
        }
        if self.watch.asked && self.ping.poll_pong(cx).is_ready() {
            self.watch.asked = false;
            self.round_trip = self.first_sent.take().map(|sent| sent.elapsed());
        }
        self.watch.expecting |= busy;
        loop {
            if self.armed {
                ready!(self.timer.as_mut().poll(cx));
                self.armed = false;
            }
            if !self.watch.expecting {
                return Poll::Pending;
            }
            let now = Instant::now();
            match self.watch.next(now) {
                Step::Rest => return Poll::Pending,
                Step::WaitUntil(time) => {
                    self.timer.as_mut().reset(time);
                    self.armed = true;
                }
                Step::Ask if self.ping.send_ping(Ping::opaque()).is_ok() => self.watch.ask(now),
                // The connection is ending, which its own poll reports.
                Step::Ask => return Poll::Pending,
                Step::GiveUp => return Poll::Ready(Silent(self.watch.times.timeout)),
            }
        }
    }
}

// === impl Watch ===

impl Watch {
    fn receive(&mut self, now: Instant) {
        self.received = now;
        self.expecting = false;
        self.deadline = None;
    }

    fn ask(&mut self, now: Instant) {
        self.asked = true;
        self.deadline = Some(now + self.times.timeout);
    }

    fn next(&mut self, now: Instant) -> Step {
        if !self.expecting {
            return Step::Rest;
        }
        if let Some(deadline) = self.deadline {
            return if deadline <= now { Step::GiveUp } else { Step::WaitUntil(deadline) };
        }
        let due = self.received + self.times.interval;
        if now < due {
            return Step::WaitUntil(due);
        }
        if !self.asked {
            return Step::Ask;
        }
        // The first PING is still unanswered.
        self.ask(now);
        self.next(now)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn watch(received: Instant) -> Watch {
        Watch { times: Times::default(), received, expecting: false, asked: false, deadline: None }
    }

    #[test]
    fn silence_is_judged_by_what_was_received() {
        let start = Instant::now();
        let at = |seconds| start + SECOND * seconds;
        let mut watch = watch(start);
        assert_eq!(watch.next(at(100)), Step::Rest, "nothing is expected");
        watch.expecting = true;
        assert_eq!(watch.next(at(100)), Step::Ask, "silent for long before the request");
        watch.ask(at(100));
        assert_eq!(watch.next(at(100)), Step::WaitUntil(at(110)));
        watch.receive(at(105));
        assert_eq!(watch.next(at(105)), Step::Rest);
        watch.expecting = true;
        assert_eq!(watch.next(at(106)), Step::WaitUntil(at(120)));
        // The request was cancelled, but nothing was received since.
        assert_eq!(watch.next(at(120)), Step::WaitUntil(at(130)), "the PING before is still out");
        assert_eq!(watch.next(at(130)), Step::GiveUp);
    }

    proptest! {
        /// Times in milliseconds. `requests`: when each begins after the previous one, and how long its client waits.
        #[test]
        fn a_lost_peer_is_given_up_within_25_s_of_the_first_request_whatever_clients_do(
            idle in 0_u64..120_000,
            requests in prop::collection::vec((0_u64..60_000, 1_u64..60_000), 1..20),
        ) {
            let ms = Duration::from_millis;
            let start = Instant::now();
            let mut watch = watch(start);
            let mut events = Vec::new();
            let mut begins = start + ms(idle);
            let first = begins;
            for (gap, patience) in requests {
                events.push((begins, true));
                events.push((begins + ms(patience), false));
                begins += ms(gap);
            }
            events.sort();
            let mut events = events.into_iter().peekable();
            let (mut now, mut busy) = (start, 0);
            let given_up = loop {
                watch.expecting |= busy > 0;
                let wake = match watch.next(now) {
                    Step::GiveUp => break now,
                    Step::Ask => {
                        watch.ask(now);
                        continue;
                    }
                    Step::WaitUntil(time) => Some(time),
                    Step::Rest => None,
                };
                match events.next_if(|(time, _)| wake.is_none_or(|wake| *time <= wake)) {
                    Some((time, begun)) => {
                        now = time;
                        busy += if begun { 1 } else { -1 };
                    }
                    None => now = wake.unwrap(),
                }
            };
            prop_assert!(given_up - first <= SECOND * 25, "{:?}", given_up - first);
        }
    }
}
