//! What the rest of the program sees of the grant.

use std::sync::Arc;

use jiff::SignedDuration;
use tokio::time::Instant;

use super::Refresher;
use crate::token::journal::{Plan, plan};
use crate::token::live::{LiveToken, Next, View};
use crate::token::store::{LastRefresh, Record};
use crate::token::{Access, Generation, Trigger, policy};

impl Refresher {
    /// Makes what is known now visible, and says in the log when a person is needed, or is not any more.
    pub(super) fn publish(&mut self) {
        let view = self.view();
        let before = self.live.view();
        let generation = |view: &View| view.token.as_ref().map(|token| token.generation);
        if generation(&view) != generation(&before) {
            self.ends = view.token.as_ref().map(|token| self.ends_of(token)).unwrap_or_default();
        }
        match (&before.needs_login, &view.needs_login) {
            (said, Some(reason)) if said.as_ref() != Some(reason) => {
                tracing::error!(reason, "the grant needs a login");
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
            retry_at: if needs_login.is_none() { self.attempts.retry_at() } else { None },
            next: self.next(needs_login.is_some()),
            // It refreshes the token, or asks for a login.
            remedy: None,
            last_refresh: self.last_refresh(),
            needs_login,
            unpersisted: self.unpersisted.is_some() || self.is_in_memory_alone(),
            draining: self.draining,
        }
    }

    /// Whether the store holds a document that can't be used, in the place of the grant that this process uses.
    pub(super) fn is_in_memory_alone(&self) -> bool {
        let is_live = |record: &Record| {
            record.binding == self.journal.settings.binding
                && record.needs_login.is_none()
                && (record.refresh.is_some() || record.access.is_some())
        };
        self.unusable.is_some() && self.record.as_ref().is_some_and(is_live)
    }

    /// The access token with dates that this process's clock can confirm. A peer's refresh is newer than the last look.
    fn dated(&self, access: &Access) -> Access {
        let not_before = self.looked.filter(|_| self.by_peer);
        match policy::corrected(access.obtained_at, access.expires_at, not_before, self.clock.now()) {
            Some((obtained_at, expires_at)) => Access { token: access.token.clone(), obtained_at, expires_at },
            None => access.clone(),
        }
    }

    /// What is tried next of what has failed.
    fn next(&self, needs_login: bool) -> Option<Next> {
        let now = self.now();
        let told = |at: Instant| {
            let left = SignedDuration::try_from(at.saturating_duration_since(now.monotonic)).unwrap_or_default();
            now.wall.checked_add(left).unwrap_or(now.wall)
        };
        let failed = self.attempts.retry_at().filter(|_| !needs_login);
        match (&self.unpersisted, self.look_at) {
            (Some(again), _) => Some(Next { what: "store", at: told(again.at()) }),
            (None, Some(at)) if !self.read => Some(Next { what: "load", at: told(at) }),
            // It is under way.
            _ if failed.is_some() && self.in_flight.is_some() => Some(Next { what: "refresh", at: now.wall }),
            _ => failed.map(|at| Next { what: "refresh", at }),
        }
    }

    fn last_refresh(&self) -> Option<LastRefresh> {
        let stored = || {
            let last = self.record.as_ref()?.last_refresh.clone()?;
            Some(LastRefresh { trigger: if self.by_peer { Trigger::Peer } else { last.trigger }, ..last })
        };
        self.attempts.last_failure().or_else(stored)
    }

    /// Why nothing can be refreshed unless a person does something. It follows from what is stored and configured, and so ends by
    /// itself when either changes.
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
