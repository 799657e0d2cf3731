//! What follows a rotation.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::in_flight::InFlight;
use super::store_sync::PersistAgain;
use super::{Refresher, Verdict, answer};
use crate::fault;
use crate::supervise::Task;
use crate::token::endpoint::RefreshFailure;
use crate::token::journal::{Renewed, Rotation, TokenSource};
use crate::token::policy::Life;
use crate::token::store::{LastRefresh, Record};
use crate::token::{RefreshOutcome, Trigger};

/// What a rotation was begun for.
#[derive(Clone, Copy, Debug)]
struct Purpose {
    source: TokenSource,
    trigger: Trigger,
    began: Instant,
    settings_number: u64,
}

// === impl Refresher ===

impl Refresher {
    /// Handles the end of the rotation in flight. The new pair is kept before anything else happens, so nothing is lost if this
    /// task dies on the way.
    pub(super) fn end(&mut self) {
        let Some(mut in_flight) = self.in_flight.take() else { return };
        let rotation = in_flight.ended.take();
        let InFlight { source, trigger, began, settings_number, died, .. } = in_flight;
        let purpose = Purpose { source, trigger, began, settings_number };
        in_flight.successor_only = matches!(&rotation, Some(Rotation::Renewed(Renewed { failure: Some(_), .. })));
        self.ending = Some(in_flight);
        let reason = match rotation {
            Some(Rotation::Renewed(renewed)) => self.renewed(renewed, purpose),
            Some(Rotation::Found(found)) => {
                let error = found.as_ref().err().map(ToString::to_string);
                self.found_by_rotation(found.map(|record| record.map(|record| *record)), source);
                error
            }
            Some(Rotation::Failed(failure, record)) => {
                Some(self.failed(failure, record.map(|record| *record), purpose))
            }
            None => None,
        };
        if died {
            self.metrics.task_restart(Task::Rotation);
            tracing::error!("the refresh task died; the response that it received is kept");
        }
        self.conclude(reason);
    }

    /// Answers the requests that wait for the rotation that has ended.
    pub(super) fn conclude(&mut self, reason: Option<String>) {
        let Some(in_flight) = self.ending.take() else { return };
        let view = self.live.view();
        let newer = view.unexpired(self.clock.now()).filter(|token| token.generation > in_flight.before);
        // Without an access token, the new generation has the old token.
        let newer = newer.filter(|_| !in_flight.successor_only);
        if in_flight.held
            && let Some(token) = newer
        {
            self.backoff.forced(token.generation);
        }
        let verdict = match newer {
            Some(token) => Verdict::Newer(Arc::clone(token)),
            None => Verdict::PassOn(
                reason
                    .or_else(|| view.needs_login.clone())
                    .unwrap_or_else(|| "the stored grant has changed meanwhile; ask again".to_owned()),
            ),
        };
        for waiter in in_flight.waiters {
            answer(waiter, verdict.clone());
        }
    }

    /// Returns why there is no new access token.
    fn renewed(&mut self, renewed: Renewed, mut purpose: Purpose) -> Option<String> {
        let Renewed { record, failure, unpersisted } = renewed;
        let why = unpersisted.as_ref().map(|what| what.error.clone());
        // Before everything that could fail.
        self.unpersisted = unpersisted.map(|what| PersistAgain::after_failure(what.expect));
        self.starting = false;
        self.by_peer = false;
        if failure.is_none() {
            self.requests.succeeded();
            self.backoff.succeeded(purpose.source);
        }
        self.adopt(*record);
        if let Some(error) = why {
            tracing::error!(
                check = "grant-unpersisted",
                error,
                "the new grant could not be stored: it is used from memory, stored as soon as possible, and lost if this process \
                 is killed before"
            );
        }
        // The watch can miss a document that appears and is removed between two polls.
        self.next_read = Some(Instant::now() + super::store_sync::READ_AGAIN);
        let reason = match failure {
            None => {
                let (trigger, outcome) = (purpose.trigger.name(), RefreshOutcome::Ok.name());
                self.metrics.refresh(purpose.trigger, RefreshOutcome::Ok, purpose.began.elapsed());
                tracing::info!(trigger, outcome, generation = self.live.view().generation.0, "the token was refreshed");
                None
            }
            Some(failure) => {
                // The next attempt presents the successor, whatever this one presented. The backoff continues: a server that
                // repeats such responses must not be called without a pause.
                if purpose.source != TokenSource::Stored {
                    self.backoff.settled(purpose.source);
                    purpose.source = TokenSource::Stored;
                }
                Some(self.failed(failure, None, purpose))
            }
        };
        fault::point("published");
        reason
    }

