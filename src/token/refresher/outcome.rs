//! What follows a rotation.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::upkeep::PersistAgain;
use super::{InFlight, Refresher, Verdict, answer};
use crate::fault;
use crate::supervise::Task;
use crate::token::endpoint::Failure;
use crate::token::journal::{Renewed, Rotation, Which};
use crate::token::policy::Life;
use crate::token::store::{LastRefresh, Record, StoreError};
use crate::token::{Generation, Outcome, Trigger, policy};

/// What a rotation was begun for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part {
    which: Which,
    trigger: Trigger,
    began: Instant,
    settings: u64,
}

// === impl InFlight ===

impl InFlight {
    fn part(&self) -> Part {
        Part { which: self.which, trigger: self.trigger, began: self.began, settings: self.settings }
    }
}

// === impl Refresher ===

impl Refresher {
    /// The rotation in flight has ended. What it brought is held before anything else is done, so that nothing is lost if this
    /// task dies on the way.
    pub(super) fn end(&mut self) {
        let Some(mut in_flight) = self.in_flight.take() else { return };
        let rotation = in_flight.ended.take();
        let (part, died) = (in_flight.part(), in_flight.died);
        // A new refresh token that came alone has brought a generation and no access token.
        in_flight.odd = matches!(&rotation, Some(Rotation::Renewed(Renewed { failure: Some(_), .. })));
        self.ending = Some(in_flight);
        let reason = match rotation {
            Some(Rotation::Renewed(renewed)) => self.renewed(renewed, part),
            Some(Rotation::Found(found)) => {
                let error = found.as_ref().err().map(ToString::to_string);
                self.found_by_rotation(found.map(|record| record.map(|record| *record)), part.which);
                error
            }
            Some(Rotation::Failed(failure, record)) => Some(self.failed(failure, record.map(|record| *record), part)),
            None => None,
        };
        if died {
            self.metrics.task_restart(Task::Rotation);
            tracing::error!("the task of a refresh died; what it was answered is kept");
        }
        self.conclude(reason);
    }

