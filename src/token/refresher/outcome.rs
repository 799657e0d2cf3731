//! What follows a rotation.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::upkeep::PersistAgain;
use super::{InFlight, Refresher, Verdict, answer};
use crate::fault;
use crate::token::endpoint::Failure;
use crate::token::journal::{Renewed, Rotation, Which};
use crate::token::store::{LastRefresh, Record, StoreError};
use crate::token::{Outcome, policy};

/// How long a wrong configuration rests before it is tried again unasked (interface document §5).
const MISCONFIGURED_REST: Duration = Duration::from_secs(15 * 60);

impl Refresher {
    pub(super) fn end(&mut self, rotation: Rotation) {
        let Some(mut in_flight) = self.in_flight.take() else { return };
        let waiters = std::mem::take(&mut in_flight.waiters);
        let odd = matches!(&rotation, Rotation::Renewed(Renewed { failure: Some(_), .. }));
        let reason = match rotation {
            Rotation::Renewed(renewed) => self.renewed(renewed, &mut in_flight),
            Rotation::Found(found) => {
                let error = found.as_ref().err().map(ToString::to_string);
                self.found_by_rotation(found.map(|record| record.map(|record| *record)), in_flight.which);
                error
            }
            Rotation::Failed(failure, record) => Some(self.failed(failure, record.map(|record| *record), &in_flight)),
        };
        let view = self.live.view();
        let newer = view.unexpired(self.clock.now()).filter(|token| token.generation > in_flight.before);
        // A new refresh token that came alone has brought a generation and no access token.
        let newer = newer.filter(|_| !odd);
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
        for waiter in waiters {
            answer(waiter, verdict.clone());
        }
    }

    /// Gives back why there is no new access token.
    fn renewed(&mut self, renewed: Renewed, in_flight: &mut InFlight) -> Option<String> {
        let Renewed { record, failure, unpersisted } = renewed;
        if let Some(what) = unpersisted {
            tracing::error!(
                error = what.error,
                "the new grant could not be stored: it is used from memory, stored as soon as possible, and lost if this process \
                 is killed before"
            );
            self.unpersisted = Some(PersistAgain::after_failure(what.expect));
        }
        self.starting = false;
        self.by_peer = false;
        // A document that appears and is removed between two looks of the watch is no change to it.
        self.look_at = Some(Instant::now() + super::upkeep::LOOK_AGAIN);
        let reason = match failure {
            None => {
                self.attempts.succeeded(in_flight.which);
                let (trigger, outcome) = (in_flight.trigger.name(), Outcome::Ok.name());
                self.metrics.refresh(in_flight.trigger, Outcome::Ok, in_flight.began.elapsed());
                tracing::info!(trigger, outcome, generation = record.generation.0, "the token was refreshed");
                self.adopt(*record);
                None
            }
            Some(failure) => {
                self.adopt(*record);
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
    fn failed(&mut self, failure: Failure, record: Option<Record>, in_flight: &InFlight) -> String {
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
                self.attempts.rest(which, MISCONFIGURED_REST, self.clock.now());
                tracing::error!(
                    error,
                    outcome = class,
                    trigger,
                    "the refresh was refused for a reason that lies in the configuration; the grant is kept"
                );
            }
            Outcome::Transient | Outcome::Ambiguous | Outcome::Ok => {
                let pause = self.attempts.back_off(which, retry_after, self.clock.now());
                let retry_in_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
                tracing::warn!(error, outcome = class, trigger, retry_in_ms, "the refresh failed");
            }
        }
        self.publish();
        error
    }

    /// Makes `record` the one that requests run on.
    pub(super) fn adopt(&mut self, record: Record) {
        let before = self.record.replace(record);
        let version = |record: Option<&Record>| record.map(Record::version);
        let known = version(before.as_ref()).zip(version(self.record.as_ref()));
        if !known.is_some_and(|(before, now)| before.is_same_grant(now)) {
            self.jitter = policy::random();
        }
        self.publish();
        self.doubt_by_note(before.as_ref());
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
