//! When a refresh is due, unasked.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::Refresher;
use crate::token::journal::{Kind, Plan, plan};
use crate::token::live::LiveToken;
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
    pub(super) fn due_at(&self, now: Instant) -> Option<Instant> {
        if let Ok(Some(at)) = self.attempts.not_before()
            && at > now
        {
            return Some(at);
        }
        let until = self.live.view().refresh_at?.duration_since(self.clock.now());
        Some(now + Duration::try_from(until).unwrap_or_default().min(super::TICK))
    }

    fn needed(&self, now: Timestamp) -> Option<Trigger> {
        let view = self.live.view();
        let settings = &self.journal.settings;
        let first = settings.first_to_try(self.record.as_ref()).is_some();
        match &view.token {
            _ if first => Some(Trigger::Startup),
            // Nobody can be asked; where there is no record at all, the rotation finds out what the store says.
            _ if self.record.is_some() && matches!(plan(settings, self.record.as_ref()), Plan::NeedsLogin(_)) => None,
            None => Some(Trigger::Startup),
            Some(token) if token.expired(now) && !self.made_here(token) => Some(Trigger::Startup),
            Some(token) if token.expired(now) => Some(Trigger::Scheduled),
            Some(_) if view.refresh_at.is_some_and(|at| at <= now) => Some(Trigger::Scheduled),
            Some(_) => None,
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
