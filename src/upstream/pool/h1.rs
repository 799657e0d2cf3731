//! An HTTP/1 connection: one request at a time.

use std::cell::{Cell, RefCell};
use std::future::{poll_fn, ready};
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::Either;
use http::{HeaderMap, HeaderName, Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::time::Instant;
use tracing::debug;

use crate::outbound::{Protocol, Stream};
use crate::upstream::failure::SendFailure;

use super::framing;
use super::target::Target;
use super::transport::{Received, Transport};
use super::{MAX_HTTP1_FIELDS, Pool, RequestBody, SendResult, UpstreamBody};

pub(super) struct Conn<B: RequestBody> {
    pool: Weak<Pool<B>>,
    /// Dropping it ends hyper's connection.
    sender: RefCell<Option<SendRequest<B>>>,
    /// The response head arrived: the connection is free as soon as hyper has read the body.
    responded: Cell<bool>,
    /// Whether a byte arrived since the last request was sent.
    received: Arc<Received>,
    /// The connection has carried a response.
    reused: Cell<bool>,
    /// How long the connection may be idle.
    idle_timeout: Cell<Duration>,
    idle_since: Cell<Instant>,
    retires_at: Instant,
}

/// The right to send one request. An unused one returns the connection when it is dropped.
pub(super) struct Permit<B: RequestBody>(Option<Rc<Conn<B>>>);

/// hyper's result of a request.
type Sent<B> = Result<Response<Incoming>, TrySendError<Request<B>>>;

/// Starts the task of a new connection.
pub(super) async fn start<B: RequestBody>(pool: &Pool<B>, stream: Stream) -> hyper::Result<Rc<Conn<B>>> {
    let received = Arc::<Received>::default();
    let transport = Transport::new(stream, Protocol::Http1, &pool.connections, Arc::clone(&received));
    let (sender, connection) =
        http1::Builder::new().max_headers(MAX_HTTP1_FIELDS).handshake(TokioIo::new(transport)).await?;
    let conn = Rc::new(Conn {
        pool: pool.this.clone(),
        sender: RefCell::new(Some(sender)),
        responded: Cell::new(false),
        received,
        reused: Cell::new(false),
        idle_timeout: Cell::new(pool.limits.idle_timeout),
        idle_since: Cell::new(Instant::now()),
        retires_at: pool.limits.retires_at(Instant::now()),
    });
    pool.connection_began();
    tokio::task::spawn_local(drive(Rc::clone(&conn), connection));
    Ok(conn)
}

async fn drive<B: RequestBody>(conn: Rc<Conn<B>>, mut connection: http1::Connection<TokioIo<Transport>, B>) {
    let outcome = poll_fn(|cx| {
        let polled = Pin::new(&mut connection).poll(cx);
        if polled.is_pending() {
            conn.check_in_if_free();
        }
        polled
    })
    .await;
    // A byte or an end of file ends an idle connection too, so that no request uses it.
    if let Err(error) = outcome {
        debug!(%error, "an upstream connection (HTTP/1) ended");
    }
    conn.close();
    if let Some(pool) = conn.pool.upgrade() {
        pool.http1_ended(&conn);
    }
}

// === impl Conn ===

impl<B: RequestBody> Conn<B> {
    pub(super) fn is_usable(&self) -> bool {
        self.sender.borrow().as_ref().is_some_and(|sender| !sender.is_closed())
    }

    /// Whether the connection may wait for another request.
    pub(super) fn may_idle(&self, now: Instant) -> bool {
        now < self.retires_at && !self.idle_timeout.get().is_zero()
    }

    pub(super) fn is_stale(&self, now: Instant) -> bool {
        now >= self.retires_at || now.duration_since(self.idle_since.get()) >= self.idle_timeout.get()
    }

    pub(super) fn rest(&self, now: Instant) {
        self.idle_since.set(now);
    }

    pub(super) fn close(&self) {
        self.sender.take();
    }

    fn send(
        &self,
        target: &Target,
        mut request: Request<B>,
    ) -> Result<impl Future<Output = Sent<B>> + use<B>, Box<SendFailure<B>>> {
        match self.sender.borrow_mut().as_mut() {
            Some(sender) => {
                self.received.forget();
                target.fit_http1(&mut request);
                Ok(sender.try_send_request(request))
            }
            None => Err(SendFailure::handed_back(request, self.reused.get(), Protocol::Http1)),
        }
    }

    fn finish(self: &Rc<Self>, sent: Sent<B>, reused: bool) -> SendResult<B> {
        match sent {
            Ok(response) => {
                if let Err(kind) = framing::check(&response, false) {
                    self.close();
                    return Err(SendFailure::unfit(kind, reused, Protocol::Http1));
                }
                self.responded(response.headers());
                Ok(response.map(UpstreamBody::http1))
            }
            Err(error) => {
                let received = self.received.anything();
                Err(SendFailure::from_hyper(error, received, reused, Protocol::Http1))
            }
        }
    }

    /// Called when the head arrives, and after each poll of the connection. The call that sees both conditions returns the
    /// connection to the pool, so the end of the body needs neither a task nor a wake-up.
    fn check_in_if_free(self: &Rc<Self>) {
        if self.responded.get()
            && self.sender.borrow().as_ref().is_some_and(SendRequest::is_ready)
            && let Some(pool) = self.pool.upgrade()
        {
            self.responded.set(false);
            pool.check_in(Rc::clone(self));
        }
    }

    fn responded(self: &Rc<Self>, headers: &HeaderMap) {
        self.responded.set(true);
        if let Some(pool) = self.pool.upgrade() {
            pool.may_dial();
        }
        if !self.reused.replace(true)
            && let Some(timeout) = announced_timeout(headers)
        {
            self.idle_timeout.set(timeout.min(self.idle_timeout.get()));
        }
        self.check_in_if_free();
    }
}

/// How long a connection may be idle by `Keep-Alive: timeout=5` (RFC 2068 §19.7.1.1; Apache and Node send it with a default of 5
/// s). The result is two seconds less, so that no request is sent while the upstream closes the connection.
fn announced_timeout(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get(HeaderName::from_static("keep-alive"))?.to_str().ok()?;
    let seconds = value.split(',').find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        if name.trim().eq_ignore_ascii_case("timeout") { value.trim().parse::<u64>().ok() } else { None }
    })?;
    Some(Duration::from_secs(seconds.saturating_sub(2)))
}

