//! The commands of the accept loop to a worker.

use super::connections::ConnectionPermit;
use super::stream::Detached;

/// A worker ends when all senders of commands are gone.
pub(super) enum Command {
    Serve(Detached, ConnectionPermit),
    Drain,
}
