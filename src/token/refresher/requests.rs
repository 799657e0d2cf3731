//! Refreshes that a person asks for.
//!
//! Backoff and cooldown do not apply. Each refresh spends a refresh token, so at most one begins per second, however many are
//! requested.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::{Refresher, Verdict, answer};
use crate::token::Trigger;
use crate::token::journal::TokenSource;

/// The recent requests.
#[derive(Debug)]
pub(super) struct Requests {
    /// The minimum time between two requested refreshes.
    pub(super) pace: Duration,
    /// When the last requested refresh began.
    begun: Option<Instant>,
    /// When this process last refreshed the token, for any reason.
    succeeded: Option<Instant>,
    /// Requests that wait for the next refresh that may begin.
    waiting: Vec<oneshot::Sender<Verdict>>,
}

// === impl Requests ===

impl Default for Requests {
    fn default() -> Self {
        Self { pace: Duration::from_secs(1), begun: None, succeeded: None, waiting: Vec::new() }
    }
}

impl Requests {
    pub(super) fn succeeded(&mut self) {
        self.succeeded = Some(Instant::now());
    }

    /// When the refresh of the waiting requests may begin.
    pub(super) fn next(&self) -> Option<Instant> {
        self.begun.filter(|_| !self.waiting.is_empty()).map(|at| at + self.pace)
    }

    fn has_just_succeeded(&self, now: Instant) -> bool {
        self.succeeded.is_some_and(|at| now < at + self.pace)
    }

    fn must_wait(&self, now: Instant) -> bool {
        self.begun.is_some_and(|at| now < at + self.pace)
    }
}

// === impl Refresher ===

impl Refresher {
    pub(super) fn refresh_on_request(&mut self, reply: oneshot::Sender<Verdict>) {
        if self.unpersisted.is_some() {
            // The stored token is spent. Presenting it again can end the grant.
            let reason = "the present grant could not be stored yet: mend the store first";
            return answer(reply, Verdict::PassOn(reason.into()));
        }
        let now = Instant::now();
        if self.in_flight.is_none() {
            let live = Arc::clone(&self.live.view());
            if self.requests.has_just_succeeded(now)
                && let Some(token) = live.unexpired(self.clock.now())
            {
                // The request gets the outcome of that refresh.
                return answer(reply, Verdict::Newer(Arc::clone(token)));
            }
            if self.requests.must_wait(now) {
                return self.requests.waiting.push(reply);
            }
            self.requests.begun = Some(now);
            let (settings, record) = (&self.journal.settings, self.record.as_ref());
            let source = if settings.candidate_to_try(record).is_some() {
                TokenSource::Candidate
            } else if settings.initial_to_try(record).is_some() {
                TokenSource::Initial
            } else {
                TokenSource::Stored
            };
            self.begin(source, Trigger::Manual);
        }
        self.join(reply);
    }

    /// The waiting requests join the refresh in flight, or begin one as soon as it may begin.
    pub(super) fn refresh_as_asked(&mut self, now: Instant) {
        if self.in_flight.is_some() || self.requests.next().is_some_and(|at| at <= now) {
            for reply in std::mem::take(&mut self.requests.waiting) {
                self.refresh_on_request(reply);
            }
        }
    }
}
