//! One store contract, from one process to many: lease, load, write by compare-and-set, watch.
//!
//! * A **lease** is the right to present the refresh token. It has an owner, a fencing number that grows with each lease, and a
//!   duration that outlives the longest token call. Who wants it while another holds it waits for the duration that the holder
//!   wrote, by a monotonic clock of its own (or the database's).
//! * A **write** states what it expects to find ([`Version`]: generation *and* fingerprint). An intent also states its lease,
//!   since it must come from the present holder. A commit does not: a late answer of a holder that was paused may be the only
//!   living successor, and is kept if the store still holds what was presented.
//! * A **watch** tells that something may have changed; the reader loads and sees.

mod file;
mod memory;
#[cfg(feature = "postgres")]
mod postgres;
mod record;
mod seal;

use std::time::Duration;

pub use record::{Binding, Intent, LastRefresh, Record, Version};
pub use seal::Sealer;

use crate::config::StoreConfig;

/// Where the grant lives.
pub enum Store {
    File(file::FileStore),
    Memory(memory::MemoryStore),
    #[cfg(feature = "postgres")]
    Postgres(postgres::PostgresStore),
}

/// The right to present the refresh token until [`Lease::expires`](Lease) runs out. Give it back with [`Store::release`].
#[derive(Debug)]
pub struct Lease {
    /// Grows with each lease taken.
    pub fence: u64,
    /// What the store needs to give it back (the file store: its lock).
    hold: Hold,
}

#[derive(Debug)]
enum Hold {
    Nothing,
    File(std::fs::File),
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

/// What a write expects.
#[derive(Clone, Copy, Debug)]
pub struct Expect {
    /// The version that the store must hold; `None`: no record at all.
    pub version: Option<Version>,
    /// The fencing number of the lease that must be the present one; `None`: whoever holds it.
    pub fence: Option<u64>,
}

/// Why the store could not do it. The text names the place (a path, a host) and the mend, never a secret.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// It could not be reached, read or written; trying again may help.
    #[error("{0}")]
    Unavailable(String),
    /// What it holds is not a grant document; it was kept aside or left as it is, and nothing was overwritten.
    #[error("{0}")]
    Damaged(String),
    /// What it holds is encrypted with a key that is not among `store.keys`; nothing was changed.
    #[error("{0}")]
    WrongKey(String),
}

// === impl Store ===

impl Store {
    /// Opens the configured store. Does not create a grant; a file store's folder must exist.
    pub async fn open(config: &StoreConfig) -> Result<Self, StoreError> {
        let _ = config;
        todo!()
    }

    /// `file`, `memory`, `postgres`.
    pub fn name(&self) -> &'static str {
        todo!()
    }

    /// What it holds; `None`: no grant was ever stored.
    pub async fn load(&self) -> Result<Option<Record>, StoreError> {
        todo!()
    }

    /// Asks for the lease once, without waiting.
    pub async fn lease(&self, owner: &str, duration: Duration) -> Result<Leased, StoreError> {
        let _ = (owner, duration);
        todo!()
    }

    /// Gives the lease back, if it is still the present one.
    pub async fn release(&self, lease: Lease) {
        let _ = lease;
        todo!()
    }

    /// Replaces the whole record, durably, if the store holds what is expected.
    pub async fn write(&self, expect: Expect, record: &Record) -> Result<Written, StoreError> {
        let _ = (expect, record);
        todo!()
    }

    /// Returns when the stored record may have changed since the last call (or the first one began); within a second of the
    /// change. Errors are waited out.
    pub async fn changed(&self) {
        todo!()
    }
}
