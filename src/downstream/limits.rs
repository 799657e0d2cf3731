//! The limits of a connection. They are fixed when it begins.

use std::time::Duration;

use crate::config::Config;
use crate::descriptors;

/// How far above `guard.max_header_size` hyper itself refuses a head, with a bare 431.
///
/// Below that, the head is parsed, so that the guard can answer with a problem document. A larger head is not worth the memory.
const HEAD_ROOM: usize = 64 * 1024;

/// Maximum number of fields in an HTTP/1 request head. A head with more gets a bare 431. hyper reserves room for all of them for each
/// head.
pub(super) const MAX_HTTP1_FIELDS: usize = 1024;

/// The limits of a connection. A reload replaces them for new connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Total of all workers.
    pub(super) max_connections: usize,
    /// From connect, or from the first byte of a request, to its complete head.
    pub(super) header_timeout: Duration,
    /// Between requests.
    pub(super) idle_timeout: Duration,
    /// Maximum time in which a client reads nothing.
    pub(super) stall_timeout: Duration,
    /// Maximum size of a request head for hyper, in bytes.
    pub(super) max_head: usize,
}

// === impl Limits ===

impl Limits {
    pub fn new(config: &Config) -> Self {
        let guard = &config.guard;
        Self {
            max_connections: guard.max_connections.min(descriptors::for_connections(&config.runtime)),
            header_timeout: guard.header_timeout,
            idle_timeout: guard.idle_timeout,
            // The same key limits the pauses of a body in the other direction.
            stall_timeout: config.upstream.idle_timeout,
            max_head: guard.max_header_size.saturating_add(HEAD_ROOM),
        }
    }
}
