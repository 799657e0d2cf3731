//! The view of the grant that the rest of the program reads.

use std::sync::Arc;

use jiff::SignedDuration;
use tokio::time::Instant;

use super::Refresher;
use crate::token::journal::{Plan, plan};
use crate::token::live::{LiveToken, Next, View};
use crate::token::store::{LastRefresh, Record};
use crate::token::{Access, Generation, Trigger, policy};

impl Refresher {
    /// Publishes the present state. Logs when the grant begins or ceases to need a login.
    pub(super) fn publish(&mut self) {
        let view = self.view();
        let before = self.live.view();
        let generation = |view: &View| view.token.as_ref().map(|token| token.generation);
        if generation(&view) != generation(&before) {
            self.deadlines = view.token.as_ref().map(|token| self.deadlines_of(token)).unwrap_or_default();
        }
        match (&before.needs_login, &view.needs_login) {
            (said, Some(reason)) if said.as_ref() != Some(reason) => {
                tracing::error!(check = "grant-needs-login", reason, "the grant needs a login");
            }
            (Some(_), None) => tracing::info!("the grant needs no login any more"),
            _ => {}
        }
        drop(before);
        self.live.publish(view);
    }

    fn view(&self) -> View {
        let present = self.live.view();
        let needs_login = self.needs_login();
        let record = self.record.as_ref();
        let ours = record.filter(|record| record.binding == self.journal.settings.binding);
        let token = ours.and_then(|record| {
            let access = &self.dated(record.access.as_ref()?);
            match &present.token {
                Some(token) if token.is(record.generation, access) => Some(Arc::clone(token)),
                Some(token) if token.is(token.generation, access) => {
                    Some(Arc::new(token.with(record.generation, access)))
                }
                _ => LiveToken::new(record.generation, access).ok().map(Arc::new),
            }
        });
        View {
            refresh_at: token.as_ref().and_then(|token| self.refresh_at(token)),
            token,
            generation: record.map_or(Generation::default(), |record| record.generation),
            refreshing: self.in_flight.as_ref().map(|in_flight| in_flight.trigger),
            held: self.in_flight.as_ref().is_some_and(|in_flight| in_flight.held),
            retry_at: if needs_login.is_none() { self.backoff.retry_at() } else { None },
            next: self.next(needs_login.is_some()),
            // Only the `static` grant has another remedy than a login.
            remedy: None,
            last_refresh: self.last_refresh(),
            needs_login,
            unpersisted: self.unpersisted.is_some() || self.is_in_memory_alone(),
            draining: self.draining,
        }
    }

    /// Whether an unusable document occupies the store, so that only this process has the live grant.
    pub(super) fn is_in_memory_alone(&self) -> bool {
        let is_live = |record: &Record| {
            record.binding == self.journal.settings.binding
                && record.needs_login.is_none()
                && (record.refresh.is_some() || record.access.is_some())
        };
        self.unusable.is_some() && self.record.as_ref().is_some_and(is_live)
    }

    /// The access token with dates that the clock of this process can confirm. A peer's refresh is newer than the last read.
    fn dated(&self, access: &Access) -> Access {
        let not_before = self.last_read.filter(|_| self.by_peer);
        match policy::corrected(access.obtained_at, access.expires_at, not_before, self.clock.now()) {
            Some((obtained_at, expires_at)) => Access { token: access.token.clone(), obtained_at, expires_at },
            None => access.clone(),
        }
    }

    /// The next retry.
    fn next(&self, needs_login: bool) -> Option<Next> {
        let now = self.now();
        let told = |at: Instant| {
            let left = SignedDuration::try_from(at.saturating_duration_since(now.monotonic)).unwrap_or_default();
            now.wall.checked_add(left).unwrap_or(now.wall)
        };
        let failed = self.backoff.retry_at().filter(|_| !needs_login);
        match (&self.unpersisted, self.next_read) {
            (Some(again), _) => Some(Next { what: "store", at: told(again.at()) }),
            (None, Some(at)) if !self.read => Some(Next { what: "load", at: told(at) }),
            // The retry is in flight.
            _ if failed.is_some() && self.in_flight.is_some() => Some(Next { what: "refresh", at: now.wall }),
            _ => failed.map(|at| Next { what: "refresh", at }),
        }
    }

    fn last_refresh(&self) -> Option<LastRefresh> {
        let stored = || {
            let last = self.record.as_ref()?.last_refresh.clone()?;
            Some(LastRefresh { trigger: if self.by_peer { Trigger::Peer } else { last.trigger }, ..last })
        };
        self.backoff.last_failure().or_else(stored)
    }

    /// Why only a person can help. The reason follows from the stored record and the configuration, so it disappears when either
    /// changes.
    fn needs_login(&self) -> Option<String> {
        if let Some(reason) = &self.unusable {
            let kept = match self.is_in_memory_alone() {
                true => " The live grant is kept in memory, and is stored once that document is moved away.",
                false => "",
            };
            return Some(format!("{}.{kept}", reason.trim_end_matches('.')));
        }
        if !self.read {
            return None;
        }
        match plan(&self.journal.settings, self.record.as_ref()) {
            Plan::NeedsLogin(reason) => Some(reason),
            Plan::Present { .. } => None,
        }
    }
}
