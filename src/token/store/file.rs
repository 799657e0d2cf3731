//! The file store, for several processes on one machine. A rolling restart overlaps two processes.
//!
//! | file | content |
//! |---|---|
//! | `grant.json` | the document. It is replaced as a whole, so a reader sees the old or the new one and needs no lock |
//! | `grant.json.tmp` | the next document until it is renamed. If a killed process left the result of a token call, it is adopted (`leftover`) |
//! | `grant.json.lock` | locked during one transaction, for milliseconds (`transaction`) |
//! | `grant.json.lease` | the lease. Its holder keeps it locked (`lease`) |
//! | `grant.json.damaged-…` | a copy of a document that could not be read |
//!
//! Locks are `flock(2)`. They belong to the open file, so they end with their process, and two stores in one process exclude each
//! other. They do not work across machines, so neither does this store.

mod disk;
mod lease;
mod leftover;
mod state_dir;
mod transaction;

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::fs::Stat;
use tokio::time::Instant;

use self::lease::Claims;
use self::state_dir::{DOCUMENT, Dir, StateDir};
use self::transaction::Transaction;
use super::document::{self, Form, Unreadable};
use super::record::Meets;
use super::{Backend, Expect, Hold, Lease, Leased, Look, Record, Sealer, Sealing, StoreError, Written};

/// A store in a file.
#[derive(Debug)]
pub struct FileStore {
    files: Arc<Files>,
    /// The document that the watch last saw.
    seen: Mutex<Option<Stamp>>,
}

#[derive(Debug)]
struct Files {
    state: StateDir,
    claims: Claims,
    sealer: Sealer,
}

/// Distinguishes two written documents without reading them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: i64,
    modified: (i64, u64),
}

/// The watch polls four times per second, so a peer's token is known well within one.
const WATCH_POLL: Duration = Duration::from_millis(250);

// === impl FileStore ===

impl FileStore {
    pub(super) async fn open(path: &Path, sealer: Sealer) -> Result<Self, StoreError> {
        let files = Arc::new(Files { state: StateDir::new(path), claims: Claims::default(), sealer });
        let store = Self { files, seen: Mutex::new(None) };
        let seen = store.run(|_, dir| Ok(stamp(dir))).await?.unwrap_or_default();
        Ok(Self { seen: Mutex::new(seen), ..store })
    }

    /// Runs work on another thread, because a disk can hang. The work continues to its end even if its caller is dropped.
    async fn run<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Files, &Dir<'_>) -> Result<T, StoreError> + Send + 'static,
    {
        let files = Arc::clone(&self.files);
        match tokio::task::spawn_blocking(move || files.state.run(|dir| work(&files, dir))).await {
            Ok(result) => result,
            Err(error) => Err(StoreError::Unavailable(format!("the file store's work did not end: {error}"))),
        }
    }
}

impl Backend for FileStore {
    async fn load(&self) -> Result<Option<Record>, StoreError> {
        self.run(Files::load).await
    }

    async fn look(&self) -> Result<Look, StoreError> {
        self.run(|files, dir| {
            let (overdue, holder) = (lease::overdue(dir)?, lease::holder(dir)?);
            Ok(Look { record: files.look(dir), overdue, holder, rights: None, cluster: None })
        })
        .await
    }

    async fn lease(&self, owner: &str, duration: Duration) -> Result<Leased, StoreError> {
        let asked = Instant::now();
        let owner = owner.to_owned();
        self.run(move |files, dir| {
            let transaction = files.begin(dir)?;
            files.claims.take(dir, &transaction, &owner, duration, asked)
        })
        .await
    }

    async fn release(&self, lease: Lease) {
        // If unlocking fails, closing the file unlocks it too.
        if let Hold::File(file) = lease.hold {
            let _ = file.unlock();
        }
    }

    async fn write(&self, expect: Expect, record: &Record) -> Result<Written, StoreError> {
        let record = record.clone();
        self.run(move |files, dir| files.write(dir, expect, &record)).await
    }

    async fn replace_damaged(&self, record: &Record) -> Result<Written, StoreError> {
        let record = record.clone();
        self.run(move |files, dir| files.replace_damaged(dir, &record)).await
    }

    async fn seal(&self) -> Result<Sealing, StoreError> {
        self.run(|files, dir| files.seal(dir)).await
    }

    async fn changed(&self) {
        loop {
            // An unreachable directory is a change too. The reader finds out why.
            let now = self.run(|_, dir| stamp(dir)).await.unwrap_or_default();
            {
                let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
                if *seen != now {
                    *seen = now;
                    return;
                }
            }
            tokio::time::sleep(WATCH_POLL).await;
        }
    }
}

/// `None`: there is no document.
fn stamp(dir: &Dir<'_>) -> Result<Option<Stamp>, StoreError> {
    let stat = dir.stat(DOCUMENT).map_err(|error| dir.unavailable("look at", DOCUMENT, &error))?;
    Ok(stat.as_ref().map(Stamp::from))
}

// === impl Stamp ===

impl From<&Stat> for Stamp {
    fn from(stat: &Stat) -> Self {
        let (device, inode, size) = (stat.st_dev, stat.st_ino, stat.st_size);
        Self { device, inode, size, modified: (stat.st_mtime, stat.st_mtime_nsec) }
    }
}

