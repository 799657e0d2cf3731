//! One rotation: lease → load → intent → call → commit, so that a grant is neither lost nor spent twice.
//!
//! ```text
//! lease     the right to present, longer than the longest call
//! load      a newer generation there? a peer was faster: adopt it, present nothing
//! intend    durable, and only by the present lease: a store that can't be written is found out before the token is spent
//! call      one presentation; must end before the lease does
//! commit    the whole new pair in one write, if the store still holds what was presented, whoever holds the lease by now
//! ```
//!
//! Between the server's commit and ours lies a window that nobody can close. It ends when the new pair is written: the file store
//! also adopts a written pair that a killed process did not rename. The intent names the window: who finds one knows that the
//! token *may* have been spent, and `oauth.ambiguous_retry` says what follows.

mod candidate;
mod plan;
mod rejected;
mod renumber;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::OnceCell;
use tokio::time::Instant;

pub use self::plan::{Kind, Plan, Settings, Which, binding_mismatch, plan, plan_stored};
use self::plan::{plan_candidate, plan_first};
use self::rejected::rejected;
pub use self::renumber::rebased;
use crate::clock::Clock;
use crate::fault;
use crate::metrics::Metrics;
use crate::token::endpoint::{Answer, Endpoint, Failure, Issued, Presented, Succeeded};
use crate::token::policy;
use crate::token::store::{Expect, Intent, LastRefresh, Lease, Leased, Record, Store, StoreError, Version, Written};
use crate::token::{Access, Fingerprint, Generation, Lineage, Outcome, RefreshToken, Trigger};

/// Beside the call, what a lease must cover: the writes before and after it.
const LEASE_MARGIN: Duration = Duration::from_secs(15);

const LEASE_LOST: &str = "another process has taken the lease over";

/// Makes rotations against one store and one token endpoint.
pub struct Journal {
    pub store: Prepared,
    pub endpoint: Endpoint,
    pub settings: Settings,
    pub clock: Clock,
    pub metrics: Metrics,
    /// This process among those that share the store.
    pub owner: String,
    /// Set once nothing is to be begun any more: a shutdown waits for a call, and not for a peer's lease and a call after that.
    pub stopping: Arc<AtomicBool>,
}

/// The store, made ready (the database's table) before it is first used, as soon as it can be.
#[derive(Clone, Debug)]
pub struct Prepared {
    store: Arc<Store>,
    done: Arc<OnceCell<()>>,
}

/// How a rotation ended.
#[derive(Debug)]
pub enum Rotation {
    Renewed(Renewed),
    /// Nothing was presented, or what came of it counts no more: what the store holds is not what this process knew, or forbids
    /// it, or can't be read.
    Found(Result<Option<Box<Record>>, StoreError>),
    /// No token; what the store holds now, where that is known.
    Failed(Failure, Option<Box<Record>>),
}

/// A new access token, or a new refresh token alone.
#[derive(Debug)]
pub struct Renewed {
    pub record: Box<Record>,
    /// Why there is no new access token; the record then has the old one.
    pub failure: Option<Failure>,
    /// The commit that the store has not taken, to be tried again without end.
    pub unpersisted: Option<Unpersisted>,
}

/// A commit that failed: what it expects of the store, and why it failed.
#[derive(Clone, Debug)]
pub struct Unpersisted {
    pub expect: Expect,
    pub error: String,
}

/// A pair that was issued and is not stored yet. It lives outside the rotation's task, so that nothing is lost if that dies.
#[derive(Clone, Debug, Default)]
pub struct Issue(Arc<Mutex<Option<Unstored>>>);

type Unstored = (Expect, Record, Option<Failure>);

// === impl Issue ===

impl Issue {
    fn hold(&self, expect: Expect, record: &Record, failure: Option<Failure>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((expect, record.clone(), failure));
    }

    /// What a rotation whose task died has left behind.
    pub fn take(&self) -> Option<Renewed> {
        let (expect, record, failure) = self.0.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        let error = "the task that was to store it died".to_owned();
        Some(Renewed { record: Box::new(record), failure, unpersisted: Some(Unpersisted { expect, error }) })
    }
}

// === impl Prepared ===

impl Prepared {
    pub fn new(store: Store) -> Self {
        Self { store: Arc::new(store), done: Arc::default() }
    }

    async fn ready(&self) -> Result<(), StoreError> {
        self.done.get_or_try_init(|| self.store.prepare()).await.copied()
    }

    pub async fn load(&self) -> Result<Option<Record>, StoreError> {
        self.ready().await?;
        self.store.load().await
    }

