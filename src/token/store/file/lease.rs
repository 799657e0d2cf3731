//! The lease file: who may present the refresh token.
//!
//! Its holder keeps the file locked. A lock that can be had says that the holder is gone or gave the lease back, and it is
//! taken at once. A lock that can't be had says only that a process lives: it may be stopped, or stuck. So a taker that has
//! seen the same claim for as long as the claim says, by its own monotonic clock, takes over by putting a new file in its
//! place. The old holder keeps a lock on a file without a name, and its fencing number is no longer the present one.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::disk;
use super::transaction::Transaction;
use crate::token::store::{Hold, LEASE_POLL, Lease, Leased, StoreError};

/// The lease file, and what this process has seen in it.
#[derive(Debug)]
pub(super) struct Claims {
    document: PathBuf,
    path: PathBuf,
    /// A claim of somebody else, and when it was first seen.
    sight: Mutex<Option<(Claim, Instant)>>,
}

/// The lease file's content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Claim {
    owner: String,
    fence: u64,
    duration_ms: u64,
}

// === impl Claims ===

impl Claims {
    pub(super) fn new(document: PathBuf) -> Self {
        let path = disk::beside(&document, ".lease");
        Self { document, path, sight: Mutex::new(None) }
    }

    /// The transaction closes the race of two takers who both find the lease free, or run out.
    pub(super) fn take(
        &self,
        _: &Transaction,
        owner: &str,
        duration: Duration,
        asked: Instant,
    ) -> Result<Leased, StoreError> {
        let (mut last, mut overdue) = (None, false);
        if let Some((file, claim)) = self.read()? {
            if self.is_locked(&file)? {
                // What can't be read names no duration; then our own is the best guess at a peer's.
                let claim =
                    claim.clone().unwrap_or(Claim { owner: String::new(), fence: 0, duration_ms: millis(duration) });
                let left = self.left(&claim);
                if !left.is_zero() {
                    return Ok(Leased::Busy { retry_in: left.min(LEASE_POLL) });
                }
                overdue = true;
            }
            last = claim;
        }
        let fence = next_fence(last.as_ref());
        let claim = Claim { owner: owner.to_owned(), fence, duration_ms: millis(duration) };
        let file = self.put(&claim).map_err(|error| disk::unavailable("write", &self.path, &error))?;
        if overdue {
            let holder = last.map(|claim: Claim| claim.owner);
            tracing::warn!(holder, fence, "took the lease over from a process that lives but has let it run out");
        }
        Ok(Leased::Held(Lease { fence, asked, duration, hold: Hold::File(file) }))
    }

    /// Whether the lease with this number is the present one, and was not given back.
    pub(super) fn is_present(&self, _: &Transaction, fence: u64) -> Result<bool, StoreError> {
        match self.read()? {
            Some((file, Some(claim))) if claim.fence == fence => self.is_locked(&file),
            _ => Ok(false),
        }
    }

    /// How long this claim still has to be waited for.
    fn left(&self, claim: &Claim) -> Duration {
        let mut sight = self.sight.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let since = match &*sight {
            Some((seen, since)) if seen == claim => *since,
            _ => {
                *sight = Some((claim.clone(), now));
                now
            }
        };
        Duration::from_millis(claim.duration_ms).saturating_sub(now.duration_since(since))
    }

    fn read(&self) -> Result<Option<(File, Option<Claim>)>, StoreError> {
        let failed = |error| disk::unavailable("read", &self.path, &error);
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        let mut bytes = Vec::new();
        (&file).take(64 * 1024).read_to_end(&mut bytes).map_err(failed)?;
        Ok(Some((file, serde_json::from_slice(&bytes).ok())))
    }

    /// Leaves the file locked if it was free; closing it undoes that.
    fn is_locked(&self, file: &File) -> Result<bool, StoreError> {
        match file.try_lock() {
            Ok(()) => Ok(false),
            Err(TryLockError::WouldBlock) => Ok(true),
            Err(TryLockError::Error(error)) => Err(disk::unavailable("lock", &self.path, &error)),
        }
    }

    /// Locked before it gets its name, so that nobody ever sees it free. Not flushed to the disk: after a power cut no holder
    /// lives, and a claim that was lost or cut is followed by a higher number all the same (see [`next_fence`]).
    fn put(&self, claim: &Claim) -> io::Result<File> {
        let temporary = disk::beside(&self.path, ".tmp");
        disk::remove(&temporary)?;
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        let placed = (|| {
            disk::give_to_owner(&file, &self.document);
            file.write_all(&serde_json::to_vec(claim)?)?;
            file.try_lock()?;
            fs::rename(&temporary, &self.path)
        })();
        if let Err(error) = placed {
            let _ = disk::remove(&temporary);
            return Err(error);
        }
        Ok(file)
    }
}

/// One more than the last. Where that is lost (somebody removed the file) a holder may still be out there with it, so the
/// count begins at the time in milliseconds: more than any count that began earlier has reached, at fewer than a thousand
/// leases a second.
fn next_fence(last: Option<&Claim>) -> u64 {
    let begin = || u64::try_from(Timestamp::now().as_millisecond()).unwrap_or(1);
    last.and_then(|claim| claim.fence.checked_add(1)).unwrap_or_else(begin)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
