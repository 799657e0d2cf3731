//! What an endpoint learns about the connection of its request.

use std::sync::Arc;

use http::uri::Authority;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::config::ListenAddress;

/// A request's connection, and the name that the client has for this listener.
#[derive(Clone, Debug)]
pub(super) struct Visit {
    pub(super) bound: Arc<ListenAddress>,
    pub(super) host: Authority,
    pub(super) connection: Connected,
}

/// How long a response may take.
#[derive(Clone, Debug)]
pub(super) struct Connected {
    /// A response without end ends here, before its connection is too old.
    pub(super) until: Instant,
    /// Set when the listener stops.
    pub(super) stop: watch::Receiver<bool>,
}

// === impl Connected ===

impl Connected {
    /// Returns when a response without end must end.
    pub(super) async fn over(&mut self) {
        tokio::select! {
            () = sleep_until(self.until) => {}
            _ = self.stop.wait_for(|stop| *stop) => {}
        }
    }
}
