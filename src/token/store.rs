//! One store contract, from one process to many: lease, load, write by compare-and-set, watch.
//!
//! * A **lease** is the right to present the refresh token. It has an owner, a fencing number that grows with each lease, and a
//!   duration that outlives the longest token call. Who wants it while another holds it waits for the duration that the holder
//!   wrote, by a monotonic clock of its own (or the database's).
//! * A **write** states what it expects to find ([`Version`]: generation *and* fingerprint). An intent also states its lease,
//!   since it must come from the present holder. A commit does not: a late answer of a holder that was paused may be the only
//!   living successor, and is kept if the store still holds what was presented.
//! * A **watch** tells that something may have changed; the reader loads and sees.
//!
//! What a holder does, in this order, makes that no two present the same token while all is well, and that nothing is lost
//! where a process is paused at the worst moment:
//!
//! ```text
//! lease → load → write the intent (expect: version and fence) → is lease.remaining() longer than the call may take? → call
//!       → write the outcome (expect: version alone) → release
//! ```
//!
//! A write whose answer was lost may be repeated as it is: a store that holds the very record already answers
//! [`Written::Done`].

mod candidate;
mod document;
mod file;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
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
#[cfg(feature = "postgres")]
pub use postgres::schema;
pub use record::{Binding, Expect, Intent, LastRefresh, Meets, Record, Version};
pub use seal::Sealer;

#[cfg(test)]
pub(in crate::token) use document::tests::records;

use crate::config::{StoreConfig, StoreKindConfig};

/// Where the grant lives.
#[derive(Debug)]
pub enum Store {
    File(file::FileStore),
    Memory(memory::MemoryStore),
    #[cfg(feature = "postgres")]
    Postgres(Box<postgres::PostgresStore>),
}

/// The right to present the refresh token while [`Lease::remaining`] is more than the call takes. Give it back with
/// [`Store::release`].
#[derive(Debug)]
pub struct Lease {
    /// Grows with each lease taken.
    pub fence: u64,
    /// From before the store was asked: nobody else can have it before this and `duration` are over.
    asked: Instant,
    duration: Duration,
    /// Ends with the lease: a store knows by it that nobody presents a token under this lease any more.
    hold: Hold,
}

#[derive(Debug)]
enum Hold {
    /// The lock on the lease's file.
    File(std::fs::File),
    /// Tells the store that the holder lives.
    InUse(#[allow(dead_code, reason = "its end is what counts")] Arc<()>),
}

/// The answer to a wish for the lease.
#[derive(Debug)]
pub enum Leased {
    Held(Lease),
    /// Somebody else has it; ask again no later than this.
    Busy {
        retry_in: Duration,
    },
}

/// The answer to a write.
#[derive(Debug)]
pub enum Written {
    Done,
    /// The store held something else than expected and was left alone: this is what it holds (`None`: nothing).
    Superseded(Option<Box<Record>>),
    /// The lease that was named is no longer the present one; nothing was written.
    Fenced,
}

/// Why the store could not do it. The text names the place (a path, a host) and the mend, never a secret.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// It could not be reached, read or written; trying again may help. Whether a write got through is not known: repeat it.
    #[error("{0}")]
    Unavailable(String),
    /// What it holds is not a grant document; it was kept aside or left as it is, and nothing was overwritten.
    #[error("{0}")]
    Damaged(String),
    /// What it holds is not accepted: plaintext although `store.keys` is set, or a copy of another grant; nothing was changed.
    #[error("{0}")]
    Refused(String),
    /// What it holds is encrypted with a key that is not among `store.keys`; nothing was changed.
    #[error("{0}")]
    WrongKey(String),
}

/// What [`Store::seal`] has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sealing {
    /// A plaintext document, which is encrypted now.
    Sealed,
    AlreadySealed,
    Nothing,
}

/// The longest pause between two looks at a lease that somebody else holds: so soon is a lease seen that was given back.
const LEASE_POLL: Duration = Duration::from_millis(250);

// === impl Store ===

