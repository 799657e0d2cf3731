//! One address to listen on: TCP or a unix socket.

use std::fs::Metadata;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::task::{Context, Poll, ready};

use rustix::io::{FdFlags, fcntl_setfd, ioctl_fionbio};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, sockopt};

use super::stream::Stream;
use crate::config::ListenAddress;

/// Connections that the kernel holds before they are accepted; `net.core.somaxconn` may allow fewer.
const BACKLOG: i32 = 4096;

/// Bound and listening. A unix socket's file is removed when this is dropped.
#[derive(Debug)]
pub struct Listener {
    socket: ListeningSocket,
    address: ListenAddress,
    file: Option<SocketFile>,
}

/// A listener that is part of a runtime.
#[derive(Debug)]
pub struct Accepting {
    socket: AcceptingSocket,
    address: ListenAddress,
    file: Option<SocketFile>,
}

/// Why an address could not be listened on, and what to do.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {what}", address = display(address))]
pub struct ListenError {
    address: ListenAddress,
    what: String,
}

#[derive(Debug)]
enum ListeningSocket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

#[derive(Debug)]
enum AcceptingSocket {
    Tcp(tokio::net::TcpListener),
    Unix(tokio::net::UnixListener),
}

/// The file of a unix socket, known by its inode: another process may have put its own in this place since.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

// === impl Listener ===

impl Listener {
    /// Binds and listens. `mode` is for a unix socket's file.
    pub fn bind(address: &ListenAddress, mode: u32) -> Result<Self, ListenError> {
        match address {
            ListenAddress::Tcp(addr) => Self::tcp(*addr),
            ListenAddress::Unix(path) => Self::unix(path, mode),
        }
        .map_err(|what| ListenError { address: address.clone(), what })
    }

    /// As given, but with the port that the system chose for port 0.
    pub fn address(&self) -> &ListenAddress {
        &self.address
    }

    /// Makes it part of the runtime that this is called in.
    pub fn register(self) -> io::Result<Accepting> {
        let Self { socket, address, file } = self;
        let socket = match socket {
            ListeningSocket::Tcp(listener) => AcceptingSocket::Tcp(tokio::net::TcpListener::from_std(listener)?),
            ListeningSocket::Unix(listener) => AcceptingSocket::Unix(tokio::net::UnixListener::from_std(listener)?),
        };
        Ok(Accepting { socket, address, file })
    }

    /// A connection that is in the queue already; else `WouldBlock`.
    pub(super) fn accept_waiting(&self) -> io::Result<Stream> {
        match &self.socket {
            ListeningSocket::Tcp(listener) => {
                let (stream, _) = listener.accept()?;
                stream.set_nonblocking(true)?;
                Stream::tcp(tokio::net::TcpStream::from_std(stream)?)
            }
            ListeningSocket::Unix(listener) => {
                let (stream, _) = listener.accept()?;
                stream.set_nonblocking(true)?;
                tokio::net::UnixStream::from_std(stream).map(Stream::Unix)
            }
        }
    }

    fn tcp(addr: SocketAddr) -> Result<Self, String> {
        let family = if addr.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let listener = open(family)
            .and_then(|socket| {
                // A restart must not wait for the old connections' TIME_WAIT.
                sockopt::set_socket_reuseaddr(&socket, true)?;
                rustix::net::bind(&socket, &addr)?;
                rustix::net::listen(&socket, BACKLOG)?;
                Ok(TcpListener::from(socket))
            })
            .map_err(|error| explain(&error))?;
        let addr = listener.local_addr().map_err(|error| explain(&error))?;
        Ok(Self { socket: ListeningSocket::Tcp(listener), address: ListenAddress::Tcp(addr), file: None })
    }

