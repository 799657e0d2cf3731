//! Opens a connection, in a task of its own.

use std::rc::{Rc, Weak};

use crate::outbound::{ConnectError, Offer, Protocol};

use super::opening::Opening;
use super::{Pool, RequestBody, h1, h2};

// === impl Pool ===

impl<B: RequestBody> Pool<B> {
    /// Opens one more connection. A dropped request does not cancel it, since others may wait for it.
    pub(super) fn open_one(&self) {
        tokio::task::spawn_local(open(self.this.clone(), Opening::new(self)));
    }
}

async fn open<B: RequestBody>(pool: Weak<Pool<B>>, opening: Opening<B>) {
    let Some((connector, offer)) = pool.upgrade().map(|pool| (pool.connector.clone(), pool.offer())) else { return };
    let mut outcome = connector.connect(offer).await;
    let Some(pool) = pool.upgrade() else { return };
    // The upstream required HTTP/1.1 while this connection was opened.
    if pool.offer() == Offer::Http1 && matches!(outcome, Ok((_, Protocol::Http2))) {
        outcome = connector.connect(Offer::Http1).await;
    }
    match outcome {
        Ok((stream, Protocol::Http1)) => match h1::start(&pool, stream).await {
            Ok(conn) => {
                pool.check_in(conn);
                opening.succeeded(1);
            }
            Err(error) => opening.failed(ConnectError::Unreachable(error.to_string())),
        },
        Ok((stream, Protocol::Http2)) => {
            if let Some(conn) = h2::start(&pool, stream, opening).await {
                pool.shared.borrow_mut().push(Rc::clone(&conn));
                pool.share(&conn);
            }
        }
        Err(error) => opening.failed(error),
    }
}
