//! When a refresh is due, unasked.
//!
//! Two clocks tell. The wall clock goes on through a suspend; the monotonic one is not disturbed when somebody sets the time. A
//! refresh is due, and a token over, as soon as either says so.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::{Refresher, TICK};
use crate::token::journal::{Plan, Which, plan_stored};
use crate::token::live::LiveToken;
use crate::token::{Trigger, policy};

/// Now, on both clocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    pub(super) monotonic: Instant,
    pub(super) wall: Timestamp,
}

/// When the live token is to be refreshed, and when it is over, on the monotonic clock as seen when it became live.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ends {
    refresh: Option<Instant>,
    life: Option<Instant>,
}

impl Refresher {
    pub(super) fn now(&self) -> Moment {
        Moment { monotonic: Instant::now(), wall: self.clock.now() }
    }

    /// What is to be presented now, and why.
    pub(super) fn due(&self, now: Moment) -> Option<(Which, Trigger)> {
        if !self.may_begin() {
            return None;
        }
        let (settings, record) = (&self.journal.settings, self.record.as_ref());
        if settings.candidate_to_try(record).is_some() && self.attempts.ready(Which::Candidate, now.monotonic) {
            return Some((Which::Candidate, if self.starting { Trigger::Startup } else { Trigger::Manual }));
        }
        if settings.first_to_try(record).is_some() && self.attempts.ready(Which::First, now.monotonic) {
            return Some((Which::First, if self.starting { Trigger::Startup } else { Trigger::Manual }));
        }
        if !self.attempts.ready(Which::Stored, now.monotonic) {
            return None;
        }
        let trigger = self.stored_due(now)?;
        if trigger == Trigger::Scheduled && self.paced().is_some_and(|at| at > now.monotonic) {
            return None;
        }
        // While the store could not be read, the rotation finds out what it says.
        let hopeless = self.read && matches!(plan_stored(settings, record), Plan::NeedsLogin(_));
        (!hopeless).then_some((Which::Stored, trigger))
    }

    fn stored_due(&self, now: Moment) -> Option<Trigger> {
        let view = self.live.view();
        let past = |at: Option<Instant>| at.is_some_and(|at| at <= now.monotonic);
        match &view.token {
            None if self.starting => Some(Trigger::Startup),
            None => Some(Trigger::Manual),
            Some(token) if token.expired(now.wall) && self.starting => Some(Trigger::Startup),
            Some(token) if token.expired(now.wall) => Some(Trigger::Scheduled),
            Some(_) if past(self.ends.refresh) || view.refresh_at.is_some_and(|at| at <= now.wall) => {
                Some(Trigger::Scheduled)
            }
            Some(token) if self.misdated == Some(token.generation) && self.starting => Some(Trigger::Startup),
            Some(token) if self.misdated == Some(token.generation) => Some(Trigger::Scheduled),
            Some(_) if self.is_unproven() => Some(Trigger::Manual),
            // The call may have ended the live token, however long that has to live: what became of it is found out.
            Some(_) if self.is_unclear() => Some(if self.starting { Trigger::Startup } else { Trigger::Scheduled }),
            Some(token) => self.attempts.unfinished(token.is_refused()),
        }
    }

    /// When the next refresh may come on schedule. What has failed is tried again by its own backoff.
    fn paced(&self) -> Option<Instant> {
        self.scheduled
            .filter(|_| self.attempts.not_before(Which::Stored).is_none())
            .map(|at| at + policy::SCHEDULED_PACE)
    }

    fn may_begin(&self) -> bool {
        self.in_flight.is_none() && self.unpersisted.is_none() && self.live.view().needs_login.is_none()
    }

    /// Whether a person gave the refresh token, and it has brought nothing yet.
    fn is_unproven(&self) -> bool {
        let present = self.record.as_ref().and_then(|record| record.refresh.as_ref());
        self.unproven.is_some_and(|unproven| present.is_some_and(|token| token.fingerprint() == unproven))
    }

    /// Whether a call with the present refresh token was announced, by this process or by one before it, and its end is not known.
    fn is_unclear(&self) -> bool {
        self.record.as_ref().is_some_and(|record| {
            let present = record.refresh.as_ref().map(|token| token.fingerprint());
            record.intent.as_ref().is_some_and(|intent| Some(intent.fingerprint) == present)
        })
    }

    /// How long the loop may sleep. What is due at `now` has been begun, or waits for an event; so only what comes later counts.
    /// No timer has to hold a year: the clocks are looked at again at every tick.
    pub(super) fn next_wake(&self, now: Moment) -> Instant {
        let refresh_at = self.live.view().refresh_at;
        let by_wall = refresh_at.and_then(|at| now.monotonic.checked_add(at.duration_since(now.wall).try_into().ok()?));
        let refresh = [
            self.attempts.not_before(Which::Candidate),
            self.attempts.not_before(Which::First),
            self.attempts.not_before(Which::Stored),
            by_wall,
            self.ends.refresh,
            self.paced(),
        ];
        let refresh = refresh.into_iter().filter(|_| self.may_begin());
        let errand = self.next_errand();
        [self.ends.life, errand, self.requests.next()]
            .into_iter()
            .chain(refresh)
            .flatten()
            .filter(|at| *at > now.monotonic)
            .fold(now.monotonic + TICK, Instant::min)
    }

    pub(super) fn tick(&mut self) {
        if self.ends.life.is_some_and(|end| end <= Instant::now())
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

    /// The ends of a token that becomes live now.
    pub(super) fn ends_of(&self, token: &LiveToken) -> Ends {
        let now = self.now();
        let at = |wall: Timestamp| {
            let left = Duration::try_from(wall.duration_since(now.wall)).unwrap_or_default();
            now.monotonic.checked_add(left)
        };
        Ends { refresh: self.refresh_at(token).and_then(at), life: token.expires_at.and_then(at) }
    }
}