    fn unix(path: &Path, mode: u32) -> Result<Self, String> {
        let addr = SocketAddrUnix::new(path)
            .map_err(|_| "the path is too long for a unix socket (107 bytes); choose a shorter one".to_owned())?;
        remove_stale(path)?;
        let bind = || -> io::Result<_> {
            let socket = open(AddressFamily::UNIX)?;
            rustix::net::bind(&socket, &addr)?;
            // Nobody can connect before `listen`, so the file is never open to more than `mode` allows.
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
            let file = SocketFile::new(path, &std::fs::symlink_metadata(path)?);
            rustix::net::listen(&socket, BACKLOG)?;
            Ok((UnixListener::from(socket), file))
        };
        let (listener, file) = bind().map_err(|error| explain(&error))?;
        let address = ListenAddress::Unix(path.to_owned());
        Ok(Self { socket: ListeningSocket::Unix(listener), address, file: Some(file) })
    }
}

// === impl Accepting ===

impl Accepting {
    /// The next connection.
    pub fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<Stream>> {
        Poll::Ready(match &self.socket {
            AcceptingSocket::Tcp(listener) => Stream::tcp(ready!(listener.poll_accept(cx))?.0),
            AcceptingSocket::Unix(listener) => Ok(Stream::Unix(ready!(listener.poll_accept(cx))?.0)),
        })
    }

    /// Takes it out of this runtime.
    pub(super) fn deregister(self) -> io::Result<Listener> {
        let Self { socket, address, file } = self;
        let socket = match socket {
            AcceptingSocket::Tcp(listener) => ListeningSocket::Tcp(listener.into_std()?),
            AcceptingSocket::Unix(listener) => ListeningSocket::Unix(listener.into_std()?),
        };
        Ok(Listener { socket, address, file })
    }
}

// === impl SocketFile ===

impl SocketFile {
    fn new(path: &Path, metadata: &Metadata) -> Self {
        Self { path: path.to_owned(), device: metadata.dev(), inode: metadata.ino() }
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let ours = std::fs::symlink_metadata(&self.path)
            .is_ok_and(|found| (found.dev(), found.ino()) == (self.device, self.inode));
        if ours && let Err(error) = std::fs::remove_file(&self.path) {
            tracing::debug!(path = %self.path.display(), %error, "the socket's file was not removed");
        }
    }
}

fn open(family: AddressFamily) -> io::Result<OwnedFd> {
    let socket = rustix::net::socket(family, SocketType::STREAM, None)?;
    fcntl_setfd(&socket, FdFlags::CLOEXEC)?;
    ioctl_fionbio(&socket, true)?;
    Ok(socket)
}

/// Removes what a process that was killed left behind: a socket on which nobody answers, and nothing else.
fn remove_stale(path: &Path) -> Result<(), String> {
    let found = match std::fs::symlink_metadata(path) {
        Ok(metadata) => metadata.file_type(),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(explain(&error)),
    };
    if !found.is_socket() {
        return Err("there is a file that is not a socket; remove it, or choose another path".to_owned());
    }
    match probe(path) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path).map_err(|error| explain(&error))
        }
        // A full accept queue is `WouldBlock`: somebody is there.
        _ => Err("another process may listen on it; stop that process, or choose another path".to_owned()),
    }
}

/// Connects without waiting.
fn probe(path: &Path) -> io::Result<()> {
    let socket = open(AddressFamily::UNIX)?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(())
}

fn explain(error: &io::Error) -> String {
    let mend = match error.kind() {
        ErrorKind::AddrInUse => "another process listens there; stop it, or choose another address",
        ErrorKind::AddrNotAvailable => "this machine has no such address; name one of its own, or 0.0.0.0 for all",
        ErrorKind::PermissionDenied => {
            "permission denied; a port below 1024 needs CAP_NET_BIND_SERVICE, a unix socket a folder that this user may \
             write to"
        }
        ErrorKind::NotFound => "the folder does not exist; create it",
        _ => return error.to_string(),
    };
    mend.to_owned()
}

fn display(address: &ListenAddress) -> String {
    match address {
        ListenAddress::Tcp(addr) => addr.to_string(),
        ListenAddress::Unix(path) => format!("unix:{}", path.display()),
    }
}

#[cfg(test)]
mod tests;
