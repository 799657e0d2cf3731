//! How the workers run.

use std::num::NonZeroUsize;

use crate::config::key::{boolean, count};
use crate::config::section::section;

section! {
    #[derive(Clone, Debug)]
    pub struct RuntimeConfig in "runtime." {
        /// Number of worker threads.
        workers: Option<NonZeroUsize> = count(1, 1024).computed("the cores available to the process").restart();
        /// Under load, a worker batches events for up to 100 µs, which saves CPU time.
        event_batching: bool = boolean().default("true").restart();
    }
}
