//! The pool of connections to the one upstream, a worker each.
//!
//! A worker is one thread, so nothing here locks, and what a request costs is what hyper's or h2's connection costs: a connection
//! is taken from a list, and goes back to it from its own task, in the poll in which the response's last byte is read.
//!
//! # Differences from hyper-util's client
//!
//! - HTTP/2 requests spread over several connections. A request is never queued within one that has as many streams
//!   open as the upstream allows: another connection is opened.
//! - A failure says whether the connection was reused, and what it proves about the request ([`SendFailure`]).
//! - Connections have an age, so that DNS changes are followed. The successor is opened before the last one goes.
//!
//! # What the caller does
//!
//! It gives method, path and query, fields and body; the pool makes the request fit the connection's protocol: the URI's
//! form, the version, `Host` or `:authority`. Time limits on the response are the caller's, who knows when the body has
//! been sent: the future may be dropped at any time. That closes an HTTP/1 connection and resets an HTTP/2 stream.
//!
//! # Where it runs
//!
//! Within a `LocalSet` or a `LocalRuntime`: connections are tasks on the worker's own thread.

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
use sweep::Limits;
use target::Target;

mod body;
mod connect;
mod dials;
mod field;
mod frame;
mod framing;
mod h1;
mod h2;
mod keepalive;
mod open_stream;
mod opening;
mod queue;
mod sending;
mod sweep;
mod target;
mod transport;
mod upgrade;
mod upload;
mod window;

/// How many streams share one HTTP/2 connection at most, whatever the upstream allows: a lost packet or a GOAWAY concerns them
/// all. RFC 9113 §6.5.2 recommends to allow no fewer.
const MAX_STREAMS: usize = 100;

/// Fields of a response's head over HTTP/1, as many as a request may have.
const MAX_HTTP1_FIELDS: usize = 1024;

pub use body::{BodyError, UpstreamBody};
pub use transport::OpenConnections;

/// A request's body: a name for the bounds that hyper sets.
pub trait RequestBody: Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>> + Unpin + 'static {}

impl<B> RequestBody for B where B: Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>> + Unpin + 'static {}

/// A response's head, or why there is none; its body goes on.
pub type Outcome<B> = Result<Response<UpstreamBody>, Box<SendFailure<B>>>;

/// Connections to one origin, of one worker. `B` is the body of the requests.
pub struct Pool<B: RequestBody> {
    /// For tasks and connections: they hold the pool weakly, so that it ends with its worker.
    this: Weak<Self>,
    connector: Connector,
    target: Target,
    http: UpstreamHttp,
    limits: Limits,
    connections: OpenConnections,
    /// Idle HTTP/1 connections, the most recently used last: the others get a chance to go.
    idle: RefCell<Vec<Rc<h1::Conn<B>>>>,
    /// HTTP/2 connections that take new requests.
    shared: RefCell<Vec<Rc<h2::Conn<B>>>>,
    queue: Queue<B>,
    /// How many connections there are, busy ones included.
    alive: Cell<usize>,
    /// The time of the last sweep: precise enough for idle times, and no request reads the clock.
    now: Cell<Instant>,
    sweeping: Cell<bool>,
    /// A task waits until another connection may be opened.
    pausing: Cell<bool>,
    draining: Cell<bool>,
    /// The upstream requires HTTP/1.1, though it offers HTTP/2: until then no HTTP/2 connection is opened.
    http1_until: Cell<Option<Instant>>,
}

/// The right to send one request.
enum Slot<B: RequestBody> {
    Http1(h1::Lease<B>),
    Http2(h2::Lease<B>),
}

// === impl Pool ===

impl<B: RequestBody> Pool<B> {
    pub fn new(connector: Connector, config: &UpstreamConfig, connections: OpenConnections) -> Rc<Self> {
        Self::with_limits(connector, config, Limits::new(config), connections)
    }

    fn with_limits(
        connector: Connector,
        config: &UpstreamConfig,
        limits: Limits,
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
            sweeping: Cell::new(false),
            pausing: Cell::new(false),
            draining: Cell::new(false),
            http1_until: Cell::new(None),
        })
    }

    /// Ends what is idle, lets finish what is in flight, and keeps no connection any more. A request that still comes
    /// gets a connection of its own. For shutdown, and for a reload, which makes a new pool beside this one.
    pub fn drain(&self) {
        self.draining.set(true);
        for conn in self.idle.take() {
            conn.close();
        }
        for conn in self.shared.take() {
            conn.retire();
        }
    }

    /// A connection that is there and has room.
    fn checkout(&self) -> Option<Slot<B>> {
        // The least loaded: what one connection's loss, window or order costs is shared by fewer.
        let shared = self.shared.borrow();
        if let Some(conn) = shared.iter().filter(|conn| conn.has_room()).min_by_key(|conn| conn.open()) {
            return Some(Slot::Http2(conn.lease()));
        }
        drop(shared);
        self.idle.borrow_mut().pop().map(|conn| Slot::Http1(h1::Lease::new(conn)))
    }

    /// Which protocols a connection of the pool may speak.
    fn offer(&self) -> Offer {
        match self.http {
            UpstreamHttp::Auto if self.http1_until.get().is_some_and(|until| Instant::now() < until) => Offer::Http1,
            UpstreamHttp::Auto => Offer::Both,
            UpstreamHttp::Http1 => Offer::Http1,
            UpstreamHttp::Http2 => Offer::Http2,
        }
    }

    /// The upstream has said HTTP_1_1_REQUIRED (RFC 9113 §7). Whether HTTP/1.1 may be used.
    fn require_http1(&self) -> bool {
        if self.http != UpstreamHttp::Auto {
            return false;
        }
        if self.offer() == Offer::Both {
            tracing::info!("the upstream offers HTTP/2 but requires HTTP/1.1, which is used from now on");
            self.http1_until.set(Some(self.limits.retires_at(Instant::now())));
        }
        for conn in self.shared.take() {
            conn.retire();
        }
        true
    }

    /// An HTTP/1 connection has nothing in flight any more, or is new.
    fn check_in(&self, conn: Rc<h1::Conn<B>>) {
        if !conn.is_usable() {
            return;
        }
        if let Some(waiting) = self.queue.next() {
            waiting.grant(Slot::Http1(h1::Lease::new(conn)));
            return;
        }
        if self.draining.get() || !self.limits.may_idle(&conn, self.now.get(), self.idle.borrow().len()) {
            conn.close();
        } else {
            conn.rest(self.now.get());
            self.idle.borrow_mut().push(conn);
        }
    }

    /// An HTTP/2 connection has room: for those who wait, first come, first served.
    fn share(&self, conn: &Rc<h2::Conn<B>>) {
        while conn.has_room() {
            let Some(waiting) = self.queue.next() else { break };
            waiting.grant(Slot::Http2(conn.lease()));
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

    /// Gives it no more requests.
    fn forget(&self, conn: &Rc<h2::Conn<B>>) {
        self.shared.borrow_mut().retain(|other| !Rc::ptr_eq(other, conn));
    }
}

impl<B: RequestBody> Drop for Pool<B> {
    // A connection's task holds the connection itself: without this it would stay open for as long as the worker.
    fn drop(&mut self) {
        self.drain();
    }
}

#[cfg(test)]
mod tests;
