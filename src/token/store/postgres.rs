//! The PostgreSQL store, for many machines. One row of one table holds one grant.
//!
//! Every change is a short transaction: it locks the row, reads it, decides and commits. The lock makes compare-and-set and fencing
//! atomic, and resolves a commit whose answer was lost. A transaction that is still committing holds the lock, so the next one waits
//! for its end. Each transaction leaves its number in the row (`Database::change`).
//!
//! The server decides how durable a commit is (`synchronous_commit`, replication). No request ever waits for the database. A lost
//! database only stops refreshes.

mod database;
mod row;
mod session;
mod tls;
mod url;
mod watch;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use zeroize::Zeroizing;

use self::database::Database;
pub use self::database::schema;
use self::row::{Row, Update};
use self::tls::Tls;
use self::url::Target;
use self::watch::Watch;
use super::document::{self, Form, Unreadable};
use super::held::HeldLeases;
use super::record::Meets;
use super::{
    Backend, Expect, Hold, LEASE_POLL, Lease, LeaseHolder, Leased, Look, Record, Sealer, Sealing, StoreError, Written,
};
use crate::secret::Secret;

/// A row of a table.
#[derive(Debug)]
pub struct PostgresStore {
    database: Database,
    sealer: Sealer,
    leases: HeldLeases,
    watch: tokio::sync::Mutex<Watch>,
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
            holder: Mutex::default(),
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
        Ok(Look { record, overdue, holder: None, rights: Some(rights), cluster: None })
    }

    async fn lease(&self, owner: &str, duration: Duration) -> Result<Leased, StoreError> {
        let asked = Instant::now();
        let owner = self.leases.owner(owner);
        let decide = |row: &Row| {
            let abandoned = self.leases.is_abandoned(row.lease_owner.as_deref(), row.fence.unsigned_abs());
            if !row.lease_left.is_zero() && !abandoned {
                return Ok((None, Leased::Busy { retry_in: row.lease_left.min(LEASE_POLL) }));
            }
            let fence = row.fence.saturating_add(1);
            if abandoned {
                tracing::info!(fence, "took back a lease that this process could not give back");
            } else if let Some(holder) = &row.lease_owner {
                tracing::warn!(holder, fence, "took the lease over from a process that has let it run out");
            }
            let hold = Hold::InUse(self.leases.hold(fence.unsigned_abs()));
            let lease = Lease { fence: fence.unsigned_abs(), asked, duration, hold };
            Ok((Some(Update::Lease { owner: owner.clone(), fence, duration }), Leased::Held(lease)))
        };
        self.database.change(decide).await
    }

    async fn release(&self, lease: Lease) {
        let Ok(fence) = i64::try_from(lease.fence) else { return };
        if let Err(error) = self.database.twice(|| self.database.release(fence)).await {
            let left = lease.remaining();
            tracing::warn!(%error, ?left, "the lease could not be released: other processes wait until it expires");
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

    fn lease_holder(&self) -> Option<LeaseHolder> {
        self.database.holder.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
pub(super) mod tests;