    async fn lease(&self, owner: &str, duration: Duration) -> Result<Leased, StoreError> {
        self.ready().await?;
        self.store.lease(owner, duration).await
    }

    async fn release(&self, lease: Lease) {
        self.store.release(lease).await;
    }

    async fn write(&self, expect: Expect, record: &Record) -> Result<Written, StoreError> {
        self.ready().await?;
        self.store.write(expect, record).await
    }

    pub async fn changed(&self) {
        self.store.changed().await;
    }
}

// === impl Journal ===

impl Journal {
    /// The same store, with what a changed configuration says. A rotation in flight ends with what it began with.
    pub fn with(&self, endpoint: Endpoint, settings: Settings) -> Self {
        let Self { store, clock, metrics, owner, stopping, .. } = self;
        let (store, clock, metrics, owner) = (store.clone(), clock.clone(), metrics.clone(), owner.clone());
        Self { store, endpoint, settings, clock, metrics, owner, stopping: Arc::clone(stopping) }
    }

    /// One rotation. Must run to its end: spawn it, never drop it. `known` is the newest version that the process has seen.
    /// `issue` takes the new pair as soon as there is one.
    pub async fn rotate(&self, known: Option<Version>, which: Which, trigger: Trigger, issue: &Issue) -> Rotation {
        let lease_for = self.settings.request_timeout + LEASE_MARGIN;
        let lease = loop {
            if self.stopping.load(Ordering::Relaxed) {
                return put_off(StoreError::Unavailable("the proxy is stopping".into()), None);
            }
            match self.observe("lease", self.store.lease(&self.owner, lease_for).await) {
                Ok(Leased::Held(lease)) => break lease,
                Ok(Leased::Busy { retry_in }) => tokio::time::sleep(retry_in).await,
                Err(error) => return put_off(error, None),
            }
            // The holder's commit is worth more than its lease.
            if let Ok(Some(record)) = self.observe("load", self.store.load().await)
                && known.is_some_and(|known| record.lineage != known.lineage || record.generation > known.generation)
            {
                return Rotation::Found(Ok(Some(Box::new(record))));
            }
        };
        fault::point("leased");
        let rotation = self.rotate_leased(known, which, trigger, &lease, issue).await;
        self.store.release(lease).await;
        fault::point("released");
        rotation
    }

    async fn rotate_leased(
        &self,
        known: Option<Version>,
        which: Which,
        trigger: Trigger,
        lease: &Lease,
        issue: &Issue,
    ) -> Rotation {
        let fence = lease.fence;
        let stored = match self.observe("load", self.store.load().await) {
            Ok(stored) => stored,
            Err(error) => return put_off(error, None),
        };
        let found = |stored: Option<Record>| Rotation::Found(Ok(stored.map(Box::new)));
        let stored_generation = stored.as_ref().map_or(Generation::default(), |record| record.generation);
        let stored_lineage = stored.as_ref().map(|record| record.lineage);
        if known.is_some_and(|known| stored_lineage != Some(known.lineage) || stored_generation < known.generation) {
            // The store was set back, and its token is probably spent; or a person supplied another grant.
            return found(stored);
        }
        let news = known.is_none_or(|known| stored_generation > known.generation);
        if news && stored.as_ref().is_some_and(|record| self.unspent(record)) {
            return found(stored);
        }
        let plan = match which {
            Which::Candidate => plan_candidate(&self.settings, stored.as_ref()),
            Which::First => plan_first(&self.settings, stored.as_ref()),
            Which::Stored => Some(plan_stored(&self.settings, stored.as_ref())),
        };
        let Some(Plan::Present { token, unclear }) = plan else { return found(stored) };
        // Made before the call: nothing may fail between its answer and the commit.
        let new_lineage = match which {
            Which::Stored => None,
            Which::Candidate | Which::First => match Lineage::random() {
                Ok(lineage) => Some(lineage),
                Err(error) => return put_off(StoreError::Unavailable(error.to_string()), None),
            },
        };

        let expect = Expect { version: stored.as_ref().map(Record::version), fence: Some(fence) };
        let before = self.settings.before(stored);
        let mut announced = before.clone();
        if let Some(token) = &token {
            let intent = Intent {
                owner: self.owner.clone(),
                at: self.clock.now(),
                fingerprint: token.fingerprint(),
                presented: unclear.saturating_add(1),
            };
            match announced.candidate.as_mut().filter(|_| which == Which::Candidate) {
                Some(candidate) => candidate.intent = Some(intent),
                None => announced.intent = Some(intent),
            }
            match self.observe("intend", self.store.write(expect, &announced).await) {
                Ok(Written::Done) => fault::point("intended"),
                Ok(Written::Superseded(theirs)) => return Rotation::Found(Ok(theirs)),
                Ok(Written::Fenced) => return put_off(StoreError::Unavailable(LEASE_LOST.into()), None),
                Err(error) => return put_off(error, Some(before)),
            }
        }
        // Announced or not, from here on the store holds this version.
        let version = if token.is_some() { Some(announced.version()) } else { expect.version };

        // A process that was stopped here for longer than its lease must not present what a successor may have presented since.
        let began = self.clock.now();
        let call_began = Instant::now();
        let deadline = Instant::now() + lease.remaining().saturating_sub(self.settings.request_timeout);
        let presented = token.as_ref().map_or(Presented::ClientCredentials, Presented::RefreshToken);
        let answer = self.endpoint.call(presented, deadline).await;

        let mut last = LastRefresh {
            at: self.clock.now(),
            trigger,
            outcome: Outcome::Ok,
            duration_ms: u64::try_from(call_began.elapsed().as_millis()).unwrap_or(u64::MAX),
            error: None,
        };
        match answer {
            Answer::Issued(issued) => {
                let before = candidate::after_success(before, which);
                let record = self.renewed(before, token.as_ref(), new_lineage, issued, began, last);
                let expect = Expect { version, fence: None };
                issue.hold(expect, &record, None);
                fault::point("answered");
                self.commit(expect, record, None).await
            }
            Answer::Succeeded(Succeeded { refresh, failure }) => {
                let before = candidate::after_success(before, which);
                last.outcome = failure.outcome;
                last.error = Some(failure.error.clone());
                let record = self.succeeded(before, token.as_ref(), new_lineage, refresh, last);
                let expect = Expect { version, fence: None };
                issue.hold(expect, &record, Some(failure.clone()));
                fault::point("answered");
                self.commit(expect, record, Some(failure)).await
            }
            Answer::Failed(failure) => {
                fault::point("answered");
                last.outcome = failure.outcome;
                last.error = Some(failure.error.clone());
                let failed = Failed { before, announced, token, version, fence, last };
                match which {
                    Which::Candidate => self.note_candidate_failure(failed, failure).await,
                    Which::First | Which::Stored => self.record_failure(failed, failure).await,
                }
            }
        }
    }

