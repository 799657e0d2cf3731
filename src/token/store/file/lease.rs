//! The lease file: who may present the refresh token.
//!
//! Its holder keeps the file locked. A lock that can be had says that the holder is gone or gave the lease back, and it is
//! taken at once. A lock that can't be had says only that a process lives: it may be stopped, or stuck. So a taker that has
//! seen the same claim for as long as the claim says, by its own monotonic clock, takes over by putting a new file in its
//! place. The old holder keeps a lock on a file without a name, and its fencing number is no longer the present one.

use std::fs::{File, TryLockError};
use std::io::{self, Read, Write};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use rustix::fs::fstat;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::state_dir::{Access, Dir};
use super::transaction::Transaction;
use crate::token::store::{Hold, LEASE_POLL, Lease, Leased, StoreError};

/// What this process has seen in the lease file.
#[derive(Debug, Default)]
pub(super) struct Claims {
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

const LEASE: &str = ".lease";
const TEMPORARY: &str = ".lease.tmp";

// === impl Claims ===

impl Claims {
    /// The transaction closes the race of two takers who both find the lease free, or run out.
    pub(super) fn take(
        &self,
        dir: &Dir<'_>,
        _: &Transaction,
        owner: &str,
        duration: Duration,
        asked: Instant,
    ) -> Result<Leased, StoreError> {
        let (mut last, mut overdue) = (None, false);
        if let Some((file, claim)) = read(dir)? {
            if is_locked(dir, &file)? {
                // What can't be read names no duration; then our own is the best guess at a peer's.
                let claim =
                    claim.clone().unwrap_or(Claim { owner: String::new(), fence: 0, duration_ms: millis(duration) });
                let left = self.left(&claim);
                if !left.is_zero() {
                    return Ok(Leased::Busy { retry_in: left.min(LEASE_POLL) });
                }
                overdue = true;
            }
            if claim.is_none()
                && !dir.is_ours(&fstat(&file).map_err(|error| dir.unavailable("read", LEASE, &error.into()))?)
            {
                let error = io::Error::other("this program did not make it: move it away");
                return Err(dir.unavailable("replace", LEASE, &error));
            }
            last = claim;
        }
        let fence = next_fence(last.as_ref());
        let claim = Claim { owner: owner.to_owned(), fence, duration_ms: millis(duration) };
        let file = put(dir, &claim).map_err(|error| dir.unavailable("write", LEASE, &error))?;
        if overdue {
            let holder = last.map(|claim: Claim| claim.owner);
            tracing::warn!(holder, fence, "took the lease over from a process that lives but has let it run out");
        }
        Ok(Leased::Held(Lease { fence, asked, duration, hold: Hold::File(file) }))
    }

    /// Whether the lease with this number is the present one, and was not given back.
    pub(super) fn is_present(&self, dir: &Dir<'_>, _: &Transaction, fence: u64) -> Result<bool, StoreError> {
        match read(dir)? {
            Some((file, Some(claim))) if claim.fence == fence => is_locked(dir, &file),
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
}

/// The file, and its claim if it can be understood.
fn read(dir: &Dir<'_>) -> Result<Option<(File, Option<Claim>)>, StoreError> {
    let failed = |error| dir.unavailable("read", LEASE, &error);
    let Some(file) = dir.open(LEASE, Access::Read).map_err(failed)? else { return Ok(None) };
    let mut bytes = Vec::new();
    (&file).take(64 * 1024).read_to_end(&mut bytes).map_err(failed)?;
    Ok(Some((file, serde_json::from_slice(&bytes).ok())))
}

/// Leaves the file locked if it was free; closing it undoes that.
fn is_locked(dir: &Dir<'_>, file: &File) -> Result<bool, StoreError> {
    match file.try_lock() {
        Ok(()) => Ok(false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(error)) => Err(dir.unavailable("lock", LEASE, &error)),
    }
}

/// Locked before it gets its name, so that nobody ever sees it free. Not flushed to the disk: after a power cut no holder
/// lives, and a claim that was lost or cut is followed by a higher number all the same (see [`next_fence`]).
fn put(dir: &Dir<'_>, claim: &Claim) -> io::Result<File> {
    dir.remove_leftover(TEMPORARY)?;
    let mut file = dir.create(TEMPORARY)?;
    let placed = (|| {
        file.write_all(&serde_json::to_vec(claim)?)?;
        file.try_lock()?;
        dir.rename(TEMPORARY, LEASE)
    })();
    match placed {
        Ok(()) => Ok(file),
        Err(error) => {
            let _ = dir.remove(TEMPORARY);
            Err(error)
        }
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
