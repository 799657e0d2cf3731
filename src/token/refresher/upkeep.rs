//! What is asked of the store beside rotations: what it holds after a change, and to take what it has not taken yet.
//!
//! Disks and databases can hang, so each question is a task; there is one at a time, and none while a rotation is in flight, which
//! asks for itself.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::reconcile::{Reconciliation, reconcile};
use super::{Ending, Refresher, Trigger};
use crate::supervise::Task;
use crate::token::Outcome;
use crate::token::journal::{Which, binding_mismatch, rebased};
use crate::token::store::{Expect, Record, StoreError, Version, Written};

/// First and longest pause between two tries to store what could not be stored.
const PERSIST_AGAIN: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(5));
/// The pause after the store could not be read.
pub(super) const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// The record is not stored yet.
pub(super) struct PersistAgain {
    expect: Expect,
    at: Instant,
    pause: Duration,
    /// The stored grant gets another number, and no successor.
    renumbers: bool,
}

/// What came of a question.
pub(super) enum Errand {
    /// With what was known when it was asked.
    Looked(Option<Version>, Result<Option<Box<Record>>, StoreError>),
    Persisted(Result<Written, StoreError>),
    /// Its task did not end as it should.
    Lost,
}

// === impl PersistAgain ===

impl PersistAgain {
    pub(super) fn after_failure(expect: Expect) -> Self {
        Self { expect, at: Instant::now() + PERSIST_AGAIN.0, pause: PERSIST_AGAIN.0, renumbers: false }
    }

    pub(super) fn at(&self) -> Instant {
        self.at
    }

    fn at_once(over: Option<Version>, renumbers: bool) -> Self {
        let expect = Expect { version: over, fence: None };
        Self { expect, at: Instant::now(), pause: PERSIST_AGAIN.0, renumbers }
    }
}

// === impl Refresher ===

impl Refresher {
    /// When the next question is due that can be asked.
    pub(super) fn next_errand(&self) -> Option<Instant> {
        match &self.unpersisted {
            _ if self.errand.is_some() || self.in_flight.is_some() => None,
            Some(again) => Some(again.at),
            None => self.look_at,
        }
    }

    pub(super) fn run_errands(&mut self, now: Instant) {
        if self.next_errand().is_none_or(|at| at > now) {
            return;
        }
        let journal = Arc::clone(&self.journal);
        self.errand = Some(match (&self.unpersisted, &self.record) {
            (Some(again), Some(record)) => {
                let (expect, renumbers, record) = (again.expect, again.renumbers, record.clone());
                tokio::spawn(async move {
                    Errand::Persisted(match renumbers {
                        true => journal.renumber(expect, &record).await,
                        false => journal.persist(expect, &record).await,
                    })
                })
            }
            _ => {
                self.look_at = None;
                let known = self.record.as_ref().map(Record::version);
                tokio::spawn(async move {
                    Errand::Looked(known, journal.store.load().await.map(|found| found.map(Box::new)))
                })
            }
        });
    }

    pub(super) fn errand_done(&mut self, errand: Errand) {
        match errand {
            Errand::Looked(known, found) => {
                let known_now = self.record.as_ref().map(Record::version);
                if self.in_flight.is_some() || self.unpersisted.is_some() || known != known_now {
                    // It may have been read before what has happened since.
                    self.look_at = Some(Instant::now());
                } else {
                    self.found(found.map(|record| record.map(|record| *record)));
                }
            }
            Errand::Persisted(written) => self.persisted(written),
            Errand::Lost => {
                self.metrics.task_restart(Task::StoreSync);
                self.look_at = Some(Instant::now() + LOOK_AGAIN);
            }
        }
    }

    /// The store holds `stored`.
    pub(super) fn take_up(&mut self, stored: Option<Record>) {
        if let Some(reason) = stored.as_ref().and_then(|stored| self.foreign(stored)) {
            self.unusable = Some(reason);
            return;
        }
        use Reconciliation::{Behind, Changed, Renewed, Renumber, Unchanged};
        let over = stored.as_ref().map(Record::version);
        let token = |version: Option<Version>| version.and_then(|version| version.fingerprint);
        // A peer may be presenting it: then its intent must stay.
        let same_token = token(over).is_some() && token(over) == token(self.record.as_ref().map(Record::version));
        match (reconcile(stored.as_ref(), self.record.as_ref()), stored) {
            (Unchanged, _) | (Renewed | Changed | Renumber, None) => {}
            (Renewed, Some(record)) => self.renewed_elsewhere(record),
            (Changed, Some(record)) => self.changed_elsewhere(record),
            (Behind, _) => {
                tracing::warn!("the store does not hold the newest grant any more: it is stored again from memory");
                self.unpersisted = Some(PersistAgain::at_once(over, same_token));
            }
            (Renumber, Some(record)) => {
                self.renumber(record);
                self.unpersisted = Some(PersistAgain::at_once(over, true));
            }
        }
    }

    /// Why a stored grant does not take the place of the live one: it belongs to another server, and was not stored with sight of
    /// the live one, as `import` does it.
    fn foreign(&self, stored: &Record) -> Option<String> {
        let configured = &self.journal.settings.binding;
        let known = self.record.as_ref().filter(|known| known.binding == *configured)?;
        if stored.replaced.contains(&known.lineage) {
            return None;
        }
        binding_mismatch(&stored.binding, configured)
    }

