//! What the connections of one worker share.

use std::rc::Rc;
use std::sync::Arc;

use super::drain::Draining;
use super::event_batching::EventBatching;
use super::settings::Settings;

pub(super) struct ConnectionContext<S> {
    pub(super) service: S,
    pub(super) settings: Arc<Settings>,
    pub(super) draining: Rc<Draining>,
    pub(super) event_batching: Arc<EventBatching>,
}
