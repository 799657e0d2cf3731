//! The place of one stream among those that an HTTP/2 connection has in use.

use std::rc::Rc;

/// One of the connection's streams is in use for as long as this lives.
pub(super) struct OpenStream(Rc<dyn Streams>);

/// What a connection learns of its streams.
pub(super) trait Streams {
    /// The client took bytes of a response, or left them for good.
    fn took(&self, bytes: usize);
    fn ended(self: Rc<Self>);
}

// === impl OpenStream ===

impl OpenStream {
    pub(super) fn new(connection: Rc<dyn Streams>) -> Self {
        Self(connection)
    }

    /// So many bytes of the response are no longer held for the client.
    pub(super) fn took(&self, bytes: usize) {
        self.0.took(bytes);
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        Rc::clone(&self.0).ended();
    }
}
