//! The PostgreSQL store, for many machines. One row of one table holds one grant.
//!
//! Every change is a short transaction: it locks the row, reads it, decides and commits. The lock makes compare-and-set and fencing
//! atomic, and resolves a commit whose answer was lost. A transaction that is still committing holds the lock, so the next one waits
//! for its end. Each transaction leaves its number in the row ([`Database::change`]).
//!
//! The server decides how durable a commit is (`synchronous_commit`, replication). No request ever waits for the database. A lost
//! database only stops refreshes.

mod held;
mod row;
mod session;
mod tls;
mod url;
mod watch;

use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use zeroize::Zeroizing;

use self::held::HeldLeases;
use self::row::{LISTEN, Row, Update};
use self::session::{Session, SessionError};
use self::tls::Tls;
use self::url::Target;
use self::watch::Watch;
use super::document::{self, Form, Unreadable};
use super::look::{Overdue, Rights};
use super::record::Meets;
use super::{Backend, Expect, Hold, LEASE_POLL, Lease, Leased, Look, Record, Sealer, Sealing, StoreError, Written};
use crate::fault;
use crate::secret::Secret;

/// A row of a table.
#[derive(Debug)]
pub struct PostgresStore {
    database: Database,
    sealer: Sealer,
    leases: HeldLeases,
    watch: tokio::sync::Mutex<Watch>,
}

/// The row of the grant, and the connection to it.
struct Database {
    target: Target,
    tls: Tls,
    /// `store.name`, the key of the row.
    name: String,
    /// An idle connection without an open transaction.
    idle: Mutex<Option<Session>>,
    /// The caller writes, so a missing table is created.
    makes_table: AtomicBool,
}

/// The time limit of an operation, including its second attempt.
const OPERATION: Duration = Duration::from_secs(5);
/// The pause before a further reconnect.
const RECONNECT: Duration = Duration::from_millis(100);

/// The SQL that creates the table, and the rights that the role needs.
pub fn schema() -> &'static str {
    include_str!("postgres/schema.sql")
}

// === impl PostgresStore ===

impl PostgresStore {
    /// Does not connect yet.
    pub(super) fn open(url: &Secret, name: &str, ca_file: Option<&Path>, sealer: Sealer) -> Result<Self, StoreError> {
        let target = Target::parse(url)?;
        if target.is_exposed() {
            tracing::warn!(
                database = target.place,
                "store.url has sslmode=disable: tokens cross the network to the database in plaintext; sslmode=require encrypts them"
            );
        }
        let database = Database {
            target,
            tls: Tls::new(ca_file)?,
            name: name.to_owned(),
            idle: Mutex::new(None),
            makes_table: AtomicBool::new(false),
        };
        let leases = HeldLeases::new(database.random()?);
        Ok(Self { database, sealer: sealer.with_name(name), leases, watch: tokio::sync::Mutex::new(Watch::new()) })
    }

    fn present(&self, row: &Row) -> Result<Option<Record>, Unreadable> {
        row.document.as_ref().map(|document| self.decode(document)).transpose()
    }

    fn decode(&self, document: &str) -> Result<Record, Unreadable> {
        document::decode(document.as_bytes(), &self.sealer)
    }

    fn encode(&self, record: &Record) -> Result<Zeroizing<String>, StoreError> {
        let failed = |what: String| StoreError::Unavailable(format!("{}: {what}", self.place()));
        let bytes = document::encode(record, &self.sealer).map_err(|error| failed(error.to_string()))?;
        let text = std::str::from_utf8(&bytes).map_err(|error| failed(error.to_string()))?;
        Ok(Zeroizing::new(text.to_owned()))
    }

    /// The place of the row, for errors. An unreadable document is left unchanged.
    fn place(&self) -> String {
        format!("{}: the grant {}", self.database.target.place, self.database.name)
    }
}

impl Backend for PostgresStore {
    /// Creates the table if it is missing, now and in any later operation. If the table exists, the role needs no right to create
    /// one.
    async fn prepare(&self) -> Result<(), StoreError> {
        self.database.makes_table.store(true, Ordering::Relaxed);
        self.database.twice(|| self.database.prepare()).await
    }

    async fn load(&self) -> Result<Option<Record>, StoreError> {
        let document = self.database.twice(|| self.database.load()).await?;
        document.map(|document| self.decode(&document).map_err(|error| error.at(&self.place()))).transpose()
    }

    async fn look(&self) -> Result<Look, StoreError> {
        let (rights, overdue) = self.database.twice(|| self.database.look()).await?;
        let record = if rights.table_exists && rights.select { self.load().await } else { Ok(None) };
        Ok(Look { record, overdue, rights: Some(rights) })
    }

