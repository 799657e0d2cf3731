//! When a refresh is due by itself.
//!
//! The wall clock continues during a suspend. The monotonic clock ignores a change of the system time. A refresh is due, and a
//! token has expired, as soon as either clock says so.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::{Refresher, TICK};
use crate::token::journal::{Plan, TokenSource, plan_stored};
use crate::token::live::LiveToken;
use crate::token::{Trigger, policy};

/// A moment on both clocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    pub(super) monotonic: Instant,
    pub(super) wall: Timestamp,
}

/// When the live token must be refreshed and when it expires, on the monotonic clock, as calculated when the token became live.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Deadlines {
    refresh: Option<Instant>,
    expiry: Option<Instant>,
}

impl Refresher {
    pub(super) fn now(&self) -> Moment {
        Moment { monotonic: Instant::now(), wall: self.clock.now() }
    }

    /// What must be presented now, and why.
    pub(super) fn due(&self, now: Moment) -> Option<(TokenSource, Trigger)> {
        if !self.may_begin() {
            return None;
        }
        let (settings, record) = (&self.journal.settings, self.record.as_ref());
        if settings.candidate_to_try(record).is_some() && self.backoff.ready(TokenSource::Candidate, now.monotonic) {
            return Some((TokenSource::Candidate, if self.starting { Trigger::Startup } else { Trigger::Manual }));
        }
        if settings.initial_to_try(record).is_some() && self.backoff.ready(TokenSource::Initial, now.monotonic) {
            return Some((TokenSource::Initial, if self.starting { Trigger::Startup } else { Trigger::Manual }));
        }
        if !self.backoff.ready(TokenSource::Stored, now.monotonic) {
            return None;
        }
        let trigger = self.stored_due(now)?;
        if trigger == Trigger::Scheduled && self.paced().is_some_and(|at| at > now.monotonic) {
            return None;
        }
        // If the store could not be read yet, the rotation reads it.
        let hopeless = self.read && matches!(plan_stored(settings, record), Plan::NeedsLogin(_));
        (!hopeless).then_some((TokenSource::Stored, trigger))
    }

    fn stored_due(&self, now: Moment) -> Option<Trigger> {
        let view = self.live.view();
        let past = |at: Option<Instant>| at.is_some_and(|at| at <= now.monotonic);
        match &view.token {
            None if self.starting => Some(Trigger::Startup),
            None => Some(Trigger::Manual),
            Some(token) if token.expired(now.wall) && self.starting => Some(Trigger::Startup),
            Some(token) if token.expired(now.wall) => Some(Trigger::Scheduled),
            Some(_) if past(self.deadlines.refresh) || view.refresh_at.is_some_and(|at| at <= now.wall) => {
                Some(Trigger::Scheduled)
            }
            Some(token) if self.misdated == Some(token.generation) && self.starting => Some(Trigger::Startup),
            Some(token) if self.misdated == Some(token.generation) => Some(Trigger::Scheduled),
            Some(_) if self.is_unverified() => Some(Trigger::Manual),
            // The announced call may have revoked the live token, however long that would live. A refresh finds out.
            Some(_) if self.has_open_intent() => {
                Some(if self.starting { Trigger::Startup } else { Trigger::Scheduled })
            }
            Some(token) => self.backoff.unfinished(token.is_refused()),
        }
    }

    /// The earliest next scheduled refresh. A failed attempt follows its backoff instead.
    fn paced(&self) -> Option<Instant> {
        self.last_scheduled
            .filter(|_| self.backoff.not_before(TokenSource::Stored).is_none())
            .map(|at| at + policy::SCHEDULED_PACE)
    }

    fn may_begin(&self) -> bool {
        self.in_flight.is_none() && self.unpersisted.is_none() && self.live.view().needs_login.is_none()
    }

    /// Whether a person supplied the refresh token, and no refresh with it has succeeded yet.
    fn is_unverified(&self) -> bool {
        let present = self.record.as_ref().and_then(|record| record.refresh.as_ref());
        self.unverified.is_some_and(|unverified| present.is_some_and(|token| token.fingerprint() == unverified))
    }

    /// Whether the record announces a call with the present refresh token, and the outcome is unknown.
    fn has_open_intent(&self) -> bool {
        self.record.as_ref().is_some_and(|record| {
            let present = record.refresh.as_ref().map(|token| token.fingerprint());
            record.intent.as_ref().is_some_and(|intent| Some(intent.fingerprint) == present)
        })
    }

    /// When the loop must wake at the latest. What is due at `now` has begun or waits for an event, so only later times count. Each
    /// tick reads the clocks again, so no timer has to span a year.
    pub(super) fn next_wake(&self, now: Moment) -> Instant {
        let refresh_at = self.live.view().refresh_at;
        let by_wall = refresh_at.and_then(|at| now.monotonic.checked_add(at.duration_since(now.wall).try_into().ok()?));
        let refresh = [
            self.backoff.not_before(TokenSource::Candidate),
            self.backoff.not_before(TokenSource::Initial),
            self.backoff.not_before(TokenSource::Stored),
            by_wall,
            self.deadlines.refresh,
            self.paced(),
        ];
        let refresh = refresh.into_iter().filter(|_| self.may_begin());
        let store_sync = self.next_sync();
        [self.deadlines.expiry, store_sync, self.requests.next()]
            .into_iter()
            .chain(refresh)
            .flatten()
            .filter(|at| *at > now.monotonic)
            .fold(now.monotonic + TICK, Instant::min)
    }

    pub(super) fn tick(&mut self) {
        if self.deadlines.expiry.is_some_and(|end| end <= Instant::now())
            && let Some(token) = &self.live.view().token
        {
            token.end();
        }
        self.live.wake();
    }

    pub(super) fn refresh_at(&self, token: &LiveToken) -> Option<Timestamp> {
        let margin = self.config.margin;
        token.expires_at.map(|end| policy::refresh_at(token.obtained_at, end, margin, self.jitter))
    }

    /// The deadlines of a token that becomes live now.
    pub(super) fn deadlines_of(&self, token: &LiveToken) -> Deadlines {
        let now = self.now();
        let at = |wall: Timestamp| {
            let left = Duration::try_from(wall.duration_since(now.wall)).unwrap_or_default();
            now.monotonic.checked_add(left)
        };
        Deadlines { refresh: self.refresh_at(token).and_then(at), expiry: token.expires_at.and_then(at) }
    }
}
