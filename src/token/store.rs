//! The store contract, for one process or many: lease, load, write by compare-and-set, watch.
//!
//! * A **lease** is the right to present the refresh token. It has an owner, a fencing number that grows with each lease, and a
//!   duration longer than the longest token call. A process that finds it held waits for the duration that the holder wrote,
//!   measured by its own monotonic clock or by the database.
//! * A **write** states the [`Version`] that it expects. An intent also states its lease, because only the present holder may
//!   announce a call. A commit does not: the late result of a suspended holder may be the only live successor. It is stored if
//!   the store still holds what was presented.
//! * A **watch** reports that something may have changed. The reader then loads the record.
//!
//! This order ensures that no two holders present the same token, and that a process suspended at any point loses nothing:
//!
//! ```text
//! lease → load → write the intent (expect: version and fence) → is lease.remaining() longer than the call may take? → call
//!       → write the outcome (expect: version alone) → release
//! ```
//!
//! A write without an answer may be repeated unchanged. If the store already holds that record, it answers [`Written::Done`].
//!
//! A new store is a module with one implementation of [`Backend`], and a variant of [`Store`]. `store/tests.rs` runs the tests of the
//! contract on each store.

mod candidate;
mod document;
mod file;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
#[cfg(any(feature = "kubernetes", feature = "postgres"))]
mod held;
#[cfg(feature = "kubernetes")]
mod kubernetes;
mod look;
mod memory;
#[cfg(feature = "postgres")]
mod postgres;
mod record;
mod seal;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

pub use candidate::{Candidate, CandidateResult, CandidateVersion};
#[cfg(feature = "kubernetes")]
pub use look::ClusterLook;
#[cfg(any(test, feature = "postgres"))]
pub use look::Rights;
pub use look::{Holder, Look, Overdue};
#[cfg(feature = "postgres")]
pub use postgres::schema;
#[cfg(feature = "internals")]
pub use record::Meets;
pub use record::{Binding, Expect, Intent, LastRefresh, Record, Version};
pub use seal::Sealer;

#[cfg(test)]
pub(in crate::token) use document::tests::records;

use crate::config::{StoreConfig, StoreKindConfig};

/// The configured store.
#[derive(Debug)]
pub enum Store {
    File(file::FileStore),
    Memory(memory::MemoryStore),
    #[cfg(feature = "postgres")]
    Postgres(Box<postgres::PostgresStore>),
    #[cfg(feature = "kubernetes")]
    Kubernetes(Box<kubernetes::KubernetesStore>),
}

/// The right to present the refresh token, as long as [`Lease::remaining`] exceeds the time of a call. [`Store::release`] gives it
/// back.
#[derive(Debug)]
pub struct Lease {
    /// Grows with each lease.
    pub fence: u64,
    /// Just before the request to the store. No other holder is possible before `asked` plus `duration`.
    asked: Instant,
    duration: Duration,
    /// Dropped with the lease. It tells the store that nobody presents a token under this lease.
    hold: Hold,
}

#[derive(Debug)]
enum Hold {
    /// The lock on the lease file.
    File(std::fs::File),
    /// The store sees whether the holder still exists.
    InUse(#[allow(dead_code, reason = "its end is what counts")] Arc<()>),
}

/// Who was last seen with the lease, this process or another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseHolder {
    pub owner: String,
    /// In the past: it has given the lease back, or has let it run out.
    pub until: Instant,
}

/// The answer to a request for the lease.
#[derive(Debug)]
pub enum Leased {
    Held(Lease),
    /// Another holder has it. Ask again after at most this time.
    Busy {
        retry_in: Duration,
    },
}

/// The answer to a write.
#[derive(Debug)]
pub enum Written {
    Done,
    /// The store does not hold the expected version, and was not changed. This is what it holds (`None`: nothing).
    Superseded(Option<Box<Record>>),
    /// The stated lease is not the present one. Nothing was written.
    Fenced,
}

/// Why a store operation failed. The text names the place (a path, a host) and what to do, and never a secret.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// The store could not be reached, read or written. A retry may help. A write may have succeeded, so repeat it unchanged.
    #[error("{0}")]
    Unavailable(String),
    /// The store holds something that is not a grant document. It was kept aside or left in place. Nothing was overwritten.
    #[error("{0}")]
    Damaged(String),
    /// The document is not accepted: plaintext although `store.keys` is set, or a copy of another grant. Nothing was changed.
    #[error("{0}")]
    Refused(String),
    /// The document is encrypted with a key that is not in `store.keys`. Nothing was changed.
    #[error("{0}")]
    WrongKey(String),
}

/// What [`Store::seal`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sealing {
    /// A plaintext document, which is now encrypted.
    Sealed,
    AlreadySealed,
    Nothing,
}

/// The longest pause between two requests for a lease that another process holds. A released lease is noticed within this time.
const LEASE_POLL: Duration = Duration::from_millis(250);

/// One kind of store. The methods of [`Store`] document them.
trait Backend {
    async fn prepare(&self) -> Result<(), StoreError> {
        Ok(())
    }

    async fn load(&self) -> Result<Option<Record>, StoreError>;

    async fn look(&self) -> Result<Look, StoreError> {
        Ok(Look { record: self.load().await, overdue: None, holder: None, rights: None, cluster: None })
    }

