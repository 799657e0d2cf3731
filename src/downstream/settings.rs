//! What each new connection reads, and a reload replaces.

use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::Notify;

use super::limits::Limits;
use super::tls::Tls;

pub(super) struct Settings {
    pub(super) limits: ArcSwap<Limits>,
    pub(super) tls: Option<ArcSwap<Tls>>,
    /// Wakes connections that may have been accepted by what is no longer in `tls`.
    pub(super) tls_changed: Arc<Notify>,
}