    async fn lease(&self, owner: &str, duration: Duration) -> Result<Leased, StoreError> {
        let asked = Instant::now();
        let owner = self.leases.owner(owner);
        let decide = |row: &Row| {
            let abandoned = self.leases.is_abandoned(row.lease_owner.as_deref(), row.fence);
            if !row.lease_left.is_zero() && !abandoned {
                return Ok((None, Leased::Busy { retry_in: row.lease_left.min(LEASE_POLL) }));
            }
            let fence = row.fence.saturating_add(1);
            if abandoned {
                tracing::info!(fence, "took back a lease that this process could not give back");
            } else if let Some(holder) = &row.lease_owner {
                tracing::warn!(holder, fence, "took the lease over from a process that has let it run out");
            }
            let hold = Hold::InUse(self.leases.hold(fence));
            let lease = Lease { fence: fence.unsigned_abs(), asked, duration, hold };
            Ok((Some(Update::Lease { owner: owner.clone(), fence, duration }), Leased::Held(lease)))
        };
        self.database.change(decide).await
    }

    async fn release(&self, lease: Lease) {
        let Ok(fence) = i64::try_from(lease.fence) else { return };
        if let Err(error) = self.database.twice(|| self.database.release(fence)).await {
            let left = lease.remaining();
            tracing::warn!(%error, ?left, "the lease could not be given back: others wait for its end, this process does not");
        }
    }

    async fn write(&self, expect: Expect, record: &Record) -> Result<Written, StoreError> {
        let document = self.encode(record)?;
        let decide = |row: &Row| {
            let leased = |fence| !row.lease_left.is_zero() && i64::try_from(fence) == Ok(row.fence);
            if expect.fence.is_some_and(|fence| !leased(fence)) {
                return Ok((None, Written::Fenced));
            }
            let present = self.present(row).map_err(|error| error.at(&self.place()))?;
            Ok(match expect.meets(present.as_ref(), record) {
                Meets::Expected => (Some(Update::Document(document.clone())), Written::Done),
                Meets::Wanted => (None, Written::Done),
                Meets::Other => (None, Written::Superseded(present.map(Box::new))),
            })
        };
        self.database.change(decide).await
    }

    async fn replace_damaged(&self, record: &Record) -> Result<Written, StoreError> {
        let document = self.encode(record)?;
        let decide = |row: &Row| match self.present(row) {
            Ok(Some(present)) => Ok((None, Written::Superseded(Some(Box::new(present))))),
            Ok(None) | Err(Unreadable::Damaged(_)) => {
                Ok((Some(Update::ReplaceDamaged(document.clone())), Written::Done))
            }
            Err(unreadable) => Err(unreadable.at(&self.place())),
        };
        self.database.change(decide).await
    }

    async fn seal(&self) -> Result<Sealing, StoreError> {
        let decide = |row: &Row| {
            let Some(document) = &row.document else { return Ok((None, Sealing::Nothing)) };
            let read = document::decode_any(document.as_bytes(), &self.sealer);
            match read.map_err(|error| error.at(&self.place()))? {
                (_, Form::Sealed) => Ok((None, Sealing::AlreadySealed)),
                (record, Form::Plaintext) => Ok((Some(Update::Document(self.encode(&record)?)), Sealing::Sealed)),
            }
        };
        self.database.change(decide).await
    }

    async fn changed(&self) {
        self.watch.lock().await.changed(&self.database).await;
    }
}

// === impl Database ===

impl Database {
    async fn connect(&self) -> Result<Session, SessionError> {
        Session::connect(&self.target, &self.tls, &self.name).await
    }

    /// A connection for the watch. It listens only if its backend serves no other connection.
    ///
    /// Behind a pooler in transaction mode, LISTEN would stay on a backend that the pooler gives to other clients. So the connection
    /// starts with a random setting. A backend with that setting was started for this connection. A pooler refuses or drops the
    /// setting.
    async fn connect_watcher(&self) -> Result<Session, SessionError> {
        let mark = self.random().map_err(SessionError::Refused)?;
        let session = match Session::connect_marked(&self.target, &self.tls, &self.name, &mark).await {
            Ok(session) if session.is_marked(&mark).await? => {
                session.batch(LISTEN).await?;
                return Ok(session);
            }
            Ok(session) => session,
            Err(_) => self.connect().await?,
        };
        tracing::debug!(
            "the database is reached through a connection pooler: changes are found by polling, without LISTEN"
        );
        Ok(session)
    }

