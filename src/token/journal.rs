//! One rotation: lease → load → intent → call → commit. No grant is lost, and no refresh token is spent twice.
//!
//! ```text
//! lease     the right to present the refresh token; longer than the longest call
//! load      if a peer has stored a newer generation, adopt it and present nothing
//! intent    durable, and fenced by the lease; a store that can't be written is detected before the token is spent
//! call      one presentation, which must end before the lease does
//! commit    the new pair in one write, if the store still holds what was presented, even without the lease
//! ```
//!
//! A crash between the server's commit and this process's commit can lose the successor. The intent marks that window. A
//! process that finds an intent knows that its token may be spent, and `oauth.ambiguous_retry` decides what follows. The file
//! store closes most of the window: it adopts a pair that was written and not yet renamed.

mod candidate;
mod commit;
mod failure;
mod plan;
mod prepared_store;
mod renumber;
#[cfg(test)]
mod tests;
mod uncommitted;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use self::failure::FailedCall;
#[cfg(any(test, feature = "internals"))]
pub use self::plan::Kind;
pub use self::plan::{Plan, Settings, TokenSource, binding_mismatch, plan, plan_stored};
use self::plan::{plan_candidate, plan_initial};
pub use self::prepared_store::PreparedStore;
pub use self::renumber::rebased;
pub use self::uncommitted::Uncommitted;
use crate::clock::Clock;
use crate::fault;
use crate::token::endpoint::{CallResult, Endpoint, Presented, RefreshFailure, SuccessorOnly};
use crate::token::store::{Expect, Intent, LastRefresh, Lease, Leased, Record, StoreError, Version, Written};
use crate::token::{Generation, Lineage, RefreshOutcome, TokenMetrics, Trigger};

/// The part of a lease that covers the writes before and after the call.
const LEASE_MARGIN: Duration = Duration::from_secs(15);

const LEASE_LOST: &str = "another process has taken the lease over";

/// Makes rotations against one store and one token endpoint.
pub struct Journal {
    pub store: PreparedStore,
    pub endpoint: Endpoint,
    pub settings: Settings,
    pub clock: Clock,
    pub metrics: TokenMetrics,
    /// The name of this process among those that share the store.
    pub owner: String,
    /// The shutdown has begun. It waits for a call in flight, but not for a peer's lease and a call after that.
    pub stopping: Arc<AtomicBool>,
}

/// How a rotation ended.
#[derive(Debug)]
pub enum Rotation {
    Renewed(Renewed),
    /// The rotation presented nothing, or a newer grant supersedes its result. This is what the store holds, or why it can't
    /// be read.
    Found(Result<Option<Box<Record>>, StoreError>),
    /// There is no new token. The record is what the store holds now, if that is known.
    Failed(RefreshFailure, Option<Box<Record>>),
}

/// A new access token, or a new refresh token alone.
#[derive(Debug)]
pub struct Renewed {
    pub record: Box<Record>,
    /// Why there is no new access token. The record then keeps the old one.
    pub failure: Option<RefreshFailure>,
    /// The commit that failed. The caller must retry it until it succeeds.
    pub unpersisted: Option<Unpersisted>,
}

/// A commit that failed: what it expects of the store, and why it failed.
#[derive(Clone, Debug)]
pub struct Unpersisted {
    pub expect: Expect,
    pub error: String,
}

// === impl Journal ===

impl Journal {
    /// The same store with a changed configuration. A rotation in flight keeps the configuration that it began with.
    pub fn with(&self, endpoint: Endpoint, settings: Settings) -> Self {
        let Self { store, clock, metrics, owner, stopping, .. } = self;
        let (store, clock, metrics, owner) = (store.clone(), clock.clone(), metrics.clone(), owner.clone());
        Self { store, endpoint, settings, clock, metrics, owner, stopping: Arc::clone(stopping) }
    }

