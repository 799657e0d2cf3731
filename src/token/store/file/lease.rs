//! The lease file.
//!
//! The holder of the lease keeps the file locked. A free lock means that the holder has gone or has released the lease, so the lease
//! can be taken at once. A held lock means only that a process exists, which may be suspended or stuck. So a process that sees the
//! same claim for the duration in that claim, by its own monotonic clock, takes over with a new file. The old holder then has a
//! lock on a deleted file, and its fencing number is outdated.

use std::fs::{File, TryLockError};
use std::io::{self, Read, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use rustix::fs::fstat;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::state_dir::{Access, Dir};
use super::transaction::Transaction;
use crate::token::owner::host;
use crate::token::store::{Hold, Holder, LEASE_POLL, Lease, Leased, Overdue, StoreError};

/// The claims that this process has seen in the lease file.
#[derive(Debug, Default)]
pub(super) struct Claims {
    /// A claim of another process, and when it was first seen.
    sight: Mutex<Option<(Claim, Instant)>>,
    /// The number of the last lease that this process had. 0: it had none.
    held: AtomicU64,
}

/// The content of the lease file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Claim {
    owner: String,
    fence: u64,
    duration_ms: u64,
    /// A process of another host that took the lease while this owner lived. Only a diagnosis reads it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    shared_with: Option<String>,
}

const LEASE: &str = ".lease";
const TEMPORARY: &str = ".lease.tmp";

// === impl Claims ===

impl Claims {
    /// The transaction excludes a second process that also finds the lease free or expired.
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
                // An unreadable claim has no duration. The own duration is the best estimate.
                let unknown =
                    || Claim { owner: String::new(), fence: 0, duration_ms: millis(duration), shared_with: None };
                let claim = claim.clone().unwrap_or_else(unknown);
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
        let shared_with = last.as_ref().and_then(|last| self.sharer(last, owner));
        let claim = Claim { owner: owner.to_owned(), fence, duration_ms: millis(duration), shared_with };
        let file = put(dir, &claim).map_err(|error| dir.unavailable("write", LEASE, &error))?;
        self.held.store(fence, Ordering::Relaxed);
        if overdue {
            let holder = last.map(|claim: Claim| claim.owner);
            tracing::warn!(
                check = "store-lease-stuck",
                holder,
                fence,
                "took the lease over from a process that lives but has let it run out"
            );
        }
        Ok(Leased::Held(Lease { fence, asked, duration, hold: Hold::File(file) }))
    }

    /// Whether the lease with this number is the present one and was not released.
    pub(super) fn is_present(&self, dir: &Dir<'_>, _: &Transaction, fence: u64) -> Result<bool, StoreError> {
        match read(dir)? {
            Some((file, Some(claim))) if claim.fence == fence => is_locked(dir, &file),
            _ => Ok(false),
        }
    }

    /// The owner of the last claim, if another host took the lease between two leases of this process.
    ///
    /// A process that only took it before this one began may be its predecessor in a pod that was replaced.
    fn sharer(&self, last: &Claim, owner: &str) -> Option<String> {
        let held = self.held.load(Ordering::Relaxed);
        let (theirs, ours) = (host(&last.owner)?, host(owner)?);
        (held != 0 && last.fence > held && theirs != ours).then(|| last.owner.clone())
    }

    /// How long this claim is still valid.
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

/// The file, and its claim if it is readable.
fn read(dir: &Dir<'_>) -> Result<Option<(File, Option<Claim>)>, StoreError> {
    let failed = |error| dir.unavailable("read", LEASE, &error);
    let Some(file) = dir.open(LEASE, Access::Read).map_err(failed)? else { return Ok(None) };
    let mut bytes = Vec::new();
    (&file).take(64 * 1024).read_to_end(&mut bytes).map_err(failed)?;
    Ok(Some((file, serde_json::from_slice(&bytes).ok())))
}

/// Who took the lease last.
pub(super) fn holder(dir: &Dir<'_>) -> Result<Option<Holder>, StoreError> {
    let claim = read(dir)?.and_then(|(_, claim)| claim);
    Ok(claim.map(|Claim { owner, shared_with, .. }| Holder { owner, shared_with }))
}

/// A lease that a living process holds although its duration is over: that process is stopped or stuck.
pub(super) fn overdue(dir: &Dir<'_>) -> Result<Option<Overdue>, StoreError> {
    let Some((file, Some(claim))) = read(dir)? else { return Ok(None) };
    let stat = fstat(&file).map_err(|error| dir.unavailable("read", LEASE, &error.into()))?;
    let age = Timestamp::now().as_second().saturating_sub(stat.st_mtime);
    let age = Duration::from_secs(u64::try_from(age).unwrap_or_default());
    let by = age.saturating_sub(Duration::from_millis(claim.duration_ms));
    // The lock is tried only if the lease is over: a trial is itself a lock, which a taker would notice.
    let is_overdue = !by.is_zero() && is_locked(dir, &file)?;
    Ok(is_overdue.then_some(Overdue { owner: claim.owner, by }))
}

/// Leaves the file locked if it was free. Closing the file unlocks it.
fn is_locked(dir: &Dir<'_>, file: &File) -> Result<bool, StoreError> {
    match file.try_lock() {
        Ok(()) => Ok(false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(error)) => Err(dir.unavailable("lock", LEASE, &error)),
    }
}

/// The file is locked before it gets its name, so no process sees it unlocked. It is not flushed to the disk: no holder survives a
/// power failure, and [`next_fence`] is higher even if the claim was lost.
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

/// One more than the last number. If the last number is lost because somebody removed the file, its holder may still exist. Then
/// the count begins at the present time in milliseconds. With fewer than a thousand leases per second, no earlier count has reached
/// that number.
fn next_fence(last: Option<&Claim>) -> u64 {
    let begin = || u64::try_from(Timestamp::now().as_millisecond()).unwrap_or(1);
    last.and_then(|claim| claim.fence.checked_add(1)).unwrap_or_else(begin)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
