//! The lock under which the store is looked at and changed in one step. Held for milliseconds.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use super::disk;
use crate::token::store::StoreError;

/// The lock, while it lives.
#[derive(Debug)]
pub(super) struct Transaction {
    _lock: File,
}

/// Longer than any transaction takes, and short enough to tell a person that the disk or another process hangs.
const LIMIT: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(5);

// === impl Transaction ===

impl Transaction {
    /// Waits for the lock, on a thread that may wait.
    pub(super) fn begin(document: &Path) -> Result<Self, StoreError> {
        Self::begin_within(document, LIMIT)
    }

    /// Asks again and again, since `flock` itself knows no time limit.
    #[allow(clippy::disallowed_methods, reason = "on a thread that is there to wait, and no worker's")]
    fn begin_within(document: &Path, limit: Duration) -> Result<Self, StoreError> {
        let path = disk::beside(document, ".lock");
        let begun = Instant::now();
        loop {
            match Self::try_begin(&path, document)? {
                Some(transaction) => return Ok(transaction),
                None if begun.elapsed() < limit => std::thread::sleep(POLL),
                None => {
                    return Err(StoreError::Unavailable(format!(
                        "another process has held {} for more than {limit:?}; `fuser -v` on that file shows which",
                        path.display()
                    )));
                }
            }
        }
    }

    fn try_begin(path: &Path, document: &Path) -> Result<Option<Self>, StoreError> {
        let failed = |error| disk::unavailable("lock", path, &error);
        // Not truncated and never removed: the file's one use is that everybody locks the same one.
        let file =
            OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path).map_err(failed)?;
        disk::give_to_owner(&file, document);
        Self::lock(file, path).map_err(failed)
    }

    /// `None`: somebody else has it, or it is not the file of this name any more. Who tidied up may have removed it between its
    /// opening and its locking, and a later one would then lock another file of the same name.
    fn lock(file: File, path: &Path) -> io::Result<Option<Self>> {
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        let ours = file.metadata()?;
        let named = fs::metadata(path).is_ok_and(|named| (named.dev(), named.ino()) == (ours.dev(), ours.ino()));
        Ok(named.then_some(Self { _lock: file }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_that_is_held_is_waited_for_and_then_named() {
        let folder = tempfile::tempdir().unwrap();
        let document = folder.path().join("grant.json");
        let held = Transaction::begin(&document).unwrap();
        let error = Transaction::begin_within(&document, Duration::from_millis(30)).unwrap_err().to_string();
        assert!(error.contains("grant.json.lock for more than 30ms"), "{error}");

        let waiting = std::thread::spawn({
            let document = document.clone();
            move || Transaction::begin(&document).map(drop)
        });
        drop(held);
        waiting.join().unwrap().unwrap();
    }

    #[test]
    fn a_lock_file_that_was_removed_lets_nobody_in() {
        let folder = tempfile::tempdir().unwrap();
        let document = folder.path().join("grant.json");
        let path = disk::beside(&document, ".lock");
        let opened = || File::create(&path).unwrap();
        let removed = opened();
        fs::remove_file(&path).unwrap();
        assert!(Transaction::lock(removed, &path).unwrap().is_none());
        let replaced = opened();
        fs::rename(&path, folder.path().join("away")).unwrap();
        let named = opened();
        assert!(Transaction::lock(replaced, &path).unwrap().is_none());
        assert!(Transaction::lock(named, &path).unwrap().is_some());
    }
}
