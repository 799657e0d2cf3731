//! Store operations between rotations: reads after a change, and the retry of a failed commit.
//!
//! Disks and databases can hang, so each operation is a task. At most one runs at a time. None begins while a rotation is in
//! flight, because the rotation uses the store itself.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::reconcile::{Reconciliation, reconcile};
use super::{Ending, Refresher, Trigger};
use crate::supervise::Task;
use crate::token::RefreshOutcome;
use crate::token::journal::{TokenSource, binding_mismatch, rebased};
use crate::token::store::{Expect, Record, StoreError, Version, Written};

/// The first and the longest pause between two attempts to store a record.
const PERSIST_AGAIN: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(5));
/// The pause after a failed read.
pub(super) const READ_AGAIN: Duration = Duration::from_secs(1);

/// A record that is not stored yet.
pub(super) struct PersistAgain {
    expect: Expect,
    at: Instant,
    pause: Duration,
    /// The write changes only the generation of the stored grant.
    renumbers: bool,
    /// An attempt has failed.
    failed: bool,
}

/// The result of a store operation.
pub(super) enum SyncResult {
    /// With the version that was known when the read began.
    Loaded(Option<Version>, Result<Option<Box<Record>>, StoreError>),
    Persisted(Result<Written, StoreError>),
    /// The task panicked or was cancelled.
    Died,
}

// === impl PersistAgain ===

impl PersistAgain {
    pub(super) fn after_failure(expect: Expect) -> Self {
        Self { expect, at: Instant::now() + PERSIST_AGAIN.0, pause: PERSIST_AGAIN.0, renumbers: false, failed: true }
    }

    pub(super) fn at(&self) -> Instant {
        self.at
    }

    fn at_once(over: Option<Version>, renumbers: bool) -> Self {
        let expect = Expect { version: over, fence: None };
        Self { expect, at: Instant::now(), pause: PERSIST_AGAIN.0, renumbers, failed: false }
    }
}

// === impl Refresher ===

impl Refresher {
    /// When the next operation is due. `None`: nothing to do, or an operation or a rotation is in flight.
    pub(super) fn next_sync(&self) -> Option<Instant> {
        match &self.unpersisted {
            _ if self.store_sync.is_some() || self.in_flight.is_some() => None,
            Some(again) => Some(again.at),
            None => self.next_read,
        }
    }

    pub(super) fn sync_store(&mut self, now: Instant) {
        if self.next_sync().is_none_or(|at| at > now) {
            return;
        }
        let journal = Arc::clone(&self.journal);
        self.store_sync = Some(match (&self.unpersisted, &self.record) {
            (Some(again), Some(record)) => {
                let (expect, renumbers, record) = (again.expect, again.renumbers, record.clone());
                tokio::spawn(async move {
                    SyncResult::Persisted(match renumbers {
                        true => journal.renumber(expect, &record).await,
                        false => journal.persist(expect, &record).await,
                    })
                })
            }
            _ => {
                self.next_read = None;
                let known = self.record.as_ref().map(Record::version);
                tokio::spawn(async move {
                    SyncResult::Loaded(known, journal.store.load().await.map(|found| found.map(Box::new)))
                })
            }
        });
    }

    pub(super) fn store_synced(&mut self, synced: SyncResult) {
        match synced {
            SyncResult::Loaded(known, found) => {
                let known_now = self.record.as_ref().map(Record::version);
                if self.in_flight.is_some() || self.unpersisted.is_some() || known != known_now {
                    // The record has changed since the read began, so the read may be outdated.
                    self.next_read = Some(Instant::now());
                } else {
                    self.found(found.map(|record| record.map(|record| *record)));
                }
            }
            SyncResult::Persisted(written) => self.persisted(written),
            SyncResult::Died => {
                self.metrics.task_restart(Task::StoreSync);
                self.next_read = Some(Instant::now() + READ_AGAIN);
            }
        }
        if !self.is_storing() {
            for command in std::mem::take(&mut self.deferred) {
                self.obey(command);
            }
        }
    }

    /// Whether the newest record is being stored and no attempt has failed yet.
    pub(super) fn is_storing(&self) -> bool {
        self.unpersisted.as_ref().is_some_and(|again| !again.failed)
    }