    async fn lease(&self, owner: &str, duration: Duration) -> Result<Leased, StoreError>;

    async fn release(&self, lease: Lease);

    async fn write(&self, expect: Expect, record: &Record) -> Result<Written, StoreError>;

    async fn replace_damaged(&self, record: &Record) -> Result<Written, StoreError>;

    async fn seal(&self) -> Result<Sealing, StoreError> {
        Ok(Sealing::Nothing)
    }

    async fn changed(&self);

    fn lease_holder(&self) -> Option<LeaseHolder> {
        None
    }
}

/// Calls a method of the configured store.
macro_rules! each {
    ($store:expr, $inner:ident => $call:expr) => {
        match $store {
            Store::File($inner) => $call,
            Store::Memory($inner) => $call,
            #[cfg(feature = "postgres")]
            Store::Postgres($inner) => $call,
            #[cfg(feature = "kubernetes")]
            Store::Kubernetes($inner) => $call,
        }
    };
}

// === impl Store ===

impl Store {
    /// Opens the configured store. Creates no grant. The directory of a file store must exist. A database or a cluster is connected at the first
    /// operation. `ca_file` holds additional trust anchors (PEM) for the certificate of the database.
    pub async fn open(config: &StoreConfig, ca_file: Option<&Path>) -> Result<Self, StoreError> {
        let sealer = Sealer::new(&config.keys);
        match &config.kind {
            StoreKindConfig::File { path } => file::FileStore::open(path, sealer).await.map(Self::File),
            StoreKindConfig::Memory => Ok(Self::Memory(memory::MemoryStore::new())),
            #[cfg(feature = "postgres")]
            StoreKindConfig::Postgres { url, name } => {
                let store = postgres::PostgresStore::open(url, name, ca_file, sealer)?;
                Ok(Self::Postgres(Box::new(store)))
            }
            #[cfg(not(feature = "postgres"))]
            StoreKindConfig::Postgres { .. } => {
                let _ = ca_file;
                Err(StoreError::Unavailable("store.kind: this build has no postgres store".to_owned()))
            }
            #[cfg(feature = "kubernetes")]
            StoreKindConfig::Kubernetes(config) => {
                let store = kubernetes::KubernetesStore::open(config, sealer)?;
                Ok(Self::Kubernetes(Box::new(store)))
            }
            #[cfg(not(feature = "kubernetes"))]
            StoreKindConfig::Kubernetes(_) => {
                Err(StoreError::Unavailable("store.kind: this build has no kubernetes store".to_owned()))
            }
        }
    }

    /// Creates the database table if it is missing. Each command that writes calls this before its first operation.
    pub async fn prepare(&self) -> Result<(), StoreError> {
        each!(self, store => store.prepare().await)
    }

    /// The stored record. `None`: no grant was ever stored.
    pub async fn load(&self) -> Result<Option<Record>, StoreError> {
        each!(self, store => store.load().await)
    }

    /// Looks at the store and changes nothing, unlike [`Store::load`], which completes and repairs.
    ///
    /// # Errors
    /// The store cannot be reached.
    pub async fn look(&self) -> Result<Look, StoreError> {
        each!(self, store => store.look().await)
    }

    /// Asks for the lease once, without waiting. The answer is `Busy` for the present owner too, because the lease also separates the
    /// tasks of one process. A [`Lease`] that was dropped without [`Store::release`], or whose release failed, does not delay the
    /// handle that took it.
    pub async fn lease(&self, owner: &str, duration: Duration) -> Result<Leased, StoreError> {
        each!(self, store => store.lease(owner, duration).await)
    }

    /// Gives the lease back, if it is still the present one. If that fails, other processes wait for the end of its duration.
    pub async fn release(&self, lease: Lease) {
        each!(self, store => store.release(lease).await)
    }

    /// Replaces the whole record durably, if the store holds the expected version.
    pub async fn write(&self, expect: Expect, record: &Record) -> Result<Written, StoreError> {
        each!(self, store => store.write(expect, record).await)
    }

    /// Replaces a damaged document, after keeping it aside. Only for a person who supplies a new grant, never for the refresher. A
    /// document that can be read, needs another key, or comes from a newer version is not replaced.
    pub async fn replace_damaged(&self, record: &Record) -> Result<Written, StoreError> {
        each!(self, store => store.replace_damaged(record).await)
    }

    /// Encrypts a plaintext document with the first of `store.keys`. Only a person may ask for this, because only a person can know
    /// who wrote the document.
    pub async fn seal(&self) -> Result<Sealing, StoreError> {
        each!(self, store => store.seal().await)
    }

    /// Returns within a second after the stored record may have changed: since the last call, or since the store was opened. Own writes
    /// count as changes. Errors are retried without end. Only one watcher per `Store`.
    pub async fn changed(&self) {
        each!(self, store => store.changed().await)
    }

    /// Who was last seen with the lease, if the store knows. [`Store::changed`] keeps it up to date.
    pub fn lease_holder(&self) -> Option<LeaseHolder> {
        each!(self, store => store.lease_holder())
    }
}

// === impl Lease ===

impl Lease {
    /// How long no other process can take the lease, by the monotonic clock of this process.
    pub fn remaining(&self) -> Duration {
        self.duration.saturating_sub(self.asked.elapsed())
    }
}

#[cfg(test)]
mod tests;
