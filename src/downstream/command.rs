//! What the accept loop tells a worker.

use super::load::Place;
use super::stream::Detached;

/// A worker ends when nobody is left to tell it anything.
pub(super) enum Command {
    Serve(Detached, Place),
    Drain,
}
