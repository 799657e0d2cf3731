//! When a refresh is due, unasked.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::Refresher;
use crate::token::journal::Kind;
use crate::token::live::LiveToken;
use crate::token::store::Record;
use crate::token::{Trigger, policy};

impl Refresher {
    /// The trigger of the refresh that is due now.
    pub(super) fn due(&self) -> Option<Trigger> {
        match self.attempts.not_before() {
            Ok(Some(at)) if Instant::now() < at => None,
            Ok(_) => self.needed(self.clock.now()),
            Err(()) => None,
        }
    }

    /// How long the loop may sleep as far as the schedule is concerned. The wall clock may jump meanwhile: the loop looks at it
    /// at every tick, however far away the next refresh is, so that no timer has to hold a year.
    ///
    /// `None`: no time makes a refresh due. What is due already has begun, or is not allowed to.
    pub(super) fn due_at(&self, now: Instant) -> Option<Instant> {
        match self.attempts.not_before() {
            Ok(Some(at)) if at > now => return Some(at),
            Ok(_) => {}
            Err(()) => return None,
        }
        let until = Duration::try_from(self.live.view().refresh_at?.duration_since(self.clock.now())).ok()?;
        (!until.is_zero()).then(|| now + until.min(super::TICK))
    }

    fn needed(&self, now: Timestamp) -> Option<Trigger> {
        let view = self.live.view();
        let settings = &self.journal.settings;
        let first = settings.first_to_try(self.record.as_ref()).is_some();
        match &view.token {
            _ if first => Some(Trigger::Startup),
            // Nobody can be asked. Where this is not known yet (no record, a call that stayed unclear too often), the rotation
            // finds it out and notes it.
            _ if self.record.as_ref().is_some_and(|record| record.needs_login.is_some()) => None,
            _ if self.untried.is_some() && self.untried == self.record.as_ref().map(Record::version) => {
                Some(Trigger::Manual)
            }
            None => Some(Trigger::Startup),
            Some(token) if token.expired(now) && !self.made_here(token) => Some(Trigger::Startup),
            Some(token) if token.expired(now) => Some(Trigger::Scheduled),
            Some(_) if view.refresh_at.is_some_and(|at| at <= now) => Some(Trigger::Scheduled),
            // A token that was refused may not be asked for again: for its sake the proxy is not ready.
            Some(token) => self.attempts.unfinished(token.is_refused()),
        }
    }

    /// Whether the token came while this process ran.
    fn made_here(&self, token: &LiveToken) -> bool {
        token.obtained_at >= self.started_at
    }

    pub(super) fn refresh_at(&self, token: &LiveToken) -> Option<Timestamp> {
        let margin = self.config.margin;
        token.expires_at.map(|end| policy::refresh_at(token.obtained_at, end, margin, self.jitter))
    }

    /// Where on the monotonic clock the token ends, as seen now.
    pub(super) fn monotonic_end_of(&self, token: &LiveToken) -> Option<Instant> {
        let left = token.expires_at?.duration_since(self.clock.now());
        Instant::now().checked_add(Duration::try_from(left).unwrap_or_default())
    }

    pub(super) fn is_client_credentials(&self) -> bool {
        matches!(self.journal.settings.kind, Kind::ClientCredentials)
    }
}
