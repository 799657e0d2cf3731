//! A listener: bind, accept, serve HTTP/1.1.

use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::{Mutex, watch};
use tokio::task::yield_now;
use tokio::time::{Instant, timeout};

use super::open::{Activity, Open};
use super::router::Site;
use super::visit::Connected;
use super::{Admin, Scope};
use crate::config::ListenAddress;
use crate::descriptors::{self, ADMIN_CONNECTIONS};
use crate::downstream::Stream;
use crate::downstream::listener::{self, Accepting, ListenError};
use crate::fault;
use crate::supervise::{Died, Task, supervise};

/// Time limit from connect, or from the end of the last response, to a complete request head. Also ends idle connections.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// Maximum size of a request head. No admin request needs more.
const MAX_HEAD: usize = 16 * 1024;
/// A connection takes no new request after this time, and is cut after twice this time, even if its client does not read.
const CONNECTION_AGE: Duration = Duration::from_secs(300);
/// A response without end ends this long before its connection is too old.
const STREAM_MARGIN: Duration = Duration::from_secs(10);
/// Time limit for responses in flight when the listener stops.
const GRACE: Duration = Duration::from_secs(5);
/// The owner and the group of a unix socket may connect.
const SOCKET_MODE: u32 = 0o660;

/// A bound listener that does not respond yet.
#[derive(Debug)]
pub struct Listener {
    socket: Accepting,
    address: ListenAddress,
    scope: Scope,
}

/// One connection, with what its responses need.
struct Connection {
    site: Site,
    end: watch::Receiver<bool>,
    activity: Activity,
}

/// The proxy cannot listen on the address.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    #[error("{key}: {error}")]
    Listen { key: &'static str, error: ListenError },
    #[error("{key}: {error}")]
    Register { key: &'static str, error: io::Error },
}

// === impl Listener ===

impl Listener {
    /// From now on, clients can connect. [`Listener::serve`] responds to them.
    pub fn bind(address: &ListenAddress, scope: Scope) -> Result<Self, BindError> {
        let key = match scope {
            Scope::Admin => "admin.listen",
            Scope::Probes => "probes.listen",
        };
        let bound = listener::Listener::bind(address, SOCKET_MODE).map_err(|error| BindError::Listen { key, error })?;
        let address = bound.address().clone();
        let socket = bound.register().map_err(|error| BindError::Register { key, error })?;
        Ok(Self { socket, address, scope })
    }

    /// The address, with the port that the system chose.
    pub fn address(&self) -> &ListenAddress {
        &self.address
    }

    /// Responds until `stop` is set. Then responses in flight get a few seconds. A task that dies is restarted on the same socket.
    ///
    /// # Errors
    /// It died too often.
    pub async fn serve(self, admin: Arc<Admin>, stop: watch::Receiver<bool>) -> Result<(), Died> {
        let Self { socket, address, scope } = self;
        let socket = Arc::new(socket);
        let open = Arc::new(Mutex::new(Open::new(ADMIN_CONNECTIONS)));
        let site = Site::new(Arc::clone(&admin), scope, Arc::new(address));
        let start = || accept(Arc::clone(&socket), Arc::clone(&open), task_of(scope), site.clone(), stop.clone());
        let ended = supervise(task_of(scope), admin.metrics.restarts(), || false, start).await;
        drop(socket);
        let _ = timeout(GRACE, async { open.lock().await.all_ended().await }).await;
        ended
    }
}

/// Accepts until `stop` is set.
async fn accept(
    socket: Arc<Accepting>,
    open: Arc<Mutex<Open>>,
    task: Task,
    site: Site,
    mut stop: watch::Receiver<bool>,
) {
    let end = stop.clone();
    let accept = async {
        let mut open = open.lock().await;
        loop {
            fault::task(task.name());
            match poll_fn(|cx| socket.poll_accept(cx)).await {
                Ok(stream) => {
                    open.room().await;
                    open.serve(|activity| {
                        let (site, end) = (site.clone(), end.clone());
                        Connection { site, end, activity }.serve(stream)
                    });
                }
                Err(error) => {
                    // A descriptor may be free again a moment later.
                    descriptors::warn_exhausted(&error, "cannot accept connections to the admin or probes listener");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    };
    tokio::select! {
        () = accept => {}
        _ = stop.wait_for(|stop| *stop) => {}
    }
}

fn task_of(scope: Scope) -> Task {
    match scope {
        Scope::Admin => Task::Admin,
        Scope::Probes => Task::Probes,
    }
}

// === impl Connection ===

impl Connection {
    async fn serve(self, stream: Stream) {
        let Self { site, mut end, activity } = self;
        let connected = Connected { until: Instant::now() + CONNECTION_AGE - STREAM_MARGIN, stop: end.clone() };
        let service = service_fn(|request: Request<Incoming>| {
            let (site, activity, connected) = (&site, &activity, &connected);
            async move {
                let _answering = activity.answering();
                // The requests of this connection alternate with those of others.
                yield_now().await;
                Ok::<_, Infallible>(site.respond(request.map(Body::new), connected).await)
            }
        });
        let mut connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIMEOUT)
            .max_buf_size(MAX_HEAD)
            .serve_connection(TokioIo::new(stream), service);
        let served = async {
            tokio::select! {
                ended = &mut connection => return Some(ended),
                () = over(&mut end) => Pin::new(&mut connection).graceful_shutdown(),
            }
            timeout(CONNECTION_AGE, &mut connection).await.ok()
        };
        let ended = tokio::select! {
            ended = served => ended,
            () = activity.evicted() => None,
        };
        match ended {
            Some(Ok(())) => {}
            Some(Err(error)) => tracing::debug!(%error, "an admin connection ended"),
            // After an orderly close, an unread response would stay in the kernel for minutes.
            None => drop(connection.into_parts().io.into_inner().reset_on_close()),
        }
    }
}

/// Returns when the listener stops or the connection is old.
async fn over(end: &mut watch::Receiver<bool>) {
    let _ = timeout(CONNECTION_AGE, end.wait_for(|end| *end)).await;
}