    /// Compares the stored record with the known one, and adopts or replaces it.
    pub(super) fn reconcile_with(&mut self, stored: Option<Record>) {
        if let Some(reason) = stored.as_ref().and_then(|stored| self.foreign(stored)) {
            self.unusable = Some(reason);
            return;
        }
        use Reconciliation::{Behind, Changed, Renewed, Renumber, Unchanged};
        let over = stored.as_ref().map(Record::version);
        let token = |version: Option<Version>| version.and_then(|version| version.fingerprint);
        // A peer may be presenting the same token. Its intent must stay.
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

    /// Why a stored grant does not replace the live one: it belongs to another server, and the process that stored it did not know
    /// the live one. `import` knows it.
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
        self.by_peer = !at_start && refresh.as_ref().is_some_and(|made| made.outcome == RefreshOutcome::Ok);
        let odd = refresh.as_ref().is_some_and(|made| made.outcome != RefreshOutcome::Ok);
        if !odd && refresh.is_some_and(|made| made.trigger == Trigger::Rejected) {
            // If the upstream refuses this generation, the cooldown applies in this process too.
            self.backoff.forced(record.generation);
        }
        let generation = record.generation.0;
        if self.by_peer {
            self.metrics.peer_refresh();
            self.last_scheduled = Some(Instant::now());
            let (trigger, outcome) = (Trigger::Peer.name(), RefreshOutcome::Ok.name());
            tracing::info!(generation, trigger, outcome, "the token was refreshed by another process");
        } else if !at_start {
            tracing::info!(generation, "a new grant was stored");
        }
        if !at_start && odd {
            // A peer received a refresh token without an access token. This process would receive the same.
            self.backoff.back_off(TokenSource::Stored, None, self.clock.now());
        } else {
            self.backoff.reset();
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
            self.backoff.settled(TokenSource::Candidate);
        }
        if is_other || is_mended {
            tracing::info!("a new refresh token was stored");
            self.backoff.reset();
            // A refresh token that came with an access token has worked.
            if is_mended || known.is_some_and(|known| record.is_bare_beside(known)) {
                self.unverified = record.version().fingerprint;
            }
        }
        self.adopt(record);
    }

    /// Adopts a grant whose generations do not follow the known ones.
    fn renumber(&mut self, mut record: Record) {
        let Some(known) = &self.record else { return };
        let is_restored = record.is_behind(known);
        if is_restored {
            tracing::info!("the grant was refused, and an older one was restored: it is tried");
        } else {
            tracing::info!("a new grant was stored, of another lineage");
        }
        for tried in &known.tried_initial {
            if !record.tried_initial.contains(tried) {
                record.tried_initial.push(*tried);
            }
        }
        record.replace_also(known);
        let present = known.access.clone().filter(|_| known.binding == record.binding);
        if record.is_bare_beside(known) || (is_restored && present.is_some()) {
            // The present access token is used until a refresh with the new refresh token has succeeded.
            record.generation = record.generation.max(known.generation);
            record.access = present;
        } else {
            record.generation = record.generation.max(known.generation.next());
        }
        // Its access token may be an older one that a bare import left there.
        self.unverified = record.version().fingerprint;
        self.backoff.reset();
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
                again.failed = true;
                again.pause = (again.pause * 2).min(PERSIST_AGAIN.1);
                again.at = Instant::now() + again.pause;
                tracing::error!(check = "grant-unpersisted", %error, "the newest grant could still not be stored");
            }
        }
        self.publish();
    }

    /// Stores the newest record before the process ends.
    pub(super) async fn persist_to_the_end(&mut self, grace: Duration) -> Ending {
        let end = Instant::now() + grace;
        while let Some(again) = &self.unpersisted {
            let at = again.at;
            let tried = async {
                if self.store_sync.is_none() {
                    tokio::time::sleep_until(at).await;
                    self.sync_store(Instant::now());
                }
                finished(&mut self.store_sync).await
            };
            let Ok(store_sync) = tokio::time::timeout_at(end, tried).await else {
                tracing::error!(
                    check = "grant-unpersisted",
                    "STOPPING WITH A GRANT THAT COULD NOT BE STORED: the stored refresh token is spent and its successor is lost; \
                     log in again with `bearer-proxy login`, or store a new grant with `bearer-proxy import`"
                );
                return Ending::GrantLost;
            };
            self.store_synced(store_sync);
        }
        Ending::Stored
    }
}

/// The end of the store operation in flight; pending forever without one.
pub(super) async fn finished(store_sync: &mut Option<JoinHandle<SyncResult>>) -> SyncResult {
    let Some(task) = store_sync else { return std::future::pending().await };
    let done = task.await.unwrap_or(SyncResult::Died);
    *store_sync = None;
    done
}
