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
//! Between the server's commit and ours lies a window that nobody can close. The intent names it: who finds one knows that the
//! token *may* have been spent, and `oauth.ambiguous_retry` says what follows.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::OnceCell;
use tokio::time::Instant;

use crate::clock::Clock;
use crate::config::{AmbiguousRetry, Config, GrantConfig, TokenEndpoint};
use crate::fault;
use crate::metrics::Metrics;
use crate::token::endpoint::{Answer, Endpoint, Failure, Issued, Presented};
use crate::token::policy;
use crate::token::store::{
    Binding, Expect, Intent, LastRefresh, Lease, Leased, Record, Store, StoreError, Version, Written,
};
use crate::token::{Access, InvalidToken, Outcome, RefreshToken, Trigger};

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

/// What rotations depend on.
#[derive(Clone, Debug)]
pub struct Settings {
    pub kind: Kind,
    pub binding: Binding,
    pub request_timeout: Duration,
    pub ambiguous_retry: AmbiguousRetry,
    pub default_lifetime: Duration,
}

/// The two grants that are renewed at a token endpoint.
#[derive(Clone, Debug)]
pub enum Kind {
    /// With the first refresh token of the configuration.
    RefreshToken {
        first: Option<RefreshToken>,
    },
    ClientCredentials,
}

/// How a rotation ended.
#[derive(Debug)]
pub enum Rotation {
    Renewed(Renewed),
    /// The store holds a generation that this process had not seen: nothing was presented.
    Adopted(Box<Record>),
    /// No token; what the store holds now, where that is known.
    Failed(Failure, Option<Box<Record>>),
}

/// A new token.
#[derive(Debug)]
pub struct Renewed {
    pub record: Box<Record>,
    /// The commit that the store has not taken, to be tried again without end.
    pub unpersisted: Option<Unpersisted>,
}

/// A commit that failed: what it expects of the store, and why it failed.
#[derive(Clone, Debug)]
pub struct Unpersisted {
    pub expect: Expect,
    pub error: String,
}

/// What a rotation would do with what the store holds. A pure decision.
#[derive(Debug, PartialEq)]
pub enum Plan {
    Present {
        token: Option<RefreshToken>,
        /// How often this token was presented before without a clear answer.
        unclear: u32,
    },
    /// Only a person can help; the text says what happened and what to do.
    NeedsLogin(String),
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
    pub async fn rotate(&self, known: Option<Version>, trigger: Trigger) -> Rotation {
        let lease_for = self.settings.request_timeout + LEASE_MARGIN;
        let lease = loop {
            if self.stopping.load(Ordering::Relaxed) {
                return put_off(&StoreError::Unavailable("the proxy is stopping".into()), None);
            }
            match self.observe("lease", self.store.lease(&self.owner, lease_for).await) {
                Ok(Leased::Held(lease)) => break lease,
                Ok(Leased::Busy { retry_in }) => tokio::time::sleep(retry_in).await,
                Err(error) => return put_off(&error, None),
            }
            // The holder's commit is worth more than its lease.
            if let Ok(Some(record)) = self.observe("load", self.store.load().await)
                && known.is_some_and(|known| record.generation > known.generation)
            {
                return Rotation::Adopted(Box::new(record));
            }
        };
        fault::point("leased");
        let rotation = self.rotate_leased(known, trigger, &lease).await;
        self.store.store.release(lease).await;
        fault::point("released");
        rotation
    }

