//! Enforces the deadlines and the drain of a connection.
//!
//! A connection has one timer, and a request needs no timer operation. The timer may fire too early, but never too late. While requests
//! are in flight, it is armed for at most one idle timeout ahead. So it fires before a connection that has become idle is due. Every
//! other state begins in a poll of this future, which then arms the timer earlier.

use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;
use tokio::time::{Instant, Sleep};

use super::connection_state::{ConnectionState, LINGER};
use super::drain::Draining;
use super::http::Http;
use super::in_flight::InFlight;
use super::limits::Limits;
use super::protocol::Protocol;
use super::service::Service;

/// The shortest time between two checks of a busy connection, whatever its idle timeout.
const SHORTEST_LOOK: Duration = Duration::from_millis(10);

pin_project_lite::pin_project! {
    /// Resolves when the connection has ended, was upgraded, or must be cut.
    pub(super) struct Lifetime<S: Service> {
        http: Http<S>,
        observed: Observed,
        limits: Arc<Limits>,
        // Polled once, for its wake-up. `InFlight` has the state.
        #[pin]
        drain: OwnedNotified,
        #[pin]
        timer: Sleep,
        // `None` before the first poll.
        armed: Option<Instant>,
        tls_changed: Option<Recheck>,
    }
}

/// Tells when the client's certificate must be checked again.
pub(super) struct Recheck {
    changed: Arc<Notify>,
    next: Pin<Box<OwnedNotified>>,
}

/// How a connection ended.
pub(super) enum End {
    /// By itself, or by an upgrade.
    Done,
    /// The client or the network failed.
    Failed(hyper::Error),
    /// By a deadline.
    Cut(ConnectionState),
}

/// The state of a connection after each poll.
struct Observed {
    in_flight: Rc<InFlight>,
    connected: Instant,
    /// When the socket stopped accepting bytes.
    blocked: Option<Instant>,
    /// When the first part of a head arrived.
    head: Option<Instant>,
    closing: Option<Closing>,
}

/// The connection takes no more requests.
#[derive(Clone, Copy)]
struct Closing {
    since: Instant,
    /// Responses may still be in transit.
    busy: bool,
}

// === impl Lifetime ===

impl<S: Service> Lifetime<S> {
    pub(super) fn new(
        http: Http<S>,
        in_flight: Rc<InFlight>,
        connected: Instant,
        limits: Arc<Limits>,
        draining: &Draining,
        tls_changed: Option<Recheck>,
    ) -> Self {
        let observed = Observed { in_flight, connected, blocked: None, head: None, closing: None };
        let timer = tokio::time::sleep_until(connected);
        Self { http, observed, limits, drain: draining.begins(), timer, armed: None, tls_changed }
    }
}

impl<S: Service> Future for Lifetime<S> {
    type Output = End;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<End> {
        if self.armed.is_none() {
            let _ = self.as_mut().project().drain.poll(cx);
        }
        if let Some(tls_changed) = self.as_mut().project().tls_changed
            && tls_changed.poll(cx)
        {
            self.observed.in_flight.recheck();
        }
        loop {
            let mut this = self.as_mut().project();
            if let Poll::Ready(result) = this.http.poll(cx) {
                let signals = this.observed.in_flight.signals();
                // A half-closed client may never read the rest. Any other client still gets what the socket has accepted.
                if signals.is_blocked() && signals.is_ended() {
                    signals.reset();
                }
                // After an upgrade the socket lives on, and the tunnel handles its half-close.
                signals.do_not_linger();
                return Poll::Ready(result.map_or_else(End::Failed, |()| End::Done));
            }
            this.observed.look();
            let state = this.observed.state();
            let drained = this.observed.in_flight.drained();
            if (drained.is_some() && this.observed.may_close(state))
                || (this.observed.in_flight.is_closed() && this.observed.closing.is_none())
            {
                this.observed.close();
                this.http.graceful_shutdown();
                continue;
            }

            let in_flight = &this.observed.in_flight;
            let revoked = in_flight.revoked().map(|revoked| revoked + this.limits.idle_timeout);
            let hoarding = in_flight.hoarding().map(|hoarding| hoarding + LINGER);
            let cut = [revoked, hoarding].into_iter().flatten().min();
            let due = state.deadline(this.limits, drained);
            let due = [due, cut].into_iter().flatten().min();
            if let Some(armed) = *this.armed
                && due.is_none_or(|due| armed <= due)
                && !this.timer.is_elapsed()
            {
                return Poll::Pending;
            }
            let now = Instant::now();
            if due.is_some_and(|due| due <= now) {
                if cut == due || !this.observed.ends_gracefully(state) {
                    if cut == due || matches!(state, ConnectionState::Blocked(_)) {
                        this.observed.in_flight.signals().reset();
                    }
                    return Poll::Ready(End::Cut(state));
                }
                this.observed.close();
                this.http.graceful_shutdown();
                continue;
            }
            let look_again = now + this.limits.idle_timeout.max(SHORTEST_LOOK);
            let arm = due.map_or(look_again, |due| due.min(look_again));
            this.timer.as_mut().reset(arm);
            *this.armed = Some(arm);
            if this.timer.poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
    }
}

// === impl Recheck ===

impl Recheck {
    pub(super) fn new(changed: &Arc<Notify>) -> Self {
        Self { changed: changed.clone(), next: Box::pin(changed.clone().notified_owned()) }
    }

