//! The file store: one machine, several processes (a rolling restart overlaps two).
//!
//! | file | what it is |
//! |---|---|
//! | `grant.json` | the document; replaced as a whole, so a reader sees the old one or the new one and needs no lock |
//! | `grant.json.lock` | locked for the milliseconds of one transaction (`transaction`) |
//! | `grant.json.lease` | who may present the refresh token; locked by its holder as long as it lives (`lease`) |
//! | `grant.json.damaged-…` | what was found in the document's place and could not be read |
//!
//! Locks are `flock(2)`: they belong to the open file, so they end with their process however it ends, and two stores in one
//! process exclude each other as two processes do. They do not reach across machines, nor does this store.

mod disk;
mod lease;
mod transaction;

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use self::lease::Claims;
use self::transaction::Transaction;
use super::document::{self, Unreadable};
use super::record::Meets;
use super::{Expect, Hold, Lease, Leased, Record, Sealer, StoreError, Written};

/// A document in a file.
#[derive(Debug)]
pub struct FileStore {
    files: Arc<Files>,
    /// The document as the watcher last saw it.
    seen: Mutex<Option<Stamp>>,
}

#[derive(Debug)]
struct Files {
    document: PathBuf,
    claims: Claims,
    sealer: Sealer,
}

/// Tells one written document from the next, without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
}

/// Four looks a second: a peer's token is known well within one.
const WATCH_POLL: Duration = Duration::from_millis(250);

// === impl FileStore ===

impl FileStore {
    pub(super) async fn open(path: &Path, sealer: Sealer) -> Result<Self, StoreError> {
        let path = path.to_owned();
        let (document, seen) = blocking(move || {
            let document = disk::resolve(&path)?;
            let seen = stamp(fs::metadata(&document)).unwrap_or_default();
            Ok((document, seen))
        })
        .await?;
        let claims = Claims::new(document.clone());
        Ok(Self { files: Arc::new(Files { document, claims, sealer }), seen: Mutex::new(seen) })
    }

    pub(super) async fn load(&self) -> Result<Option<Record>, StoreError> {
        self.run(|files| files.load()).await
    }

    pub(super) async fn lease(&self, owner: &str, duration: Duration) -> Result<Leased, StoreError> {
        let asked = Instant::now();
        let owner = owner.to_owned();
        self.run(move |files| {
            let transaction = Transaction::begin(&files.document)?;
            files.claims.take(&transaction, &owner, duration, asked)
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
        self.run(move |files| files.write(expect, &record)).await
    }

    pub(super) async fn replace_damaged(&self, record: &Record) -> Result<Written, StoreError> {
        let record = record.clone();
        self.run(move |files| files.replace_damaged(&record)).await
    }

    pub(super) async fn changed(&self) {
        loop {
            if let Ok(now) = stamp(tokio::fs::metadata(&self.files.document).await) {
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
        F: FnOnce(&Files) -> Result<T, StoreError> + Send + 'static,
    {
        let files = Arc::clone(&self.files);
        blocking(move || work(&files)).await
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(StoreError::Unavailable(format!("the file store's work did not end: {error}"))),
    }
}

/// `Ok(None)`: there is no document. An error other than that tells nothing of a change.
fn stamp(metadata: io::Result<fs::Metadata>) -> io::Result<Option<Stamp>> {
    match metadata {
        Ok(metadata) => Ok(Some(Stamp {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
        })),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

// === impl Files ===

impl Files {
    fn load(&self) -> Result<Option<Record>, StoreError> {
        let Some(bytes) = disk::read(&self.document)? else { return Ok(None) };
        match document::decode(&bytes, &self.sealer) {
            Ok(record) => Ok(Some(record)),
            Err(damage @ Unreadable::Damaged(_)) => match Transaction::begin(&self.document) {
                // Looked at again under the lock: another process may just have kept it aside, or a person mended it.
                Ok(transaction) => self.present(&transaction),
                Err(error) => Err(StoreError::Damaged(format!(
                    "{}; it stays as it is, and no copy could be kept: {error}",
                    self.at(damage)
                ))),
            },
            Err(unreadable) => Err(self.at(unreadable)),
        }
    }

    fn write(&self, expect: Expect, record: &Record) -> Result<Written, StoreError> {
        let transaction = Transaction::begin(&self.document)?;
        if let Some(fence) = expect.fence
            && !self.claims.is_present(&transaction, fence)?
        {
            return Ok(Written::Fenced);
        }
        let present = self.present(&transaction)?;
        match expect.meets(present.as_ref(), record) {
            Meets::Expected => self.replace(&transaction, record).map(|()| Written::Done),
            // An earlier attempt may have failed after its rename: only now is it certain to outlive a power cut.
            Meets::Wanted => disk::sync(&self.document).map(|()| Written::Done),
            Meets::Other => Ok(Written::Superseded(present.map(Box::new))),
        }
    }

    fn replace_damaged(&self, record: &Record) -> Result<Written, StoreError> {
        let transaction = Transaction::begin(&self.document)?;
        if let Some(bytes) = disk::read(&self.document)? {
            match document::decode(&bytes, &self.sealer) {
                Ok(present) => return Ok(Written::Superseded(Some(Box::new(present)))),
                Err(Unreadable::Damaged(_)) => disk::keep_aside(&self.document, &bytes)?,
                Err(unreadable) => return Err(self.at(unreadable)),
            };
        }
        self.replace(&transaction, record).map(|()| Written::Done)
    }

    /// What the document holds; a damaged one is kept aside before it is refused.
    fn present(&self, _: &Transaction) -> Result<Option<Record>, StoreError> {
        let Some(bytes) = disk::read(&self.document)? else { return Ok(None) };
        match document::decode(&bytes, &self.sealer) {
            Ok(record) => Ok(Some(record)),
            Err(damage @ Unreadable::Damaged(_)) => {
                let kept = match disk::keep_aside(&self.document, &bytes) {
                    Ok(copy) => format!("a copy is kept as {}", copy.display()),
                    Err(error) => error.to_string(),
                };
                Err(StoreError::Damaged(format!(
                    "{}; it stays as it is, and {kept}; mend it, or give a new grant with `login` or `import`",
                    self.at(damage)
                )))
            }
            Err(unreadable) => Err(self.at(unreadable)),
        }
    }

    fn replace(&self, _: &Transaction, record: &Record) -> Result<(), StoreError> {
        let bytes = document::encode(record, &self.sealer)
            .map_err(|error| StoreError::Unavailable(format!("{}: {error}", self.document.display())))?;
        disk::replace(&self.document, &bytes)
    }

    fn at(&self, unreadable: Unreadable) -> StoreError {
        unreadable.at(&self.document.display().to_string())
    }
}

#[cfg(test)]
mod tests;
