//! The settings of new connections. A reload replaces them.

use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::Notify;

use super::limits::Limits;
use super::tls::Tls;

pub(super) struct Settings {
    pub(super) limits: ArcSwap<Limits>,
    pub(super) tls: Option<ArcSwap<Tls>>,
    /// Wakes connections that an earlier `tls` has accepted.
    pub(super) tls_changed: Arc<Notify>,
}