// === impl Files ===

impl Files {
    /// Begins a transaction from the last written document, even if its writer was killed before the rename.
    fn begin(&self, dir: &Dir<'_>) -> Result<Transaction, StoreError> {
        let transaction = Transaction::begin(dir)?;
        leftover::complete(dir, &transaction, &self.sealer)?;
        Ok(transaction)
    }

    fn load(&self, dir: &Dir<'_>) -> Result<Option<Record>, StoreError> {
        // Without the lock: a live writer completes its own write, and a reader without write permission reads what exists.
        if leftover::exists(dir)?
            && let Ok(Some(transaction)) = Transaction::try_begin(dir)
        {
            leftover::complete(dir, &transaction, &self.sealer)?;
        }
        let Some(bytes) = disk::read(dir, DOCUMENT)? else { return Ok(None) };
        match document::decode(&bytes, &self.sealer) {
            Ok(record) => Ok(Some(record)),
            Err(damage @ Unreadable::Damaged(_)) => match self.begin(dir) {
                // Read again under the lock: another process may have kept it aside, or a person may have repaired it.
                Ok(transaction) => self.present(dir, &transaction),
                Err(error) => Err(StoreError::Damaged(format!(
                    "{}; it stays as it is, and no copy could be kept: {error}",
                    Self::at(dir, damage)
                ))),
            },
            Err(unreadable) => Err(Self::at(dir, unreadable)),
        }
    }

    fn look(&self, dir: &Dir<'_>) -> Result<Option<Record>, StoreError> {
        let Some(bytes) = disk::look(dir, DOCUMENT)? else { return Ok(None) };
        document::decode(&bytes, &self.sealer).map(Some).map_err(|unreadable| Self::at(dir, unreadable))
    }

    fn write(&self, dir: &Dir<'_>, expect: Expect, record: &Record) -> Result<Written, StoreError> {
        let transaction = self.begin(dir)?;
        if let Some(fence) = expect.fence
            && !self.claims.is_present(dir, &transaction, fence)?
        {
            return Ok(Written::Fenced);
        }
        let present = self.present(dir, &transaction)?;
        match expect.meets(present.as_ref(), record) {
            Meets::Expected => self.replace(dir, &transaction, record).map(|()| Written::Done),
            // An earlier attempt may have failed after its rename. The flush makes it survive a power failure.
            Meets::Wanted => disk::sync(dir).map(|()| Written::Done),
            Meets::Other => Ok(Written::Superseded(present.map(Box::new))),
        }
    }

    fn replace_damaged(&self, dir: &Dir<'_>, record: &Record) -> Result<Written, StoreError> {
        let transaction = self.begin(dir)?;
        if let Some(bytes) = disk::read(dir, DOCUMENT)? {
            match document::decode(&bytes, &self.sealer) {
                Ok(present) => return Ok(Written::Superseded(Some(Box::new(present)))),
                Err(Unreadable::Damaged(_)) => disk::keep_aside(dir, &bytes)?,
                Err(unreadable) => return Err(Self::at(dir, unreadable)),
            };
        }
        self.replace(dir, &transaction, record).map(|()| Written::Done)
    }

    fn seal(&self, dir: &Dir<'_>) -> Result<Sealing, StoreError> {
        let transaction = self.begin(dir)?;
        let Some(bytes) = disk::read(dir, DOCUMENT)? else { return Ok(Sealing::Nothing) };
        match document::decode_any(&bytes, &self.sealer) {
            Ok((_, Form::Sealed)) => Ok(Sealing::AlreadySealed),
            Ok((record, Form::Plaintext)) => self.replace(dir, &transaction, &record).map(|()| Sealing::Sealed),
            Err(unreadable) => Err(Self::at(dir, unreadable)),
        }
    }

    /// The record of the document. A damaged document is kept aside before it is refused.
    fn present(&self, dir: &Dir<'_>, _: &Transaction) -> Result<Option<Record>, StoreError> {
        let Some(bytes) = disk::read(dir, DOCUMENT)? else { return Ok(None) };
        match document::decode(&bytes, &self.sealer) {
            Ok(record) => Ok(Some(record)),
            Err(damage @ Unreadable::Damaged(_)) => {
                let kept = match disk::keep_aside(dir, &bytes) {
                    Ok(copy) => format!("a copy is kept as {}", copy.display()),
                    Err(error) => error.to_string(),
                };
                Err(StoreError::Damaged(format!(
                    "{}; it stays as it is, and {kept}; mend it, or give a new grant with `login` or `import`",
                    Self::at(dir, damage)
                )))
            }
            Err(unreadable) => Err(Self::at(dir, unreadable)),
        }
    }

    fn replace(&self, dir: &Dir<'_>, _: &Transaction, record: &Record) -> Result<(), StoreError> {
        let bytes = document::encode(record, &self.sealer)
            .map_err(|error| StoreError::Unavailable(format!("{}: {error}", dir.path(DOCUMENT).display())))?;
        disk::replace(dir, &bytes)
    }

    fn at(dir: &Dir<'_>, unreadable: Unreadable) -> StoreError {
        unreadable.at(&dir.path(DOCUMENT).display().to_string())
    }
}

#[cfg(test)]
mod tests;
