//! One listener: bind, accept, serve HTTP/1.1.

use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::timeout;

use super::routes::respond;
use super::{Admin, Scope};
use crate::config::ListenAddress;
use crate::downstream::listener::{self, Accepting, ListenError};

/// Further connections wait in the accept queue.
const MAX_CONNECTIONS: usize = 128;
/// From connect, or from the end of the last answer, to a full request head. Also ends idle connections.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// A request head that is longer is refused. No admin request needs more.
const MAX_HEAD: usize = 16 * 1024;
/// A connection takes no new request after this, and is cut after this again, so that a client that does not read frees its slot.
const CONNECTION_AGE: Duration = Duration::from_secs(300);
/// What answers in flight have left when the listener stops.
const GRACE: Duration = Duration::from_secs(5);
/// Who may connect to a unix socket: its owner and group.
const SOCKET_MODE: u32 = 0o660;

/// A bound listener that does not answer yet.
#[derive(Debug)]
pub struct Listener {
    socket: Accepting,
    address: ListenAddress,
    scope: Scope,
}

/// What one connection's requests are answered with.
struct Connection {
    admin: Arc<Admin>,
    scope: Scope,
    address: Arc<ListenAddress>,
    end: watch::Receiver<bool>,
    _slot: OwnedSemaphorePermit,
}

/// The address could not be listened on.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    #[error("{key}: {error}")]
    Listen { key: &'static str, error: ListenError },
    #[error("{key}: {error}")]
    Register { key: &'static str, error: io::Error },
}

// === impl Listener ===

impl Listener {
    /// Clients can connect from here on; they are answered by [`Listener::serve`].
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

    /// Where it listens, with the port that the system chose.
    pub fn address(&self) -> &ListenAddress {
        &self.address
    }

    /// Answers until `stop` is set; then answers in flight have a few seconds.
    pub async fn serve(self, admin: Arc<Admin>, mut stop: watch::Receiver<bool>) {
        let Self { socket, address, scope } = self;
        let address = Arc::new(address);
        let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let end = stop.clone();
        let accept = async {
            loop {
                let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
                match poll_fn(|cx| socket.poll_accept(cx)).await {
                    Ok(stream) => {
                        let (admin, address, end) = (Arc::clone(&admin), Arc::clone(&address), end.clone());
                        tokio::spawn(Connection { admin, scope, address, end, _slot: slot }.serve(stream));
                    }
                    Err(error) => {
                        // Out of file descriptors, mostly: a moment later some may be free again.
                        tracing::warn!(%error, "a connection to the admin or probes listener could not be accepted");
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                }
            }
        };
        tokio::select! {
            () = accept => {}
            _ = stop.wait_for(|stop| *stop) => {}
        }
        drop(socket);
        // All slots free: all connections ended.
        let all = u32::try_from(MAX_CONNECTIONS).unwrap_or(u32::MAX);
        let _ = timeout(GRACE, slots.acquire_many(all)).await;
    }
}

// === impl Connection ===

impl Connection {
    async fn serve(self, stream: impl AsyncRead + AsyncWrite + Unpin) {
        let Self { admin, scope, address, mut end, _slot } = self;
        let service = service_fn(|request: Request<Incoming>| {
            let (admin, address) = (&admin, &address);
            async move { Ok::<_, Infallible>(respond(admin, scope, address, &request).await) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIMEOUT)
            .max_buf_size(MAX_HEAD)
            .serve_connection(TokioIo::new(stream), service);
        let mut connection = pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = over(&mut end) => {
                connection.as_mut().graceful_shutdown();
                timeout(CONNECTION_AGE, connection).await.unwrap_or(Ok(()))
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "an admin connection ended");
        }
    }
}

/// The listener stops, or the connection is old.
async fn over(end: &mut watch::Receiver<bool>) {
    let _ = timeout(CONNECTION_AGE, end.wait_for(|end| *end)).await;
}
