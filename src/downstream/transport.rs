//! The transport of HTTP: a socket, or TLS over a socket.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::server::TlsStream;

use super::signals::Signals;
use super::socket::Socket;

/// One type for both, so that HTTP is compiled once.
pub(super) enum Transport {
    Plain(Socket),
    /// Boxed: a TLS session is large, and a connection without TLS should not reserve memory for it.
    Tls(Box<TlsStream<Socket>>),
}

// === impl Transport ===

impl Transport {
    pub(super) fn signals(&self) -> Arc<Signals> {
        match self {
            Self::Plain(socket) => socket.signals(),
            Self::Tls(stream) => stream.get_ref().0.signals(),
        }
    }
}

impl AsyncRead for Transport {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Transport {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(socket) => match Pin::new(&mut *socket).poll_write(cx, buf) {
                Poll::Pending => socket.unless_client_has_gone(Poll::Pending, cx),
                written => written,
            },
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(socket) => match Pin::new(&mut *socket).poll_write_vectored(cx, bufs) {
                Poll::Pending => socket.unless_client_has_gone(Poll::Pending, cx),
                written => written,
            },
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => {
                let flushed = Pin::new(&mut *socket).poll_flush(cx);
                socket.unless_client_has_gone(flushed, cx)
            }
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