    async fn rotate_leased(&self, known: Option<Version>, trigger: Trigger, lease: &Lease) -> Rotation {
        let fence = lease.fence;
        let stored = match self.observe("load", self.store.load().await) {
            Ok(stored) => stored,
            Err(error) => return put_off(&error, None),
        };
        if let Some(record) = &stored
            && known.is_none_or(|known| record.generation > known.generation)
            && self.unspent(record)
        {
            return Rotation::Adopted(Box::new(record.clone()));
        }
        let (token, unclear) = match plan(&self.settings, stored.as_ref()) {
            Plan::Present { token, unclear } => (token, unclear),
            Plan::NeedsLogin(reason) => return self.give_up(stored, fence, reason).await,
        };

        let expect = Expect { version: stored.as_ref().map(Record::version), fence: Some(fence) };
        let before = stored.unwrap_or_else(|| Record::empty(self.settings.binding.clone()));
        let mut announced = before.clone();
        if let Some(token) = &token {
            announced.intent = Some(Intent {
                owner: self.owner.clone(),
                at: self.clock.now(),
                fingerprint: token.fingerprint(),
                presented: unclear.saturating_add(1),
            });
            match self.observe("intend", self.store.store.write(expect, &announced).await) {
                Ok(Written::Done) => fault::point("intended"),
                Ok(Written::Superseded(Some(record))) => return Rotation::Adopted(record),
                Ok(Written::Superseded(None) | Written::Fenced) => {
                    return put_off(&StoreError::Unavailable(LEASE_LOST.into()), None);
                }
                Err(error) => return put_off(&error, Some(before)),
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
        fault::point("answered");

        let mut last = LastRefresh {
            at: self.clock.now(),
            trigger,
            outcome: Outcome::Ok,
            duration_ms: u64::try_from(call_began.elapsed().as_millis()).unwrap_or(u64::MAX),
            error: None,
        };
        match answer {
            Answer::Issued(issued) => {
                let record = self.renewed(before, token.as_ref(), issued, began, last);
                self.commit(Expect { version, fence: None }, record).await
            }
            Answer::Failed(failure) => {
                last.outcome = failure.outcome;
                last.error = Some(failure.error.clone());
                let failed = Failed { before, announced, token, version, fence, last };
                self.record_failure(failed, failure).await
            }
        }
    }

    /// Whether a record that is new to this process can be used as it is, so that nothing has to be presented.
    fn unspent(&self, record: &Record) -> bool {
        record.binding == self.settings.binding
            && record.needs_login.is_none()
            && record.access.as_ref().is_some_and(|access| access.expires_at.is_none_or(|end| self.clock.now() < end))
            && self.settings.first_to_try(Some(record)).is_none()
    }

    fn renewed(
        &self,
        before: Record,
        token: Option<&RefreshToken>,
        issued: Issued,
        began: jiff::Timestamp,
        last: LastRefresh,
    ) -> Record {
        let lifetime = issued.lifetime.unwrap_or(self.settings.default_lifetime);
        let mut taken = before.taken;
        if let Some(first) = self.settings.first()
            && token == Some(first)
            && !taken.contains(&first.fingerprint())
        {
            taken.push(first.fingerprint());
        }
        Record {
            binding: self.settings.binding.clone(),
            generation: before.generation.next(),
            access: Some(Access {
                token: issued.access,
                obtained_at: began,
                expires_at: Some(policy::expires_at(began, lifetime)),
            }),
            // RFC 6749 §6: a new refresh token replaces the old one; where none is issued, the old one stays.
            refresh: issued.refresh.or_else(|| token.cloned()),
            intent: None,
            needs_login: None,
            taken,
            last_refresh: Some(last),
        }
    }

    async fn commit(&self, expect: Expect, record: Record) -> Rotation {
        let record = Box::new(record);
        match self.observe("commit", self.store.store.write(expect, &record).await) {
            Ok(Written::Done) => {
                fault::point("committed");
                Rotation::Renewed(Renewed { record, unpersisted: None })
            }
            // Somebody put another grant there while we called: theirs counts, ours is not written over it.
            Ok(Written::Superseded(Some(theirs))) => Rotation::Adopted(theirs),
            Ok(Written::Superseded(None) | Written::Fenced) => Rotation::Renewed(Renewed {
                record,
                unpersisted: Some(Unpersisted {
                    expect: Expect { version: None, fence: None },
                    error: "the stored grant has vanished".into(),
                }),
            }),
            Err(error) => Rotation::Renewed(Renewed {
                record,
                unpersisted: Some(Unpersisted { expect, error: error.to_string() }),
            }),
        }
    }

    /// Tries a commit again that failed.
    pub async fn persist(&self, unpersisted: &Unpersisted, record: &Record) -> Result<Written, StoreError> {
        self.observe("commit", self.store.store.write(unpersisted.expect, record).await)
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
                (self.rejected(before, &token, unclear, last), Expect { version, fence: None })
            }
            Outcome::Ambiguous | Outcome::Ok => {
                (Record { last_refresh: Some(last), ..announced }, Expect { version, fence: Some(fence) })
            }
        };
        match self.observe("note", self.store.store.write(expect, &record).await) {
            Ok(Written::Superseded(Some(theirs))) => return Rotation::Adopted(theirs),
            // Stopped for longer than the lease: who has taken it over may have brought what was wanted.
            Ok(Written::Fenced) => {
                if let Ok(Some(theirs)) = self.observe("load", self.store.load().await)
                    && theirs.generation > record.generation
                {
                    return Rotation::Adopted(Box::new(theirs));
                }
            }
            Ok(_) => {}
            // The intent stands: the next attempt takes this call for an unclear one, which loses nothing.
            Err(error) => tracing::warn!(%error, "the outcome of the refresh could not be noted"),
        }
        fault::point("noted");
        Rotation::Failed(failure, Some(Box::new(record)))
    }

