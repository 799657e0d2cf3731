//! How the workers run.

use crate::config::key::boolean;
use crate::config::section::section;

section! {
    #[derive(Clone, Debug)]
    pub struct RuntimeConfig in "runtime." {
        /// Under load, a worker batches events for up to 100 µs, which saves CPU time.
        event_batching: bool = boolean().default("true").restart();
    }
}
