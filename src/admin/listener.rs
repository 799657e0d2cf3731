//! One listener: bind, accept, serve HTTP/1.1.

use std::convert::Infallible;
use std::fs::Permissions;
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::timeout;

use super::routes::respond;
use super::{Admin, Scope};
use crate::config::ListenAddress;

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
    socket: Socket,
    address: ListenAddress,
    scope: Scope,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpListener),
    Unix { listener: UnixListener, _file: SocketFile },
}

/// A unix socket's file; removed with the listener.
#[derive(Debug)]
struct SocketFile(PathBuf);

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
#[error("{key}: can't listen on {address}: {error}")]
pub struct BindError {
    key: &'static str,
    address: String,
    #[source]
    error: io::Error,
}

// === impl Listener ===

impl Listener {
    pub async fn bind(address: &ListenAddress, scope: Scope) -> Result<Self, BindError> {
        let bound = match address {
            ListenAddress::Tcp(address) => bind_tcp(*address).await,
            ListenAddress::Unix(path) => bind_unix(path).await,
        };
        let (socket, address) = bound.map_err(|error| BindError {
            key: match scope {
                Scope::Admin => "admin.listen",
                Scope::Probes => "probes.listen",
            },
            address: match address {
                ListenAddress::Tcp(address) => address.to_string(),
                ListenAddress::Unix(path) => format!("unix:{}", path.display()),
            },
            error,
        })?;
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
                let (admin, address, end) = (Arc::clone(&admin), Arc::clone(&address), end.clone());
                let connection = Connection { admin, scope, address, end, _slot: slot };
                let accepted = match &socket {
                    Socket::Tcp(listener) => listener.accept().await.map(|(stream, _)| connection.spawn(stream)),
                    Socket::Unix { listener, _file } => {
                        listener.accept().await.map(|(stream, _)| connection.spawn(stream))
                    }
                };
                if let Err(error) = accepted {
                    // Out of file descriptors, mostly: a moment later some may be free again.
                    tracing::warn!(%error, "a connection to the admin or probes listener could not be accepted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
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

async fn bind_tcp(address: std::net::SocketAddr) -> io::Result<(Socket, ListenAddress)> {
    let listener = TcpListener::bind(address).await?;
    let address = ListenAddress::Tcp(listener.local_addr()?);
    Ok((Socket::Tcp(listener), address))
}

/// Binds a unix socket, in the place of one that nobody listens on any more.
async fn bind_unix(path: &Path) -> io::Result<(Socket, ListenAddress)> {
    // Connecting to a file that is no socket is refused too; such a file is not ours to remove.
    let socket = std::fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket());
    let refused = |error: io::Error| error.kind() == io::ErrorKind::ConnectionRefused;
    if socket && UnixStream::connect(path).await.is_err_and(refused) {
        std::fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)?;
    let _file = SocketFile(path.to_owned());
    std::fs::set_permissions(path, Permissions::from_mode(SOCKET_MODE))?;
    Ok((Socket::Unix { listener, _file }, ListenAddress::Unix(path.to_owned())))
}

// === impl SocketFile ===

impl Drop for SocketFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

// === impl Connection ===

impl Connection {
    fn spawn(self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        tokio::spawn(self.serve(stream));
    }

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
