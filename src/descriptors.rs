//! Divides the file descriptors, so that clients leave enough for probes, the admin listener, token calls and the store.

use std::io;
use std::num::NonZeroUsize;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use rustix::process::{Resource, getrlimit, setrlimit};

use crate::config::RuntimeConfig;

/// Descriptors for listeners, logs, the store and its lock, token calls, DNS lookups, and the files of a reload.
const OWN: u64 = 64;
/// Connections of the admin listener, and of the probes listener. A further one replaces the one that has been quiet for longest.
pub const ADMIN_CONNECTIONS: usize = 128;
/// Descriptors for the runtime of a worker.
const WORKER: u64 = 8;
/// The minimum for clients.
const LEAST: u64 = 8;

/// Minimum time between two warnings.
const WARN_INTERVAL: Duration = Duration::from_secs(60);

/// The open descriptors of this process, and its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    pub used: u64,
    /// `None`: unlimited.
    pub limit: Option<u64>,
}

/// Raises the soft limit of open files to the hard limit. The usual soft limit of 1,024 is for programs that use `select`.
pub fn raise_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return;
    }
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(check = "limit-descriptors", %error, "the limit of open files could not be raised to the hard limit");
    }
}

/// Number of worker threads: the configured one, otherwise one for each core that this process may use. Respects CPU affinity and the
/// quota of a cgroup.
pub fn workers(config: &RuntimeConfig) -> NonZeroUsize {
    config.workers.or_else(|| std::thread::available_parallelism().ok()).unwrap_or(NonZeroUsize::MIN)
}

/// Maximum number of client connections, and of upstream connections: each client connection may need one.
pub fn for_connections(config: &RuntimeConfig) -> usize {
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from(share(limit, workers(config).get() as u64)).unwrap_or(usize::MAX)
}

pub fn usage() -> io::Result<Usage> {
    let used = std::fs::read_dir("/proc/self/fd")?.count() as u64;
    // One of them was opened for the count.
    Ok(Usage { used: used.saturating_sub(1), limit: getrlimit(Resource::Nofile).current })
}

/// Whether this process or the machine has no descriptor left.
pub fn are_exhausted(error: &io::Error) -> bool {
    let code = error.raw_os_error().map(rustix::io::Errno::from_raw_os_error);
    matches!(code, Some(rustix::io::Errno::MFILE | rustix::io::Errno::NFILE))
}

/// Warns once a minute in the whole process: at the limit, failure and success alternate.
pub fn warn_exhausted(error: &io::Error, what: &str) {
    static WARNED: Mutex<Option<Instant>> = Mutex::new(None);
    let Ok(mut warned) = WARNED.lock() else { return };
    if warned.is_none_or(|last| last.elapsed() >= WARN_INTERVAL) {
        *warned = Some(Instant::now());
        tracing::warn!(check = "limit-descriptors", %error, "{what}; raise the limit of open files, or lower guard.max_connections");
    }
}

fn reserved(workers: u64) -> u64 {
    2 * ADMIN_CONNECTIONS as u64 + OWN + WORKER.saturating_mul(workers)
}

pub(crate) fn share(limit: u64, workers: u64) -> u64 {
    (limit.saturating_sub(reserved(workers)) / 2).max(LEAST)
}

pub(crate) fn needed(connections: u64, workers: u64) -> u64 {
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