    /// Answers those who waited for the rotation that has ended.
    pub(super) fn conclude(&mut self, reason: Option<String>) {
        let Some(in_flight) = self.ending.take() else { return };
        let view = self.live.view();
        let newer = view.unexpired(self.clock.now()).filter(|token| token.generation > in_flight.before);
        let newer = newer.filter(|_| !in_flight.odd);
        if in_flight.held
            && let Some(token) = newer
        {
            self.attempts.forced(token.generation);
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

    /// Gives back why there is no new access token.
    fn renewed(&mut self, renewed: Renewed, mut in_flight: Part) -> Option<String> {
        let Renewed { record, failure, unpersisted } = renewed;
        let why = unpersisted.as_ref().map(|what| what.error.clone());
        // Before all that could fail.
        self.unpersisted = unpersisted.map(|what| PersistAgain::after_failure(what.expect));
        self.starting = false;
        self.by_peer = false;
        if failure.is_none() {
            self.requests.succeeded();
            self.attempts.succeeded(in_flight.which);
        }
        self.adopt(*record);
        if let Some(error) = why {
            tracing::error!(
                error,
                "the new grant could not be stored: it is used from memory, stored as soon as possible, and lost if this process \
                 is killed before"
            );
        }
        // A document that appears and is removed between two looks of the watch is no change to it.
        self.look_at = Some(Instant::now() + super::upkeep::LOOK_AGAIN);
        let reason = match failure {
            None => {
                let (trigger, outcome) = (in_flight.trigger.name(), Outcome::Ok.name());
                self.metrics.refresh(in_flight.trigger, Outcome::Ok, in_flight.began.elapsed());
                tracing::info!(trigger, outcome, generation = self.live.view().generation.0, "the token was refreshed");
                None
            }
            Some(failure) => {
                // The next attempt presents the successor, whatever was presented now. The backoff goes on: a server that
                // answers so again and again is not to be asked at once.
                if in_flight.which != Which::Stored {
                    self.attempts.settled(in_flight.which);
                    in_flight.which = Which::Stored;
                }
                Some(self.failed(failure, None, in_flight))
            }
        };
        fault::point("published");
        reason
    }

    /// Gives back why there is no new token.
    fn failed(&mut self, failure: Failure, record: Option<Record>, in_flight: Part) -> String {
        let Failure { outcome, error, retry_after } = failure;
        let (which, trigger) = (in_flight.which, in_flight.trigger);
        let took = in_flight.began.elapsed();
        self.metrics.refresh(trigger, outcome, took);
        // What became of a candidate says nothing about the grant.
        if which != Which::Candidate {
            self.attempts.failed(LastRefresh {
                at: self.clock.now(),
                trigger,
                outcome,
                duration_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
                error: Some(error.clone()),
            });
        }
        if which == Which::Stored
            && may_have_revoked(outcome)
            && let Some(token) = &self.live.view().token
        {
            token.may_be_revoked(self.clock.now());
        }
        // A peer's newer one may have been seen meanwhile.
        if let Some(record) = record
            && self.record.as_ref().is_none_or(|known| known.generation <= record.generation)
        {
            self.read = true;
            self.unusable = None;
            self.record = Some(record);
        }
        let (trigger, class) = (trigger.name(), outcome.name());
        match outcome {
            _ if which == Which::Candidate => {
                let pause = self.attempts.back_off(which, retry_after, self.clock.now());
                let retry_in_ms = self
                    .journal
                    .settings
                    .candidate_to_try(self.record.as_ref())
                    .map(|_| u64::try_from(pause.as_millis()).unwrap_or(u64::MAX));
                tracing::error!(
                    error,
                    outcome = class,
                    trigger,
                    retry_in_ms,
                    "the imported refresh token did not work; the grant is unchanged"
                );
            }
            Outcome::Rejected if which == Which::First => {
                self.attempts.settled(which);
                tracing::error!(error, outcome = class, trigger, "oauth.refresh_token was refused");
            }
            Outcome::Rejected => {
                self.attempts.settled(which);
                tracing::error!(error, outcome = class, trigger, "the refresh token was refused");
            }
            Outcome::Misconfigured => {
                let pause = self.attempts.misconfigured(which, self.life(), retry_after, self.clock.now());
                tracing::error!(
                    error,
                    outcome = class,
                    trigger,
                    retry_in_s = pause.as_secs(),
                    "the refresh was refused for a reason that lies in the configuration; the grant is kept"
                );
            }
            Outcome::Transient | Outcome::Ambiguous | Outcome::Ok => {
                let pause = self.attempts.back_off(which, retry_after, self.clock.now());
                let retry_in_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
                tracing::warn!(error, outcome = class, trigger, retry_in_ms, "the refresh failed");
            }
        }
        if in_flight.settings != self.settings_number {
            // It says nothing of the present configuration.
            self.attempts.bring_forward(which, self.clock.now());
        }
        self.publish();
        error
    }

    /// The life of the live token; `None`: there is none that lives.
    fn life(&self) -> Option<Life> {
        let view = self.live.view();
        let now = self.clock.now();
        let token = view.unexpired(now)?;
        let until =
            |from: Timestamp| Some(Duration::try_from(token.expires_at?.duration_since(from)).unwrap_or_default());
        Some(Life { whole: until(token.obtained_at)?, left: until(now)? })
    }

    /// Makes `record` the one that requests run on.
    pub(super) fn adopt(&mut self, record: Record) {
        let before = self.record.replace(record);
        let version = |record: Option<&Record>| record.map(Record::version);
        let known = version(before.as_ref()).zip(version(self.record.as_ref()));
        if !known.is_some_and(|(before, now)| before.is_same_grant(now)) {
            self.jitter = policy::random();
        }
        self.misdated = self.misdated();
        self.publish();
        self.doubt_by_note(before.as_ref());
    }

    /// The generation of the record, if its token is dated in the future by nobody who has just refreshed it.
    fn misdated(&self) -> Option<Generation> {
        let record = self.record.as_ref()?;
        let access = record.access.as_ref()?;
        let corrected = policy::corrected(access.obtained_at, access.expires_at, None, self.clock.now()).is_some();
        if corrected && self.misdated != Some(record.generation) {
            tracing::warn!(
                obtained_at = %access.obtained_at,
                "the stored token is dated in the future: a clock is, or was, wrong; it is used for its lifetime from now at most"
            );
        }
        // A peer's clock may be wrong as long as it likes: its tokens are new when they come.
        (corrected && !self.by_peer).then_some(record.generation)
    }

    /// The store can tell of a refresh that another process made, or this one before a restart.
    fn doubt_by_note(&self, before: Option<&Record>) {
        let last = |record: Option<&Record>| record.and_then(|record| record.last_refresh.clone());
        let noted = last(self.record.as_ref());
        let bad = noted.as_ref().is_some_and(|noted| may_have_revoked(noted.outcome));
        if bad
            && noted != last(before)
            && let Some(token) = &self.live.view().token
        {
            token.may_be_revoked(self.clock.now());
        }
    }

    /// A rotation came upon something that it did not expect, and under the lease: an intent is then no peer's call in flight, and
    /// what it says of the grant counts.
    fn found_by_rotation(&mut self, found: Result<Option<Record>, StoreError>, which: Which) {
        let stored = found.as_ref().ok().cloned().flatten();
        let before = self.record.clone();
        self.found(found);
        if let Some(stored) = stored
            && self.record.as_ref().is_some_and(|known| known.version() == stored.version())
        {
            self.adopt(stored);
        }
        if self.record == before && self.due(self.now()).is_some() {
            // It ought to be news. If it is none, the next attempt would find the same again, at once.
            self.attempts.back_off(which, None, self.clock.now());
        }
    }

    /// The store was read, or could not be.
    pub(super) fn found(&mut self, found: Result<Option<Record>, StoreError>) {
        match found {
            Ok(stored) => {
                self.read = true;
                self.unusable = None;
                self.take_up(stored);
                self.looked = Some(self.clock.now());
            }
            Err(StoreError::Unavailable(error)) => {
                tracing::warn!(error, "the stored grant could not be read");
                self.look_at = Some(Instant::now() + super::upkeep::LOOK_AGAIN);
            }
            Err(StoreError::Damaged(error) | StoreError::WrongKey(error) | StoreError::Refused(error)) => {
                self.unusable = Some(error);
            }
        }
        self.publish();
    }
}

/// Whether a refresh that ended so may have revoked the live token: the server has seen its refresh token.
pub(super) fn may_have_revoked(outcome: Outcome) -> bool {
    matches!(outcome, Outcome::Rejected | Outcome::Ambiguous)
}