    /// The idle connection, or a new one. Only [`Database::park`] returns it. An operation that ends early, by an error or by a drop,
    /// closes its connection and rolls back its transaction. An idle connection may be dead. That shows at once, and each operation
    /// then makes a second attempt.
    async fn session(&self) -> Result<Session, SessionError> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).take();
        match idle {
            Some(session) => Ok(session),
            None => self.connect().await,
        }
    }

    fn park(&self, session: Session) {
        *self.idle.lock().unwrap_or_else(PoisonError::into_inner) = Some(session);
    }

    async fn within<T>(&self, work: impl Future<Output = Result<T, SessionError>>) -> Result<T, StoreError> {
        match tokio::time::timeout(OPERATION, work).await {
            Ok(done) => done.map_err(StoreError::from),
            Err(_) => Err(StoreError::Unavailable(format!("{}: no answer within {OPERATION:?}", self.target.place))),
        }
    }

    /// Repeats the operation once after a lost connection. Only for idempotent operations.
    async fn twice<T, F>(&self, work: impl Fn() -> F) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, SessionError>>,
    {
        self.within(async {
            let mut first = true;
            let mut table = true;
            loop {
                match work().await {
                    Err(SessionError::Lost(_)) if first => first = false,
                    Err(failure) if table && self.makes_up_for(&failure) => {
                        table = false;
                        self.prepare().await?;
                    }
                    done => return done,
                }
            }
        })
        .await
    }

    /// Whether the table is missing and may be created.
    fn makes_up_for(&self, failure: &SessionError) -> bool {
        matches!(failure, SessionError::NoTable(_)) && self.makes_table.load(Ordering::Relaxed)
    }

    async fn prepare(&self) -> Result<(), SessionError> {
        let session = self.session().await?;
        if !session.has_table().await? {
            tracing::info!("the table bearer_proxy_grant is missing and is created");
            match session.batch(schema()).await {
                // Two processes that create the table at once can fail. One of them has created it.
                Err(SessionError::Refused(_)) if session.has_table().await? => {}
                made => made?,
            }
        }
        self.park(session);
        Ok(())
    }

    async fn look(&self) -> Result<(Rights, Option<Overdue>), SessionError> {
        let session = self.session().await?;
        let rights = session.rights().await?;
        let overdue = if rights.table_exists && rights.select { session.overdue(&self.name).await? } else { None };
        self.park(session);
        Ok((rights, overdue))
    }

    async fn load(&self) -> Result<Option<Zeroizing<String>>, SessionError> {
        let session = self.session().await?;
        let document = session.document(&self.name).await?;
        self.park(session);
        Ok(document)
    }

    async fn release(&self, fence: i64) -> Result<(), SessionError> {
        let session = self.session().await?;
        session.release(&self.name, fence).await?;
        self.park(session);
        Ok(())
    }

    /// Reads the locked row, decides, and commits. `decide` returns the change, if any, and the answer.
    ///
    /// If the connection is lost during the commit, the outcome is unknown. The next connection waits for the lock of the row, and thus
    /// for the end of that commit. The row then has the number of this attempt, or it does not.
    async fn change<T>(
        &self,
        decide: impl Fn(&Row) -> Result<(Option<Update>, T), StoreError>,
    ) -> Result<T, StoreError> {
        let attempt = self.random()?;
        let mut undecided = None;
        self.within(async {
            let mut first = true;
            let mut table = true;
            loop {
                match self.try_change(&attempt, &mut undecided, &decide).await {
                    Err(SessionError::Lost(_)) if first => first = false,
                    Err(failure) if table && self.makes_up_for(&failure) => {
                        table = false;
                        self.prepare().await?;
                    }
                    // The outcome matters, so it reconnects until the time limit of the operation.
                    Err(SessionError::Lost(_)) if undecided.is_some() => tokio::time::sleep(RECONNECT).await,
                    done => return done,
                }
            }
        })
        .await
    }

    /// `undecided`: the answer of an earlier attempt whose commit may have succeeded.
    async fn try_change<T>(
        &self,
        attempt: &str,
        undecided: &mut Option<T>,
        decide: impl Fn(&Row) -> Result<(Option<Update>, T), StoreError>,
    ) -> Result<T, SessionError> {
        let session = self.session().await?;
        let row = session.begin(&self.name).await?;
        let decided = match undecided.take() {
            Some(answer) if row.attempt.as_deref() == Some(attempt) => Ok((None, answer)),
            _ => decide(&row),
        };
        let (update, answer) = match decided {
            Ok((Some(update), answer)) => (update, answer),
            nothing_to_do => {
                // The answer is valid even if the connection is lost.
                if session.roll_back().await.is_ok() {
                    self.park(session);
                }
                return nothing_to_do.map(|(_, answer)| answer).map_err(SessionError::Refused);
            }
        };
        session.update(&self.name, attempt, &update).await?;
        fault::point(update.changed());
        match session.commit().await {
            Ok(()) => {
                fault::point(update.committed());
                self.park(session);
                Ok(answer)
            }
            Err(failure) => {
                if matches!(failure, SessionError::Lost(_)) {
                    *undecided = Some(answer);
                }
                Err(failure)
            }
        }
    }

    /// A unique number for a transaction.
    fn random(&self) -> Result<String, StoreError> {
        let mut bytes = [0; 16];
        aws_lc_rs::rand::fill(&mut bytes)
            .map_err(|_| StoreError::Unavailable(format!("{}: the system has no random numbers", self.target.place)))?;
        Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Database").field("place", &self.target.place).field("name", &self.name).finish_non_exhaustive()
    }
}

#[cfg(test)]
pub(super) mod tests;
