//! The socket of a connection. It reports each flush to its line, and ends as the line demands.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use super::line::{End, Line};

pub(super) struct Wire {
    socket: Socket,
    line: Arc<Line>,
}

pub(super) enum Socket {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// Runs the expression on either kind of socket.
macro_rules! on_socket {
    ($wire:expr, $socket:ident => $run:expr) => {
        match &mut $wire.get_mut().socket {
            Socket::Plain($socket) => $run,
            Socket::Tls($socket) => $run,
        }
    };
}

// === impl Wire ===

impl Wire {
    pub fn new(socket: Socket, line: Arc<Line>) -> Self {
        Self { socket, line }
    }

    /// Does not wait: a fault writes few bytes to an empty socket buffer.
    fn write_now(&mut self, bytes: &[u8]) {
        let mut cx = Context::from_waker(Waker::noop());
        let mut rest = bytes;
        while !rest.is_empty() {
            match Pin::new(&mut *self).poll_write(&mut cx, rest) {
                Poll::Ready(Ok(written)) if written > 0 => rest = rest.get(written..).unwrap_or_default(),
                _ => break,
            }
        }
        let _ = Pin::new(&mut *self).poll_flush(&mut cx);
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        match self.line.ending() {
            Some(End::Raw(bytes)) => self.write_now(&bytes),
            Some(End::Reset) => {
                let tcp = match &self.socket {
                    Socket::Plain(tcp) => tcp,
                    Socket::Tls(tls) => tls.get_ref().0,
                };
                // Without it the kernel ends the connection in an orderly way.
                let _ = tcp.set_zero_linger();
            }
            Some(End::Close | End::Drain) | None => {}
        }
        self.line.closed();
    }
}

impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        on_socket!(self, socket => Pin::new(socket).poll_read(cx, buf))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        on_socket!(self, socket => Pin::new(socket).poll_write(cx, buf))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(on_socket!(self.as_mut(), socket => Pin::new(socket).poll_flush(cx)))?;
        self.line.flushed();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_socket!(self, socket => Pin::new(socket).poll_shutdown(cx))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        on_socket!(self, socket => Pin::new(socket).poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        match &self.socket {
            Socket::Plain(socket) => socket.is_write_vectored(),
            Socket::Tls(socket) => socket.is_write_vectored(),
        }
    }
}
