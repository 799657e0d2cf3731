//! Counts a stream of an HTTP/2 connection while it is in use.

use std::rc::Rc;

/// A stream that is in use. Dropping it frees its place on the connection.
pub(super) struct OpenStream(Rc<dyn Streams>);

/// How a connection learns of its streams.
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

    /// This many bytes of the response no longer wait for the client.
    pub(super) fn took(&self, bytes: usize) {
        self.0.took(bytes);
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        Rc::clone(&self.0).ended();
    }
}
