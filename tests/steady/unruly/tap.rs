//! Between an HTTP/2 library and its socket: says GOAWAY for any last stream, which no library would, and ends the connection
//! while the library goes on.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Length, type, flags, stream (RFC 9113 §4.1).
const FRAME_HEAD: usize = 9;

pub struct Tap {
    tcp: TcpStream,
    control: Arc<Control>,
    /// What of a GOAWAY is still to be written.
    inserted: Vec<u8>,
    /// What has been written of the present frame's head, and what is left of its payload.
    head: Vec<u8>,
    left: usize,
    is_shut: bool,
}

/// What the tap is to do, from outside.
#[derive(Default)]
pub struct Control(Mutex<State>);

#[derive(Default)]
struct State {
    goaway: Option<u32>,
    fin: bool,
    waker: Option<Waker>,
}

impl Control {
    /// "The last stream that was or might be processed": this one.
    pub fn goaway(&self, last: u32) {
        self.tell(|state| state.goaway = Some(last));
    }

    /// Ends this side; what is written from now on is lost.
    pub fn fin(&self) {
        self.tell(|state| state.fin = true);
    }

    fn tell(&self, what: impl FnOnce(&mut State)) {
        let mut state = self.0.lock().unwrap();
        what(&mut state);
        if let Some(waker) = state.waker.take() {
            waker.wake();
        }
    }
}

impl Tap {
    pub fn new(tcp: TcpStream) -> (Self, Arc<Control>) {
        let control = Arc::<Control>::default();
        let (inserted, head) = (Vec::new(), Vec::new());
        (Self { tcp, control: Arc::clone(&control), inserted, head, left: 0, is_shut: false }, control)
    }

    /// Does what it was told. Ready once there is nothing left of that to write.
    fn poll_told(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let fin = {
            let mut state = self.control.0.lock().unwrap();
            state.waker = Some(cx.waker().clone());
            if self.is_between_frames()
                && let Some(last) = state.goaway.take()
            {
                self.inserted = [&[0, 0, 8, 7, 0, 0, 0, 0, 0][..], &last.to_be_bytes(), &0u32.to_be_bytes()].concat();
            }
            state.fin
        };
        while !self.inserted.is_empty() {
            let count = ready!(Pin::new(&mut self.tcp).poll_write(cx, &self.inserted))?;
            self.inserted.drain(..count);
        }
        if fin && !self.is_shut {
            ready!(Pin::new(&mut self.tcp).poll_shutdown(cx))?;
            self.is_shut = true;
        }
        Poll::Ready(Ok(()))
    }

    fn is_between_frames(&self) -> bool {
        self.head.is_empty() && self.left == 0
    }

    /// How much of this belongs to the present frame.
    fn of_this_frame(&self, buf: &[u8]) -> usize {
        let rest = if self.left > 0 { self.left } else { FRAME_HEAD - self.head.len() };
        rest.min(buf.len())
    }

    fn wrote(&mut self, bytes: &[u8]) {
        if self.left > 0 {
            self.left -= bytes.len();
            return;
        }
        self.head.extend_from_slice(bytes);
        if self.head.len() == FRAME_HEAD {
            self.left = u32::from_be_bytes([0, self.head[0], self.head[1], self.head[2]]) as usize;
            self.head.clear();
        }
    }
}

impl AsyncRead for Tap {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().tcp).poll_read(cx, buf)
    }
}

impl AsyncWrite for Tap {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_told(cx))?;
        if this.is_shut {
            return Poll::Ready(Ok(buf.len()));
        }
        let buf = &buf[..this.of_this_frame(buf)];
        let count = ready!(Pin::new(&mut this.tcp).poll_write(cx, buf))?;
        this.wrote(&buf[..count]);
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_told(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().tcp).poll_shutdown(cx)
    }
}
