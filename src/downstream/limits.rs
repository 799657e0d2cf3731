//! The limits of a connection, as they are when it begins.

use std::time::Duration;

use crate::config::Config;
use crate::descriptors;

/// How far above `guard.max_header_size` the HTTP library itself refuses a head, with a bare 431.
///
/// Up to there the head is parsed, so that the guard can answer with a problem document. A head beyond it is not worth the
/// memory.
const HEAD_ROOM: usize = 64 * 1024;

/// Fields of a request's head over HTTP/1, with a bare 431 behind them. The library takes room for all of them, for each head: about
/// 560 instructions, whatever the number is up to 4096, of which 100 would cost nothing.
pub(super) const MAX_HTTP1_FIELDS: usize = 1024;

/// What bounds a connection. A reload replaces it for connections to come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Of all workers together.
    pub(super) max_connections: usize,
    /// From connect, or from a request's first byte, to its full head.
    pub(super) header_timeout: Duration,
    /// Between requests.
    pub(super) idle_timeout: Duration,
    /// A client that takes nothing of what is sent to it.
    pub(super) stall_timeout: Duration,
    /// Bytes of a request's head that the HTTP library accepts.
    pub(super) max_head: usize,
}

// === impl Limits ===

impl Limits {
    pub fn new(config: &Config) -> Self {
        let guard = &config.guard;
        Self {
            max_connections: guard.max_connections.min(descriptors::for_connections()),
            header_timeout: guard.header_timeout,
            idle_timeout: guard.idle_timeout,
            // The same key bounds a body's pauses in the other direction.
            stall_timeout: config.upstream.idle_timeout,
            max_head: guard.max_header_size.saturating_add(HEAD_ROOM),
        }
    }
}