    /// The record after a clear no to `token`.
    fn rejected(&self, before: Record, token: &RefreshToken, unclear: bool, last: LastRefresh) -> Record {
        let said = last.error.clone().unwrap_or_default();
        let fingerprint = token.fingerprint();
        let mut record = Record { intent: None, last_refresh: Some(last), ..before };
        let first_only = record.refresh.as_ref().is_some_and(|stored| stored != token);
        if self.settings.first() == Some(token) && !record.taken.contains(&fingerprint) {
            record.taken.push(fingerprint);
        }
        if first_only && record.binding == self.settings.binding {
            // A first token that never worked leaves the grant that the store has as it was.
            tracing::warn!(said, "oauth.refresh_token was refused; the stored grant stays in use");
            return record;
        }
        let lost = if unclear {
            " An earlier refresh had no clear answer: that answer probably held the successor, and was lost."
        } else {
            ""
        };
        record.needs_login = Some(format!(
            "The token endpoint refused the refresh token: {said}.{lost} Log in again and store the new grant with `bearer-proxy import`."
        ));
        record
    }

    async fn give_up(&self, stored: Option<Record>, fence: u64, reason: String) -> Rotation {
        let failure = Failure { outcome: Outcome::Rejected, error: reason.clone(), retry_after: None };
        let Some(stored) = stored else { return Rotation::Failed(failure, None) };
        // A mismatch of the configuration is not the grant's fault: it is said, and neither stored nor remembered.
        if stored.binding != self.settings.binding || stored.needs_login.is_some() {
            return Rotation::Failed(failure, Some(Box::new(stored)));
        }
        let expect = Expect { version: Some(stored.version()), fence: Some(fence) };
        let record = Record { needs_login: Some(reason), ..stored };
        if let Err(error) = self.observe("note", self.store.store.write(expect, &record).await) {
            tracing::warn!(%error, "that the grant needs a login could not be noted");
        }
        Rotation::Failed(failure, Some(Box::new(record)))
    }

