//! The file store: one machine, several processes (a rolling restart overlaps two).
//!
//! | file | what it is |
//! |---|---|
//! | `grant.json` | the document; replaced as a whole, so a reader sees the old one or the new one and needs no lock |
//! | `grant.json.tmp` | the next document until it is renamed; the outcome of a token call that a killed process left is adopted (`leftover`) |
//! | `grant.json.lock` | locked for the milliseconds of one transaction (`transaction`) |
//! | `grant.json.lease` | who may present the refresh token; locked by its holder as long as it lives (`lease`) |
//! | `grant.json.damaged-…` | what was found in the document's place and could not be read |
//!
//! Locks are `flock(2)`: they belong to the open file, so they end with their process however it ends, and two stores in one
//! process exclude each other as two processes do. They do not reach across machines, nor does this store.

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
use super::{Expect, Hold, Lease, Leased, Record, Sealer, Sealing, StoreError, Written};

/// A document in a file.
#[derive(Debug)]
pub struct FileStore {
    files: Arc<Files>,
    /// The document as the watcher last saw it.
    seen: Mutex<Option<Stamp>>,
}

#[derive(Debug)]
struct Files {
    state: StateDir,
    claims: Claims,
    sealer: Sealer,
}

/// Tells one written document from the next, without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: i64,
    modified: (i64, u64),
}

/// Four looks a second: a peer's token is known well within one.
const WATCH_POLL: Duration = Duration::from_millis(250);

// === impl FileStore ===

impl FileStore {
    pub(super) async fn open(path: &Path, sealer: Sealer) -> Result<Self, StoreError> {
        let files = Arc::new(Files { state: StateDir::new(path), claims: Claims::default(), sealer });
        let store = Self { files, seen: Mutex::new(None) };
        let seen = store.run(|_, dir| Ok(stamp(dir))).await?.unwrap_or_default();
        Ok(Self { seen: Mutex::new(seen), ..store })
    }

    pub(super) async fn load(&self) -> Result<Option<Record>, StoreError> {
        self.run(Files::load).await
    }

    pub(super) async fn lease(&self, owner: &str, duration: Duration) -> Result<Leased, StoreError> {
        let asked = Instant::now();
        let owner = owner.to_owned();
        self.run(move |files, dir| {
            let transaction = files.begin(dir)?;
            files.claims.take(dir, &transaction, &owner, duration, asked)
        })
        .await
    }

    pub(super) fn release(&self, lease: Lease) {
        // Nothing more is needed when the unlocking fails: the file is closed at once, and that unlocks it too.
        if let Hold::File(file) = lease.hold {
            let _ = file.unlock();
        }
    }

    pub(super) async fn write(&self, expect: Expect, record: &Record) -> Result<Written, StoreError> {
        let record = record.clone();
        self.run(move |files, dir| files.write(dir, expect, &record)).await
    }

    pub(super) async fn replace_damaged(&self, record: &Record) -> Result<Written, StoreError> {
        let record = record.clone();
        self.run(move |files, dir| files.replace_damaged(dir, &record)).await
    }

    pub(super) async fn seal(&self) -> Result<Sealing, StoreError> {
        self.run(|files, dir| files.seal(dir)).await
    }

    pub(super) async fn changed(&self) {
        loop {
            // A directory that cannot be reached any more is a change as well: the reader finds out why.
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

    /// Disks can hang: never on the runtime's thread. The work goes on to its end even if nobody waits for it any more.
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
    /// A transaction that starts from what the last writer wrote, even if that writer was killed before its rename.
    fn begin(&self, dir: &Dir<'_>) -> Result<Transaction, StoreError> {
        let transaction = Transaction::begin(dir)?;
        leftover::complete(dir, &transaction, &self.sealer)?;
        Ok(transaction)
    }

    fn load(&self, dir: &Dir<'_>) -> Result<Option<Record>, StoreError> {
        // Without the lock: a living writer completes its own write, and a reader that may not write reads what there is.
        if leftover::exists(dir)?
            && let Ok(Some(transaction)) = Transaction::try_begin(dir)
        {
            leftover::complete(dir, &transaction, &self.sealer)?;
        }
        let Some(bytes) = disk::read(dir, DOCUMENT)? else { return Ok(None) };
        match document::decode(&bytes, &self.sealer) {
            Ok(record) => Ok(Some(record)),
            Err(damage @ Unreadable::Damaged(_)) => match self.begin(dir) {
                // Looked at again under the lock: another process may just have kept it aside, or a person mended it.
                Ok(transaction) => self.present(dir, &transaction),
                Err(error) => Err(StoreError::Damaged(format!(
                    "{}; it stays as it is, and no copy could be kept: {error}",
                    Self::at(dir, damage)
                ))),
            },
            Err(unreadable) => Err(Self::at(dir, unreadable)),
        }
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
            // An earlier attempt may have failed after its rename: only now is it certain to outlive a power cut.
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

    /// What the document holds; a damaged one is kept aside before it is refused.
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