// === impl Permit ===

impl<B: RequestBody> Permit<B> {
    pub(super) fn new(conn: Rc<Conn<B>>) -> Self {
        Self(Some(conn))
    }

    /// Sends at once. The future waits for the response head.
    pub(super) fn send(mut self, target: &Target, request: Request<B>) -> impl Future<Output = SendResult<B>> + use<B> {
        // A permit always has a connection until this takes it.
        let Some(conn) = self.0.take() else {
            return Either::Left(ready(Err(SendFailure::handed_back(request, false, Protocol::Http1))));
        };
        let reused = conn.reused.get();
        match conn.send(target, request) {
            Ok(sent) => Either::Right(sent.map(move |sent| conn.finish(sent, reused))),
            Err(failure) => Either::Left(ready(Err(failure))),
        }
    }
}

impl<B: RequestBody> Drop for Permit<B> {
    fn drop(&mut self) {
        if let Some(conn) = self.0.take()
            && let Some(pool) = conn.pool.upgrade()
        {
            pool.check_in(conn);
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn the_announced_idle_time_is_read_with_a_margin() {
        let rows = [
            ("timeout=5", Some(3)),
            ("timeout=5, max=100", Some(3)),
            ("max=100, Timeout = 75", Some(73)),
            ("timeout=1", Some(0)),
            ("timeout=0", Some(0)),
            ("timeout=x", None),
            ("max=100", None),
            ("", None),
        ];
        for (value, expected) in rows {
            let mut headers = HeaderMap::new();
            headers.insert("keep-alive", HeaderValue::from_static(value));
            assert_eq!(announced_timeout(&headers), expected.map(Duration::from_secs), "{value}");
        }
        assert_eq!(announced_timeout(&HeaderMap::new()), None);
    }
}