    /// Returns why there is no new token.
    fn failed(&mut self, failure: RefreshFailure, record: Option<Record>, purpose: Purpose) -> String {
        let RefreshFailure { outcome, error, retry_after, .. } = failure;
        let Purpose { source, trigger, began, settings_number } = purpose;
        let took = began.elapsed();
        self.metrics.refresh(trigger, outcome, took);
        // The outcome of a candidate says nothing about the grant.
        if source != TokenSource::Candidate {
            self.backoff.failed(LastRefresh {
                at: self.clock.now(),
                trigger,
                outcome,
                duration_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
                error: Some(error.clone()),
            });
        }
        if source == TokenSource::Stored
            && may_have_revoked(outcome)
            && let Some(token) = &self.live.view().token
        {
            token.may_be_revoked(self.clock.now());
        }
        // Meanwhile, this process may have seen a newer record of a peer.
        if let Some(record) = record
            && self.record.as_ref().is_none_or(|known| known.generation <= record.generation)
        {
            self.read = true;
            self.unusable = None;
            self.record = Some(record);
        }
        self.wait_after(outcome, source, trigger, retry_after, &error);
        if settings_number != self.settings_number {
            // The failure says nothing about the present configuration.
            self.backoff.bring_forward(source, self.clock.now());
        }
        self.publish();
        error
    }

    /// Sets when the next attempt may come, and logs the failure.
    fn wait_after(
        &mut self,
        outcome: RefreshOutcome,
        source: TokenSource,
        trigger: Trigger,
        retry_after: Option<Duration>,
        error: &str,
    ) {
        let (trigger, class) = (trigger.name(), outcome.name());
        let millis = |pause: Duration| u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
        match outcome {
            _ if source == TokenSource::Candidate => {
                let pause = self.backoff.back_off(source, retry_after, self.clock.now());
                let again = self.journal.settings.candidate_to_try(self.record.as_ref()).is_some();
                let retry_in_ms = again.then(|| millis(pause));
                tracing::error!(
                    error,
                    outcome = class,
                    trigger,
                    retry_in_ms,
                    "the imported refresh token did not work; the grant is unchanged"
                );
            }
            RefreshOutcome::Rejected => {
                self.backoff.settled(source);
                if source == TokenSource::Initial {
                    tracing::error!(error, outcome = class, trigger, "oauth.refresh_token was refused");
                } else {
                    tracing::error!(error, outcome = class, trigger, "the refresh token was refused");
                }
            }
            RefreshOutcome::Misconfigured => {
                let pause = self.backoff.misconfigured(source, self.life(), retry_after, self.clock.now());
                tracing::error!(
                    check = "grant-refresh-fails",
                    error,
                    outcome = class,
                    trigger,
                    retry_in_s = pause.as_secs(),
                    "the refresh was refused for a reason that lies in the configuration; the grant is kept"
                );
            }
            RefreshOutcome::Transient | RefreshOutcome::Ambiguous | RefreshOutcome::Ok => {
                let pause = self.backoff.back_off(source, retry_after, self.clock.now());
                tracing::warn!(
                    check = "grant-refresh-fails",
                    error,
                    outcome = class,
                    trigger,
                    retry_in_ms = millis(pause),
                    "the refresh failed"
                );
            }
        }
    }

    /// The life of the live token. `None`: no unexpired token, or one without a known end.
    fn life(&self) -> Option<Life> {
        let view = self.live.view();
        let now = self.clock.now();
        let token = view.unexpired(now)?;
        let until =
            |from: Timestamp| Some(Duration::try_from(token.expires_at?.duration_since(from)).unwrap_or_default());
        Some(Life { whole: until(token.obtained_at)?, left: until(now)? })
    }
}

/// Whether a refresh with this outcome may have revoked the live token: the server has seen the refresh token.
pub(super) fn may_have_revoked(outcome: RefreshOutcome) -> bool {
    matches!(outcome, RefreshOutcome::Rejected | RefreshOutcome::Ambiguous)
}
