//! The connections of one worker to one upstream.
//!
//! A worker is one thread, so the pool needs no lock. A request takes a connection from a list, and the connection's own task returns
//! it in the poll that reads the last byte of the response.
//!
//! # Differences from hyper-util's client
//!
//! - HTTP/2 requests spread over several connections. If a connection has as many open streams as the upstream allows, the pool
//!   opens another one and does not queue the request.
//! - A failure says whether the connection was reused, and what it proves about the request (`SendFailure`).
//! - A connection has a maximum age, so that the pool follows DNS changes. The successor is opened before the last connection ends.
//!
//! # The caller
//!
//! The caller supplies method, path and query, fields and body. The pool makes the request fit the protocol of the connection: the
//! form of the URI, the version, and `Host` or `:authority`.
//!
//! The caller also limits the wait for the response, because it knows when the body was sent. It may drop the future at any time,
//! which closes an HTTP/1 connection and resets an HTTP/2 stream.
//!
//! # Runtime
//!
//! The pool needs a `LocalSet` or a `LocalRuntime`: connections are tasks on the worker's thread.

use std::cell::{Cell, RefCell};
use std::error::Error;
use std::rc::{Rc, Weak};

use bytes::Bytes;
use http::Response;
use http_body::Body;
use tokio::time::Instant;

use crate::config::{UpstreamConfig, UpstreamHttp};

use super::failure::SendFailure;
use crate::outbound::{Connector, Offer};

use queue::Queue;
use reaper::ConnectionLimits;
use target::Target;

mod auth_indexing;
mod body;
mod connect;
mod dials;
mod frame;
mod framing;
mod h1;
mod h2;
mod keepalive;
mod open_stream;
mod opening;
mod queue;
mod reaper;
mod send;
mod target;
mod transport;
mod upgrade;
mod upload;
mod window;

/// The maximum number of streams on one HTTP/2 connection. A lost packet or a GOAWAY affects all of them. RFC 9113 §6.5.2
/// recommends to allow no fewer.
const MAX_STREAMS: usize = 100;

/// How many fields a response head may have over HTTP/1: as many as a request.
const MAX_HTTP1_FIELDS: usize = 1024;

pub use body::UpstreamBody;
pub use transport::OpenConnections;

/// The body of a request: a short name for the bounds that hyper requires.
pub trait RequestBody: Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>> + Unpin + 'static {}

impl<B> RequestBody for B where B: Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>> + Unpin + 'static {}

/// A response head with the body that follows, or why there is none.
pub type SendResult<B> = Result<Response<UpstreamBody>, Box<SendFailure<B>>>;

/// `B` is the body of the requests.
pub struct Pool<B: RequestBody> {
    /// Tasks and connections hold the pool weakly, so that it ends with its worker.
    this: Weak<Self>,
    connector: Connector,
    target: Target,
    http: UpstreamHttp,
    limits: ConnectionLimits,
    connections: OpenConnections,
    /// Idle HTTP/1 connections. The most recently used is the last, and is used first, so that the others can time out.
    idle: RefCell<Vec<Rc<h1::Conn<B>>>>,
    /// HTTP/2 connections that take new requests.
    shared: RefCell<Vec<Rc<h2::Conn<B>>>>,
    queue: Queue<B>,
    /// How many connections there are, including busy ones.
    alive: Cell<usize>,
    /// When the reaper last ran. Idle times are measured from it, so that no request reads the clock.
    now: Cell<Instant>,
    reaping: Cell<bool>,
    /// A task waits until the pool may open another connection.
    pausing: Cell<bool>,
    draining: Cell<bool>,
    /// The upstream requires HTTP/1.1 although it offers HTTP/2. Until this time, the pool opens no HTTP/2 connection.
    http1_until: Cell<Option<Instant>>,
}

/// The right to send one request.
enum Slot<B: RequestBody> {
    Http1(h1::Permit<B>),
    Http2(h2::Permit<B>),
}

// === impl Pool ===

impl<B: RequestBody> Pool<B> {
    /// `most_connections`: the maximum for all pools of this process together. `connections` counts them.
    pub fn new(
        connector: Connector,
        config: &UpstreamConfig,
        most_connections: usize,
        connections: OpenConnections,
    ) -> Rc<Self> {
        Self::with_limits(connector, config, ConnectionLimits::new(config, most_connections), connections)
    }

