//! A listening socket: TCP or unix.

mod socket_file;

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::task::{Context, Poll, ready};

use rustix::io::{FdFlags, fcntl_setfd, ioctl_fionbio};
use rustix::net::{AddressFamily, SocketType, sockopt};

use self::socket_file::SocketFile;
use super::stream::Stream;
use crate::config::ListenAddress;

/// Length of the accept queue. `net.core.somaxconn` may allow less.
const BACKLOG: i32 = 4096;

/// A bound socket that listens. The file of a unix socket is removed when this is dropped.
#[derive(Debug)]
pub struct Listener {
    socket: ListeningSocket,
    address: ListenAddress,
    file: Option<SocketFile>,
}

/// A listener in a runtime.
#[derive(Debug)]
pub struct Accepting {
    socket: AcceptingSocket,
    address: ListenAddress,
    file: Option<SocketFile>,
}

/// Why the proxy cannot listen on an address, and what to do.
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

// === impl Listener ===

impl Listener {
    /// Binds and listens. `mode` is the mode of the file of a unix socket.
    pub fn bind(address: &ListenAddress, mode: u32) -> Result<Self, ListenError> {
        match address {
            ListenAddress::Tcp(addr) => Self::tcp(*addr),
            ListenAddress::Unix(path) => Self::unix(path, mode),
        }
        .map_err(|what| ListenError { address: address.clone(), what })
    }

    /// The given address, with the port that the system chose for port 0.
    pub fn address(&self) -> &ListenAddress {
        &self.address
    }

    /// Registers it with the current runtime.
    pub fn register(self) -> io::Result<Accepting> {
        let Self { socket, address, file } = self;
        let socket = match socket {
            ListeningSocket::Tcp(listener) => AcceptingSocket::Tcp(tokio::net::TcpListener::from_std(listener)?),
            ListeningSocket::Unix(listener) => AcceptingSocket::Unix(tokio::net::UnixListener::from_std(listener)?),
        };
        Ok(Accepting { socket, address, file })
    }

    /// A connection from the accept queue. `WouldBlock` if it is empty.
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
                // A restart must not wait for old connections in TIME_WAIT.
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
        let (socket, file) = socket_file::bind(path, mode)?;
        let listener = rustix::net::listen(&socket, BACKLOG).map(|()| UnixListener::from(socket));
        let listener = listener.map_err(|error| explain(&error.into()))?;
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

    /// Removes it from its runtime.
    pub(super) fn deregister(self) -> io::Result<Listener> {
        let Self { socket, address, file } = self;
        let socket = match socket {
            AcceptingSocket::Tcp(listener) => ListeningSocket::Tcp(listener.into_std()?),
            AcceptingSocket::Unix(listener) => ListeningSocket::Unix(listener.into_std()?),
        };
        Ok(Listener { socket, address, file })
    }
}

fn open(family: AddressFamily) -> io::Result<OwnedFd> {
    let socket = rustix::net::socket(family, SocketType::STREAM, None)?;
    fcntl_setfd(&socket, FdFlags::CLOEXEC)?;
    ioctl_fionbio(&socket, true)?;
    Ok(socket)
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
