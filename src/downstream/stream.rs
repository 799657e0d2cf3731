//! A stream of bytes: TCP or a unix socket, so that what is above is compiled once.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustix::net::{RecvFlags, recv};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

/// An accepted connection, part of the runtime in which it was accepted.
#[derive(Debug)]
pub enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// What a stream has to say that is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ahead {
    Bytes,
    /// The peer's end, or an error.
    End,
}

/// An accepted connection on its way to another worker's runtime.
#[derive(Debug)]
pub(super) enum Detached {
    Tcp(std::net::TcpStream),
    Unix(std::os::unix::net::UnixStream),
}

// === impl Stream ===

impl Stream {
    pub(super) fn tcp(stream: TcpStream) -> io::Result<Self> {
        // Messages are written whole; to wait for more of them (Nagle) only adds a delayed acknowledgement's 40 ms.
        stream.set_nodelay(true)?;
        Ok(Self::Tcp(stream))
    }

    /// Makes its close a reset. A unix socket holds nothing after its close.
    pub fn reset_on_close(&self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.set_zero_linger(),
            Self::Unix(_) => Ok(()),
        }
    }

    /// Looks at what comes next, and leaves it there.
    pub(super) fn poll_ahead(&self, cx: &mut Context<'_>) -> Poll<Ahead> {
        macro_rules! look {
            ($stream:expr) => {
                loop {
                    if ready!($stream.poll_read_ready(cx)).is_err() {
                        return Poll::Ready(Ahead::End);
                    }
                    let peek = || Ok(recv($stream, &mut [0; 1], RecvFlags::PEEK)?);
                    match $stream.try_io(Interest::READABLE, peek) {
                        Ok((_, 1..)) => return Poll::Ready(Ahead::Bytes),
                        // There was nothing, after all.
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                        Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                        Ok((_, 0)) | Err(_) => return Poll::Ready(Ahead::End),
                    }
                }
            };
        }
        match self {
            Self::Tcp(stream) => look!(stream),
            Self::Unix(stream) => look!(stream),
        }
    }

    /// Takes it out of this runtime.
    pub(super) fn detach(self) -> io::Result<Detached> {
        match self {
            Self::Tcp(stream) => stream.into_std().map(Detached::Tcp),
            Self::Unix(stream) => stream.into_std().map(Detached::Unix),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Neither kind holds anything back in this process.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

// === impl Detached ===

impl Detached {
    /// Makes it part of the runtime that this is called in.
    pub(super) fn attach(self) -> io::Result<Stream> {
        match self {
            Self::Tcp(stream) => TcpStream::from_std(stream).map(Stream::Tcp),
            Self::Unix(stream) => UnixStream::from_std(stream).map(Stream::Unix),
        }
    }
}