    fn with_limits(
        connector: Connector,
        config: &UpstreamConfig,
        limits: ConnectionLimits,
        connections: OpenConnections,
    ) -> Rc<Self> {
        Rc::new_cyclic(|this| Self {
            this: this.clone(),
            target: Target::new(connector.origin()),
            connector,
            http: config.http,
            limits,
            connections,
            idle: RefCell::default(),
            shared: RefCell::default(),
            queue: Queue::new(config.http),
            alive: Cell::new(0),
            now: Cell::new(Instant::now()),
            reaping: Cell::new(false),
            pausing: Cell::new(false),
            draining: Cell::new(false),
            http1_until: Cell::new(None),
        })
    }

    /// Closes idle connections now, and the others after their requests. A later request gets a connection of its own. A shutdown
    /// and a reload use it: a reload makes a new pool.
    pub fn drain(&self) {
        self.draining.set(true);
        for conn in self.idle.take() {
            conn.close();
        }
        for conn in self.shared.take() {
            conn.retire();
        }
    }

    /// An open connection that has room.
    fn checkout(&self) -> Option<Slot<B>> {
        // The least loaded one, so that a lost connection or a full window affects few requests.
        let shared = self.shared.borrow();
        if let Some(conn) = shared.iter().filter(|conn| conn.has_room()).min_by_key(|conn| conn.open()) {
            return Some(Slot::Http2(conn.permit()));
        }
        drop(shared);
        self.idle.borrow_mut().pop().map(|conn| Slot::Http1(h1::Permit::new(conn)))
    }

    /// The protocols that a new connection offers.
    fn offer(&self) -> Offer {
        match self.http {
            UpstreamHttp::Auto if self.http1_until.get().is_some_and(|until| Instant::now() < until) => Offer::Http1,
            UpstreamHttp::Auto => Offer::Both,
            UpstreamHttp::Http1 => Offer::Http1,
            UpstreamHttp::Http2 => Offer::Http2,
        }
    }

    /// The upstream sent HTTP_1_1_REQUIRED (RFC 9113 §7). Returns whether the pool may use HTTP/1.1.
    fn require_http1(&self) -> bool {
        if self.http != UpstreamHttp::Auto {
            return false;
        }
        if self.offer() == Offer::Both {
            tracing::info!("the upstream offers HTTP/2 but requires HTTP/1.1: using HTTP/1.1");
            self.http1_until.set(Some(self.limits.retires_at(Instant::now())));
        }
        for conn in self.shared.take() {
            conn.retire();
        }
        true
    }

    /// An HTTP/1 connection is free or new.
    fn check_in(&self, conn: Rc<h1::Conn<B>>) {
        if !conn.is_usable() {
            return;
        }
        if let Some(waiting) = self.queue.next() {
            waiting.grant(Slot::Http1(h1::Permit::new(conn)));
            return;
        }
        if self.draining.get() || !self.limits.may_idle(&conn, self.now.get(), self.idle.borrow().len()) {
            conn.close();
        } else {
            conn.rest(self.now.get());
            self.idle.borrow_mut().push(conn);
        }
    }

    /// An HTTP/2 connection has room: waiting requests get it, first come, first served.
    fn share(&self, conn: &Rc<h2::Conn<B>>) {
        while conn.has_room() {
            let Some(waiting) = self.queue.next() else { break };
            waiting.grant(Slot::Http2(conn.permit()));
        }
    }

    fn http1_ended(&self, conn: &Rc<h1::Conn<B>>) {
        self.alive.set(self.alive.get() - 1);
        self.idle.borrow_mut().retain(|other| !Rc::ptr_eq(other, conn));
    }

    fn http2_ended(&self, conn: &Rc<h2::Conn<B>>) {
        self.alive.set(self.alive.get() - 1);
        self.forget(conn);
    }

    /// The connection gets no more requests.
    fn forget(&self, conn: &Rc<h2::Conn<B>>) {
        self.shared.borrow_mut().retain(|other| !Rc::ptr_eq(other, conn));
    }
}

impl<B: RequestBody> Drop for Pool<B> {
    // The task of a connection holds the connection. Without this, the connection would stay open until the worker ends.
    fn drop(&mut self) {
        self.drain();
    }
}

#[cfg(test)]
mod tests;
