//! How the proxy ends.

use std::time::Duration;

use crate::config::key::{DAY, MIN, duration};
use crate::config::section::section;

section! {
    #[derive(Clone, Debug)]
    pub struct ShutdownConfig in "shutdown." {
        /// How long the proxy accepts new requests after SIGTERM: for a sidecar that is stopped together with its application.
        delay: Duration = duration(0, 60 * MIN).default("0s");
        /// How long requests in flight may continue after the delay. A refresh in flight gets `oauth.request_timeout` plus 5s.
        grace: Duration = duration(0, DAY).default("20s");
    }
}