    /// Returns when something has changed.
    pub(super) async fn changed(&mut self) {
        std::future::poll_fn(|cx| if self.poll(cx) { Poll::Ready(()) } else { Poll::Pending }).await;
    }

    /// Whether something has changed since the last poll. Registers for the next change.
    fn poll(&mut self, cx: &mut Context<'_>) -> bool {
        let mut changed = false;
        while self.next.as_mut().poll(cx).is_ready() {
            self.next.set(self.changed.clone().notified_owned());
            changed = true;
        }
        changed
    }
}

// === impl Observed ===

impl Observed {
    fn look(&mut self) {
        let signals = self.in_flight.signals();
        let wrote = signals.take_wrote();
        if !signals.is_blocked() {
            self.blocked = None;
        } else if wrote || self.blocked.is_none() {
            self.blocked = Some(Instant::now());
        }

        match &mut self.closing {
            // HTTP/2 still sends buffered parts of responses that count as ended, if the client reads slowly.
            Some(closing) if closing.busy && wrote => closing.since = Instant::now(),
            Some(_) => {}
            None if signals.is_shut() => self.closing = Some(Closing { since: Instant::now(), busy: true }),
            None => {}
        }

        // A request has arrived and ended since then.
        if self.head.is_some_and(|head| head <= self.in_flight.since()) {
            self.head = None;
        }
        if self.head.is_none()
            && self.in_flight.protocol() == Protocol::Http1
            && !self.in_flight.is_busy()
            && signals.take_read()
        {
            self.head = Some(Instant::now());
        }
    }

    fn state(&self) -> ConnectionState {
        if let Some(since) = self.blocked {
            ConnectionState::Blocked(since)
        } else if self.in_flight.is_busy() {
            ConnectionState::Busy
        } else if let Some(closing) = self.closing {
            ConnectionState::Closing(closing.since.max(self.in_flight.since()))
        } else if !self.in_flight.has_served() {
            ConnectionState::Fresh(self.connected)
        } else if let Some(since) = self.head {
            ConnectionState::Head(since)
        } else {
            ConnectionState::Idle(self.in_flight.since())
        }
    }

    /// In a drain: whether the connection can now announce that it takes no more requests. HTTP/2 can refuse a late request; HTTP/1 can only
    /// announce the end in a response.
    fn may_close(&self, state: ConnectionState) -> bool {
        let can_say = match state {
            ConnectionState::Blocked(_) | ConnectionState::Busy => true,
            ConnectionState::Idle(_) => self.in_flight.protocol() == Protocol::Http2,
            ConnectionState::Closing(_) | ConnectionState::Fresh(_) | ConnectionState::Head(_) => false,
        };
        can_say && self.closing.is_none()
    }

    /// At its deadline: HTTP/2 sends GOAWAY before the end; HTTP/1 cannot send anything within a head.
    fn ends_gracefully(&self, state: ConnectionState) -> bool {
        match state {
            ConnectionState::Idle(_) => true,
            ConnectionState::Fresh(_) => self.in_flight.protocol() == Protocol::Http2,
            ConnectionState::Blocked(_)
            | ConnectionState::Busy
            | ConnectionState::Closing(_)
            | ConnectionState::Head(_) => false,
        }
    }

    fn close(&mut self) {
        let busy = self.in_flight.is_busy() || self.blocked.is_some();
        if !busy {
            self.in_flight.signals().do_not_linger();
        }
        self.closing = Some(Closing { since: Instant::now(), busy });
    }
}

#[cfg(test)]
mod tests;