    /// Whether a record that is new to this process can be used as it is, so that nothing has to be presented.
    fn unspent(&self, record: &Record) -> bool {
        record.binding == self.settings.binding
            && record.needs_login.is_none()
            && record.access.as_ref().is_some_and(|access| access.expires_at.is_none_or(|end| self.clock.now() < end))
            && self.settings.candidate_to_try(Some(record)).is_none()
            && self.settings.first_to_try(Some(record)).is_none()
    }

    fn renewed(
        &self,
        before: Record,
        token: Option<&RefreshToken>,
        new_lineage: Option<Lineage>,
        issued: Issued,
        began: jiff::Timestamp,
        last: LastRefresh,
    ) -> Record {
        let lifetime = issued.lifetime.unwrap_or(self.settings.default_lifetime);
        let (lineage, replaced) = descent(&before, new_lineage);
        Record {
            binding: self.settings.binding.clone(),
            lineage,
            replaced,
            generation: before.generation.next(),
            access: Some(Access {
                token: issued.access,
                obtained_at: began,
                expires_at: Some(policy::expires_at(began, lifetime)),
            }),
            // RFC 6749 §6: a new refresh token replaces the old one; where none is issued, the old one stays.
            refresh: issued.refresh.or_else(|| token.cloned()),
            candidate: before.candidate,
            intent: None,
            needs_login: None,
            taken: self.taken(before.taken, token),
            last_refresh: Some(last),
        }
    }

    /// The record with a new refresh token and without a new access token: the old one serves as long as it lives. The
    /// generation grows all the same, because within one generation a peer could not tell which token came first.
    fn succeeded(
        &self,
        before: Record,
        token: Option<&RefreshToken>,
        new_lineage: Option<Lineage>,
        refresh: RefreshToken,
        last: LastRefresh,
    ) -> Record {
        let (lineage, replaced) = descent(&before, new_lineage);
        Record {
            binding: self.settings.binding.clone(),
            lineage,
            replaced,
            generation: before.generation.next(),
            access: before.access.clone().filter(|_| before.binding == self.settings.binding),
            refresh: Some(refresh),
            candidate: before.candidate,
            intent: None,
            needs_login: None,
            taken: self.taken(before.taken, token),
            last_refresh: Some(last),
        }
    }

