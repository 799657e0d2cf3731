//! File descriptors: who may have how many, so that clients leave enough for probes, the admin listener, token calls and the store.

use std::io;
use std::num::NonZeroUsize;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use rustix::process::{Resource, getrlimit, setrlimit};

use crate::config::Config;

/// Listeners, logs, the store and its lock, token calls, name lookups, and the files of a reload.
const OWN: u64 = 64;
/// Of the admin listener, and of the probes listener: one more takes the place of the one that was quiet for longest.
pub const ADMIN_CONNECTIONS: usize = 128;
/// Of one worker's runtime.
const WORKER: u64 = 8;
/// What clients get in any case.
const LEAST: u64 = 8;

/// Between two warnings.
const WARN_INTERVAL: Duration = Duration::from_secs(60);

/// How many descriptors this process has open, and how many it may open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    pub used: u64,
    /// `None`: without limit.
    pub limit: Option<u64>,
}

/// Raises the limit of open files as far as this process may: the usual soft limit of 1,024 is for programs that use `select`.
pub fn raise_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return;
    }
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "the limit of open files could not be raised to the hard limit");
    }
}

/// How many worker threads there are: one for each core that this process may use. Honours affinity and a cgroup's quota.
pub fn workers() -> NonZeroUsize {
    std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}

/// How many client connections there may be, and how many upstream connections: each client connection may need one.
pub fn for_connections() -> usize {
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from(share(limit, workers().get() as u64)).unwrap_or(usize::MAX)
}

/// Says what is not attainable of the configuration, and how to attain it.
pub fn warn_unattainable(config: &Config) {
    let (wanted, attainable) = (config.guard.max_connections, for_connections());
    if wanted > attainable {
        let needed = needed(wanted as u64, workers().get() as u64);
        tracing::warn!(
            "guard.max_connections is {wanted}, but the limit of open files allows {attainable}, and that many are accepted; raise \
             the hard limit to {needed} (systemd: LimitNOFILE, shell: ulimit -n), or lower guard.max_connections"
        );
    }
}

pub fn usage() -> io::Result<Usage> {
    let used = std::fs::read_dir("/proc/self/fd")?.count() as u64;
    // One of them was opened to count.
    Ok(Usage { used: used.saturating_sub(1), limit: getrlimit(Resource::Nofile).current })
}

/// Whether this process, or the machine, has no descriptor left.
pub fn are_exhausted(error: &io::Error) -> bool {
    let code = error.raw_os_error().map(rustix::io::Errno::from_raw_os_error);
    matches!(code, Some(rustix::io::Errno::MFILE | rustix::io::Errno::NFILE))
}

/// Warns once a minute, whoever met it: at the edge of a limit, failure and success take turns.
pub fn warn_exhausted(error: &io::Error, what: &str) {
    static WARNED: Mutex<Option<Instant>> = Mutex::new(None);
    let Ok(mut warned) = WARNED.lock() else { return };
    if warned.is_none_or(|last| last.elapsed() >= WARN_INTERVAL) {
        *warned = Some(Instant::now());
        tracing::warn!(%error, "{what}; raise the limit of open files, or lower guard.max_connections");
    }
}

fn reserved(workers: u64) -> u64 {
    2 * ADMIN_CONNECTIONS as u64 + OWN + WORKER.saturating_mul(workers)
}

fn share(limit: u64, workers: u64) -> u64 {
    (limit.saturating_sub(reserved(workers)) / 2).max(LEAST)
}

fn needed(connections: u64, workers: u64) -> u64 {
    connections.saturating_mul(2).saturating_add(reserved(workers))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_and_upstream_share_what_is_not_reserved() {
        for (limit, workers, expected) in [(1024, 2, 344), (1024, 32, 224), (16_384, 2, 8024), (256, 2, 8), (0, 1, 8)] {
            assert_eq!(share(limit, workers), expected, "{limit} {workers}");
        }
        assert_eq!(share(needed(4096, 8), 8), 4096);
        assert!(share(u64::MAX, 8) > 1 << 60);
    }

    #[test]
    fn what_is_open_is_counted() {
        let before = usage().unwrap().used;
        let _files: Vec<_> = (0..100).map(|_| std::fs::File::open("/dev/null").unwrap()).collect();
        // Other tests of this process open and close some.
        assert!(usage().unwrap().used >= before.min(50) + 50);
    }

    #[test]
    fn exhaustion_is_told_from_other_errors() {
        for (code, expected) in [(24, true), (23, true), (111, false), (113, false)] {
            assert_eq!(are_exhausted(&io::Error::from_raw_os_error(code)), expected, "{code}");
        }
        assert!(!are_exhausted(&io::Error::other("x")));
    }
}
