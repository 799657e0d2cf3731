//! What the accept loop tells a worker.

use super::connections::ConnectionPermit;
use super::stream::Detached;

/// A worker ends when nobody is left to tell it anything.
pub(super) enum Command {
    Serve(Detached, ConnectionPermit),
    Drain,
}