    /// The first tokens that were ever taken from the configuration, after `token` was presented and spent.
    fn taken(&self, mut taken: Vec<Fingerprint>, token: Option<&RefreshToken>) -> Vec<Fingerprint> {
        if let Some(first) = self.settings.first()
            && token == Some(first)
            && !taken.contains(&first.fingerprint())
        {
            taken.push(first.fingerprint());
        }
        taken
    }

    async fn commit(&self, mut expect: Expect, mut record: Record, failure: Option<Failure>) -> Rotation {
        let unpersisted = loop {
            match self.observe("commit", self.store.write(expect, &record).await) {
                Ok(Written::Done) => {
                    fault::point("committed");
                    break None;
                }
                Ok(Written::Superseded(Some(theirs))) => match rebased(&record, &theirs, expect) {
                    Some(again) => (record, expect.version) = (again, Some(theirs.version())),
                    // Somebody put another grant there while we called: theirs counts, ours is not written over it.
                    None => return Rotation::Found(Ok(Some(theirs))),
                },
                Ok(Written::Superseded(None) | Written::Fenced) => {
                    let error = "the stored grant has vanished".into();
                    break Some(Unpersisted { expect: Expect { version: None, fence: None }, error });
                }
                Err(error) => break Some(Unpersisted { expect, error: error.to_string() }),
            }
        };
        Rotation::Renewed(Renewed { record: Box::new(record), failure, unpersisted })
    }

    /// Tries a commit again that failed.
    pub async fn persist(&self, expect: Expect, record: &Record) -> Result<Written, StoreError> {
        self.observe("commit", self.store.write(expect, record).await)
    }

    async fn record_failure(&self, failed: Failed, failure: Failure) -> Rotation {
        let Failed { before, announced, token, version, fence, last } = failed;
        let Some(token) = token else {
            // Nothing was spent, nothing has to be remembered.
            return Rotation::Failed(failure, None);
        };
        let (record, expect) = match failure.outcome {
            // A clear answer, or none because nothing was sent: what was unclear before is as unclear as it was.
            Outcome::Transient | Outcome::Misconfigured => {
                (Record { last_refresh: Some(last), ..before }, Expect { version, fence: Some(fence) })
            }
            Outcome::Rejected => {
                let unclear = announced.intent.as_ref().is_some_and(|intent| intent.presented > 1);
                (rejected(before, &token, unclear, last), Expect { version, fence: None })
            }
            Outcome::Ambiguous | Outcome::Ok => {
                (Record { last_refresh: Some(last), ..announced }, Expect { version, fence: Some(fence) })
            }
        };
        match self.observe("note", self.store.write(expect, &record).await) {
            Ok(Written::Superseded(Some(theirs))) => return Rotation::Found(Ok(Some(theirs))),
            // Stopped for longer than the lease: who has taken it over may have brought what was wanted.
            Ok(Written::Fenced) => {
                if let Ok(Some(theirs)) = self.observe("load", self.store.load().await)
                    && (theirs.lineage != record.lineage || theirs.generation > record.generation)
                {
                    return Rotation::Found(Ok(Some(Box::new(theirs))));
                }
            }
            Ok(_) => {}
            // The intent stands: the next attempt takes this call for an unclear one, which loses nothing.
            Err(error) => tracing::warn!(%error, "the outcome of the refresh could not be noted"),
        }
        fault::point("noted");
        Rotation::Failed(failure, Some(Box::new(record)))
    }

    fn observe<T>(&self, operation: &'static str, result: Result<T, StoreError>) -> Result<T, StoreError> {
        self.metrics.store_operation(operation, if result.is_ok() { "ok" } else { "error" });
        result
    }
}

/// The lineage of what a call on `before` brought, and the lineages that it takes the place of. Pure.
fn descent(before: &Record, new: Option<Lineage>) -> (Lineage, Vec<Lineage>) {
    match new {
        Some(lineage) => (lineage, before.replaced_by(lineage)),
        None => (before.lineage, before.replaced.clone()),
    }
}

/// What is known when a call has failed.
struct Failed {
    before: Record,
    announced: Record,
    token: Option<RefreshToken>,
    version: Option<Version>,
    fence: u64,
    last: LastRefresh,
}

/// Nothing was presented.
fn put_off(error: StoreError, stored: Option<Record>) -> Rotation {
    let StoreError::Unavailable(error) = error else {
        // Waiting does not mend what can't be read: a person has to.
        return Rotation::Found(Err(error));
    };
    let error = format!("put off, nothing was sent: {error}");
    Rotation::Failed(Failure { outcome: Outcome::Transient, error, retry_after: None }, stored.map(Box::new))
}