impl Store {
    /// Opens the configured store. Does not create a grant; a file store's folder must exist; a database is connected to when
    /// it is first needed. `ca_file` holds trust anchors (PEM) beside the built-in ones, for the database's certificate.
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
        }
    }

    /// `file`, `memory`, `postgres`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::File(_) => "file",
            Self::Memory(_) => "memory",
            #[cfg(feature = "postgres")]
            Self::Postgres(_) => "postgres",
        }
    }

    /// Makes what the store needs and lacks: the database's table. Before the first use, by each command that writes.
    pub async fn prepare(&self) -> Result<(), StoreError> {
        match self {
            Self::File(_) | Self::Memory(_) => Ok(()),
            #[cfg(feature = "postgres")]
            Self::Postgres(store) => store.prepare().await,
        }
    }

    /// What it holds; `None`: no grant was ever stored.
    pub async fn load(&self) -> Result<Option<Record>, StoreError> {
        match self {
            Self::File(store) => store.load().await,
            Self::Memory(store) => Ok(store.load()),
            #[cfg(feature = "postgres")]
            Self::Postgres(store) => store.load().await,
        }
    }

    /// Asks for the lease once, without waiting. Who has it already is busy too, whatever its name: the lease keeps apart the
    /// tasks of one process as well. A [`Lease`] that was dropped without [`Store::release`], or whose release failed, does not
    /// delay the handle that took it.
    pub async fn lease(&self, owner: &str, duration: Duration) -> Result<Leased, StoreError> {
        match self {
            Self::File(store) => store.lease(owner, duration).await,
            Self::Memory(store) => Ok(store.lease(duration)),
            #[cfg(feature = "postgres")]
            Self::Postgres(store) => store.lease(owner, duration).await,
        }
    }

    /// Gives the lease back, if it is still the present one. If that fails, others wait until its duration is over.
    pub async fn release(&self, lease: Lease) {
        match self {
            Self::File(store) => store.release(lease),
            Self::Memory(store) => store.release(&lease),
            #[cfg(feature = "postgres")]
            Self::Postgres(store) => store.release(&lease).await,
        }
    }

    /// Replaces the whole record, durably, if the store holds what is expected.
    pub async fn write(&self, expect: Expect, record: &Record) -> Result<Written, StoreError> {
        match self {
            Self::File(store) => store.write(expect, record).await,
            Self::Memory(store) => Ok(store.write(expect, record)),
            #[cfg(feature = "postgres")]
            Self::Postgres(store) => store.write(expect, record).await,
        }
    }

    /// Puts a record in the place of a damaged one, which is kept aside first: for a person who gives a new grant, never for
    /// the refresher. What can be read, needs another key or comes from a newer version stays.
    pub async fn replace_damaged(&self, record: &Record) -> Result<Written, StoreError> {
        match self {
            Self::File(store) => store.replace_damaged(record).await,
            Self::Memory(store) => Ok(store.write(Expect { version: None, fence: None }, record)),
            #[cfg(feature = "postgres")]
            Self::Postgres(store) => store.replace_damaged(record).await,
        }
    }

    /// Encrypts a plaintext document with the first of `store.keys`: only when a person asks for it. Who may have written that
    /// document is for them to know.
    pub async fn seal(&self) -> Result<Sealing, StoreError> {
        match self {
            Self::File(store) => store.seal().await,
            Self::Memory(_) => Ok(Sealing::Nothing),
            #[cfg(feature = "postgres")]
            Self::Postgres(store) => store.seal().await,
        }
    }

    /// Returns when the stored record may have changed since the last call (before the first one: since the store was
    /// opened); within a second of the change. Its own writes count. Errors are waited out. For one watcher a `Store`.
    pub async fn changed(&self) {
        match self {
            Self::File(store) => store.changed().await,
            Self::Memory(store) => store.changed().await,
            #[cfg(feature = "postgres")]
            Self::Postgres(store) => store.changed().await,
        }
    }
}

// === impl Lease ===

impl Lease {
    /// For how long nobody else can take it, by this process's monotonic clock.
    pub fn remaining(&self) -> Duration {
        self.duration.saturating_sub(self.asked.elapsed())
    }
}

#[cfg(test)]
mod tests;