    fn observe<T>(&self, operation: &'static str, result: Result<T, StoreError>) -> Result<T, StoreError> {
        self.metrics.store_operation(operation, if result.is_ok() { "ok" } else { "error" });
        result
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

/// Nothing was presented: the refresh is tried again later.
fn put_off(error: &StoreError, stored: Option<Record>) -> Rotation {
    let (outcome, error) = match error {
        StoreError::Unavailable(error) => (Outcome::Transient, format!("put off, nothing was sent: {error}")),
        // Waiting mends neither: a person has to.
        StoreError::Damaged(error) | StoreError::WrongKey(error) => (Outcome::Rejected, error.clone()),
    };
    Rotation::Failed(Failure { outcome, error, retry_after: None }, stored.map(Box::new))
}

// === impl Settings ===

impl Settings {
    /// Of the configuration, with its grant's token endpoint.
    ///
    /// # Errors
    /// `oauth.refresh_token` is no token.
    pub fn of(config: &Config, endpoint: &TokenEndpoint) -> Result<Self, InvalidToken> {
        let kind = match &config.oauth.grant {
            GrantConfig::RefreshToken { first, .. } => {
                let first = first.as_ref().map(|first| RefreshToken::parse(first.expose())).transpose()?;
                Kind::RefreshToken { first }
            }
            GrantConfig::ClientCredentials { .. } | GrantConfig::Static { .. } => Kind::ClientCredentials,
        };
        let binding = Binding {
            token_url: endpoint.url.to_string(),
            client_id: endpoint.client_id.clone(),
            upstream_origin: config.upstream.origin.to_string(),
        };
        Ok(Self {
            kind,
            binding,
            request_timeout: endpoint.request_timeout,
            ambiguous_retry: endpoint.ambiguous_retry,
            default_lifetime: config.refresh.default_lifetime,
        })
    }

    pub fn first(&self) -> Option<&RefreshToken> {
        match &self.kind {
            Kind::RefreshToken { first } => first.as_ref(),
            Kind::ClientCredentials => None,
        }
    }

    /// The configuration's first refresh token, if it was never taken before.
    pub fn first_to_try(&self, stored: Option<&Record>) -> Option<&RefreshToken> {
        self.first().filter(|first| {
            let fingerprint = first.fingerprint();
            !stored.is_some_and(|record| {
                record.taken.contains(&fingerprint) || record.refresh.as_ref().is_some_and(|stored| *stored == **first)
            })
        })
    }
}

/// Decides what is presented, from what the store holds.
pub fn plan(settings: &Settings, stored: Option<&Record>) -> Plan {
    if matches!(settings.kind, Kind::ClientCredentials) {
        return Plan::Present { token: None, unclear: 0 };
    }
    if let Some(first) = settings.first_to_try(stored) {
        return after_unclear(settings, stored, first).unwrap_or_else(|reason| match stored {
            // The stored grant is better than none.
            Some(record) if record.binding == settings.binding && record.refresh.is_some() => {
                present_stored(settings, record)
            }
            _ => Plan::NeedsLogin(reason),
        });
    }
    match stored {
        None => Plan::NeedsLogin("No grant is stored. Log in and store one with `bearer-proxy import`.".into()),
        Some(record) => match binding_mismatch(&record.binding, &settings.binding) {
            Some(mismatch) => Plan::NeedsLogin(mismatch),
            None => present_stored(settings, record),
        },
    }
}

fn present_stored(settings: &Settings, record: &Record) -> Plan {
    match (&record.needs_login, &record.refresh) {
        (Some(reason), _) => Plan::NeedsLogin(reason.clone()),
        (None, None) => Plan::NeedsLogin(
            "The stored grant has no refresh token. Log in and store one with `bearer-proxy import`.".into(),
        ),
        (None, Some(token)) => after_unclear(settings, Some(record), token).unwrap_or_else(Plan::NeedsLogin),
    }
}

/// Whether `token` may be presented after what the intent in the store says of it.
fn after_unclear(settings: &Settings, stored: Option<&Record>, token: &RefreshToken) -> Result<Plan, String> {
    let unclear = stored
        .and_then(|record| record.intent.as_ref())
        .filter(|intent| intent.fingerprint == token.fingerprint())
        .map_or(0, |intent| intent.presented);
    let allowed = match settings.ambiguous_retry {
        AmbiguousRetry::UntilClear => true,
        AmbiguousRetry::Once => unclear <= 1,
        AmbiguousRetry::Never => unclear == 0,
    };
    if allowed {
        Ok(Plan::Present { token: Some(token.clone()), unclear })
    } else {
        Err(format!(
            "The refresh token was presented {unclear} times without a clear answer, and oauth.ambiguous_retry forbids another. \
             Log in again and store the new grant with `bearer-proxy import`."
        ))
    }
}

/// Says how a stored grant does not belong to the configured server; `None`: it does.
pub fn binding_mismatch(stored: &Binding, configured: &Binding) -> Option<String> {
    let parts = [
        ("oauth.token_url", &stored.token_url, &configured.token_url),
        ("oauth.client_id", &stored.client_id, &configured.client_id),
        ("upstream.url", &stored.upstream_origin, &configured.upstream_origin),
    ];
    let differing: Vec<String> = parts
        .into_iter()
        .filter(|(_, stored, configured)| stored != configured)
        .map(|(key, stored, configured)| format!("{key} was {stored} and is now {configured}"))
        .collect();
    (!differing.is_empty()).then(|| {
        format!(
            "The stored grant belongs to another server and is sent to nobody: {}. Undo the change, or log in and store a grant for \
             the new one with `bearer-proxy import`.",
            differing.join("; ")
        )
    })
}