    /// Makes one rotation. `known` is the newest version that this process has seen. `uncommitted` receives the new pair as
    /// soon as the server has issued it.
    ///
    /// The future must run to its end: spawn it, and never drop it.
    pub async fn rotate(
        &self,
        known: Option<Version>,
        source: TokenSource,
        trigger: Trigger,
        uncommitted: &Uncommitted,
    ) -> Rotation {
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
            // If the holder of the lease has committed, this process needs no rotation of its own.
            if let Ok(Some(record)) = self.observe("load", self.store.load().await)
                && known.is_some_and(|known| record.lineage != known.lineage || record.generation > known.generation)
            {
                return Rotation::Found(Ok(Some(Box::new(record))));
            }
        };
        fault::point("leased");
        let rotation = self.rotate_leased(known, source, trigger, &lease, uncommitted).await;
        self.store.release(lease).await;
        fault::point("released");
        rotation
    }

    async fn rotate_leased(
        &self,
        known: Option<Version>,
        source: TokenSource,
        trigger: Trigger,
        lease: &Lease,
        uncommitted: &Uncommitted,
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
            // The store was set back and its token is probably spent, or a person supplied another grant.
            return found(stored);
        }
        let is_newer = known.is_none_or(|known| stored_generation > known.generation);
        if is_newer && stored.as_ref().is_some_and(|record| self.is_usable(record)) {
            return found(stored);
        }
        let plan = match source {
            TokenSource::Candidate => plan_candidate(&self.settings, stored.as_ref()),
            TokenSource::Initial => plan_initial(&self.settings, stored.as_ref()),
            TokenSource::Stored => Some(plan_stored(&self.settings, stored.as_ref())),
        };
        let Some(Plan::Present { token, ambiguous }) = plan else { return found(stored) };
        // Before the call, because nothing may fail between the response and the commit.
        let new_lineage = match source {
            TokenSource::Stored => None,
            TokenSource::Candidate | TokenSource::Initial => match Lineage::random() {
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
                presented: ambiguous.saturating_add(1),
            };
            match announced.candidate.as_mut().filter(|_| source == TokenSource::Candidate) {
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
        // What the store holds from here on.
        let version = if token.is_some() { Some(announced.version()) } else { expect.version };

        // A process that is suspended here beyond its lease must not present a token that its successor may have presented.
        let began = self.clock.now();
        let call_began = Instant::now();
        let deadline = Instant::now() + lease.remaining().saturating_sub(self.settings.request_timeout);
        let presented = token.as_ref().map_or(Presented::ClientCredentials, Presented::RefreshToken);
        let result = self.endpoint.call(presented, deadline).await;

        let mut last = LastRefresh {
            at: self.clock.now(),
            trigger,
            outcome: RefreshOutcome::Ok,
            duration_ms: u64::try_from(call_began.elapsed().as_millis()).unwrap_or(u64::MAX),
            error: None,
        };
        match result {
            CallResult::Issued(issued) => {
                let before = candidate::after_success(before, source);
                let record = self.issued(before, token.as_ref(), new_lineage, issued, began, last);
                let expect = Expect { version, fence: None };
                uncommitted.hold(expect, &record, None);
                fault::point("answered");
                self.commit(expect, record, None).await
            }
            CallResult::SuccessorOnly(SuccessorOnly { refresh, failure }) => {
                let before = candidate::after_success(before, source);
                last.outcome = failure.outcome;
                last.error = Some(failure.error.clone());
                let record = self.successor_only(before, token.as_ref(), new_lineage, refresh, last);
                let expect = Expect { version, fence: None };
                uncommitted.hold(expect, &record, Some(failure.clone()));
                fault::point("answered");
                self.commit(expect, record, Some(failure)).await
            }
            CallResult::Failed(failure) => {
                fault::point("answered");
                last.outcome = failure.outcome;
                last.error = Some(failure.error.clone());
                let call = FailedCall { before, announced, token, version, fence, last };
                match source {
                    TokenSource::Candidate => self.note_candidate_failure(call, failure).await,
                    TokenSource::Initial | TokenSource::Stored => self.note_failure(call, failure).await,
                }
            }
        }
    }

    /// Whether this process can use a newer record as it is, without a call.
    fn is_usable(&self, record: &Record) -> bool {
        record.binding == self.settings.binding
            && record.needs_login.is_none()
            && record.access.as_ref().is_some_and(|access| access.expires_at.is_none_or(|end| self.clock.now() < end))
            && self.settings.candidate_to_try(Some(record)).is_none()
            && self.settings.initial_to_try(Some(record)).is_none()
    }

    fn observe<T>(&self, operation: &'static str, result: Result<T, StoreError>) -> Result<T, StoreError> {
        self.metrics.store_operation(operation, if result.is_ok() { "ok" } else { "error" });
        result
    }
}

/// Ends a rotation that presented nothing.
fn put_off(error: StoreError, stored: Option<Record>) -> Rotation {
    let StoreError::Unavailable(error) = error else {
        // Only a person can repair an unreadable document.
        return Rotation::Found(Err(error));
    };
    let error = format!("put off, nothing was sent: {error}");
    Rotation::Failed(RefreshFailure::without_response(RefreshOutcome::Transient, error), stored.map(Box::new))
}