    fn renewed_elsewhere(&mut self, record: Record) {
        let at_start = self.record.is_none();
        let last = |record: Option<&Record>| record.and_then(|record| record.last_refresh.clone());
        let refresh = last(Some(&record)).filter(|made| Some(made) != last(self.record.as_ref()).as_ref());
        self.by_peer = !at_start && refresh.as_ref().is_some_and(|made| made.outcome == Outcome::Ok);
        let odd = refresh.as_ref().is_some_and(|made| made.outcome != Outcome::Ok);
        if !odd && refresh.is_some_and(|made| made.trigger == Trigger::Rejected) {
            // Refused as well, it would be refused to a second process too.
            self.attempts.forced(record.generation);
        }
        let generation = record.generation.0;
        if self.by_peer {
            self.metrics.peer_refresh();
            self.scheduled = Some(Instant::now());
            let (trigger, outcome) = (Trigger::Peer.name(), Outcome::Ok.name());
            tracing::info!(generation, trigger, outcome, "the token was refreshed by another process");
        } else if !at_start {
            tracing::info!(generation, "a new grant was stored");
        }
        if !at_start && odd {
            // A peer got a refresh token without an access token, and this process would get the same.
            self.attempts.back_off(Which::Stored, None, self.clock.now());
        } else {
            self.attempts.reset();
        }
        self.adopt(record);
    }

    fn changed_elsewhere(&mut self, record: Record) {
        let known = self.record.as_ref();
        let is_other = known.is_some_and(|known| !known.version().is_same_grant(record.version()));
        let is_mended = known.is_some_and(|known| known.needs_login.is_some() && record.needs_login.is_none());
        let supplied = record.candidate.as_ref().is_some_and(|candidate| {
            let is_known = known.is_some_and(|known| known.candidate.as_ref() == Some(candidate));
            candidate.token.is_some() && candidate.intent.is_none() && !is_known
        });
        if supplied {
            tracing::info!("a refresh token was supplied: it replaces the grant once it has worked");
            self.attempts.settled(super::Which::Candidate);
        }
        if is_other || is_mended {
            tracing::info!("a new refresh token was stored");
            self.attempts.reset();
            // One that came with an access token of its own has worked.
            if is_mended || known.is_some_and(|known| record.is_bare_beside(known)) {
                self.unproven = record.version().fingerprint;
            }
        }
        self.adopt(record);
    }

    /// Adopts a grant whose generations were not counted from the known one's.
    fn renumber(&mut self, mut record: Record) {
        let Some(known) = &self.record else { return };
        let is_restored = record.is_behind(known);
        if is_restored {
            tracing::info!("the grant was refused, and an older one was restored: it is tried");
        } else {
            tracing::info!("a new grant was stored, of another lineage");
        }
        for taken in &known.taken {
            if !record.taken.contains(taken) {
                record.taken.push(*taken);
            }
        }
        record.replace_also(known);
        let present = known.access.clone().filter(|_| known.binding == record.binding);
        if record.is_bare_beside(known) || (is_restored && present.is_some()) {
            // The present access token serves until the new refresh token has worked.
            record.generation = record.generation.max(known.generation);
            record.access = present;
        } else {
            record.generation = record.generation.max(known.generation.next());
        }
        // Its access token may be an older one that a bare import has left there.
        self.unproven = record.version().fingerprint;
        self.attempts.reset();
        self.adopt(record);
    }

    fn persisted(&mut self, written: Result<Written, StoreError>) {
        let Some(again) = &mut self.unpersisted else { return };
        match written {
            Ok(Written::Done) => {
                tracing::info!("the newest grant is stored");
                self.unpersisted = None;
            }
            Ok(Written::Superseded(Some(theirs)))
                if let Some(record) = self.record.as_ref().and_then(|ours| rebased(ours, &theirs, again.expect)) =>
            {
                again.expect.version = Some(theirs.version());
                again.at = Instant::now();
                self.adopt(record);
            }
            Ok(Written::Superseded(Some(theirs))) => {
                tracing::warn!("another grant was stored meanwhile");
                self.unpersisted = None;
                self.found(Ok(Some(*theirs)));
            }
            Ok(Written::Superseded(None) | Written::Fenced) => again.expect = Expect { version: None, fence: None },
            Err(error) => {
                again.pause = (again.pause * 2).min(PERSIST_AGAIN.1);
                again.at = Instant::now() + again.pause;
                tracing::error!(%error, "the newest grant could still not be stored");
            }
        }
        self.publish();
    }

    /// Before the process ends.
    pub(super) async fn persist_to_the_end(&mut self, grace: Duration) -> Ending {
        let end = Instant::now() + grace;
        while let Some(again) = &self.unpersisted {
            let at = again.at;
            let tried = async {
                if self.errand.is_none() {
                    tokio::time::sleep_until(at).await;
                    self.run_errands(Instant::now());
                }
                done(&mut self.errand).await
            };
            let Ok(errand) = tokio::time::timeout_at(end, tried).await else {
                tracing::error!(
                    "STOPPING WITH A GRANT THAT COULD NOT BE STORED: the stored refresh token is spent and its successor is lost; \
                     log in again and store the new grant with `bearer-proxy import`"
                );
                return Ending::GrantLost;
            };
            self.errand_done(errand);
        }
        Ending::Stored
    }
}

/// The end of the errand; pending for ever where there is none.
pub(super) async fn done(errand: &mut Option<JoinHandle<Errand>>) -> Errand {
    let Some(task) = errand else { return std::future::pending().await };
    let done = task.await.unwrap_or(Errand::Lost);
    *errand = None;
    done
}
