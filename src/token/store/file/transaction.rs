//! The lock under which the store is read and changed in one step. It is held for milliseconds.

use std::fs::{File, TryLockError};
use std::io;
use std::time::{Duration, Instant};

use rustix::fs::fstat;

use super::state_dir::{Access, Dir};
use crate::token::store::StoreError;

/// Holds the lock until it is dropped.
#[derive(Debug)]
pub(super) struct Transaction {
    _lock: File,
}

const LOCK: &str = ".lock";
/// Longer than any transaction. After this time, the disk or another process hangs, and a person must know.
const LIMIT: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(5);

// === impl Transaction ===

impl Transaction {
    /// Waits for the lock. Blocks.
    pub(super) fn begin(dir: &Dir<'_>) -> Result<Self, StoreError> {
        Self::begin_within(dir, LIMIT)
    }

    /// Polls, because `flock` has no time limit.
    #[allow(clippy::disallowed_methods, reason = "on a thread that is there to wait, and no worker's")]
    fn begin_within(dir: &Dir<'_>, limit: Duration) -> Result<Self, StoreError> {
        let begun = Instant::now();
        loop {
            match Self::try_begin(dir).map_err(|error| dir.unavailable("lock", LOCK, &error))? {
                Some(transaction) => return Ok(transaction),
                None if begun.elapsed() < limit => std::thread::sleep(POLL),
                None => {
                    return Err(StoreError::Unavailable(format!(
                        "another process has held {} for more than {limit:?}; `fuser -v` on that file shows which",
                        dir.path(LOCK).display()
                    )));
                }
            }
        }
    }

    /// `None`: another process has the lock. The file is never written, changed or removed, so all processes lock the same file.
    pub(super) fn try_begin(dir: &Dir<'_>) -> io::Result<Option<Self>> {
        let file = match dir.open(LOCK, Access::Lock)? {
            Some(file) => file,
            None => match dir.create(LOCK) {
                Ok(file) => file,
                // Another process has just created it.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(None),
                Err(error) => return Err(error),
            },
        };
        Self::lock(file, dir)
    }

    /// `None`: another process has the lock, or the file has lost its name. A person may have removed it between its opening and its
    /// locking. Then the next process would lock another file of the same name.
    fn lock(file: File, dir: &Dir<'_>) -> io::Result<Option<Self>> {
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        let ours = fstat(&file)?;
        let named = dir.stat(LOCK)?.is_some_and(|named| (named.st_dev, named.st_ino) == (ours.st_dev, ours.st_ino));
        Ok(named.then_some(Self { _lock: file }))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::state_dir::StateDir;
    use super::*;

    #[test]
    fn a_lock_that_is_held_is_waited_for_and_then_named() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::new(&folder.path().join("grant.json"));
        let held = state.run(Transaction::begin).unwrap();
        let error = state.run(|dir| Transaction::begin_within(dir, Duration::from_millis(30))).unwrap_err().to_string();
        assert!(error.contains("grant.json.lock for more than 30ms"), "{error}");

        let waiting = std::thread::spawn({
            let state = state.clone();
            move || state.run(Transaction::begin).map(drop)
        });
        drop(held);
        waiting.join().unwrap().unwrap();
    }

    #[test]
    fn a_lock_file_that_was_removed_lets_nobody_in() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("grant.json.lock");
        let lock = |file| {
            StateDir::new(&folder.path().join("grant.json")).run(|dir| Ok(Transaction::lock(file, dir).unwrap()))
        };
        let opened = || File::create(&path).unwrap();
        let removed = opened();
        fs::remove_file(&path).unwrap();
        assert!(lock(removed).unwrap().is_none());
        let replaced = opened();
        fs::rename(&path, folder.path().join("away")).unwrap();
        let named = opened();
        assert!(lock(replaced).unwrap().is_none());
        assert!(lock(named).unwrap().is_some());
    }
}
