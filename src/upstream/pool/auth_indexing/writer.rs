//! The writer below h2: restores the values of placeholders in header blocks, and passes everything else unchanged.
//!
//! It also writes once per poll. h2 flushes after each piece of a body, but the connection's task decides when to write ([`Flush`]).
//! So the head and the body of a request, and the requests of many clients, need one system call and one TLS record: 1.2 writes per
//! POST, including the response to the client, and 2.1 without this (counted by strace).

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{AuthIndexing, NotRestored};
use crate::upstream::pool::frame::{
    CONTINUATION, END_HEADERS, FRAME_HEAD, FrameHead, HEADERS, Incomplete, MAX_FRAME, front,
};

/// The connection as h2 sees it.
pub(in crate::upstream::pool) struct RestoringWriter<T>(Rc<RefCell<Writer<T>>>);

/// Sends what h2 has written. To be polled after each poll of h2's connection.
pub(in crate::upstream::pool) struct Flush<T>(Rc<RefCell<Writer<T>>>);

struct Writer<T> {
    io: T,
    auth: AuthIndexing,
    part: Part,
    /// Bytes taken from h2 and not fully written yet.
    out: Vec<u8>,
    /// How many bytes of `out` are written.
    gone: usize,
    /// Why a write failed. h2 gets it and ends the connection.
    error: Option<io::Error>,
    /// A block did not restore its token. Nothing more is taken from h2.
    broken: bool,
}

/// The position in the bytes of h2 (RFC 9113 §4.1).
enum Part {
    /// How many more bytes of a frame, or of the preface, pass unchanged.
    Pass(usize),
    FrameHead(Incomplete),
    /// A HEADERS frame, and the CONTINUATION frames that belong to it.
    Block {
        /// The header of the HEADERS frame.
        head: FrameHead,
        /// The block without frame headers.
        block: Vec<u8>,
        /// How much of the present frame is missing.
        left: usize,
        /// The present frame is the last of the block.
        last: bool,
    },
    /// Between the frames of a block.
    Continuation {
        head: FrameHead,
        block: Vec<u8>,
        next: Incomplete,
    },
}

const PREFACE: usize = 24;

/// How much is taken from h2 before it is written: two TLS records.
const MAX_OUT: usize = 32 * 1024;
/// Larger pieces are written from their place, and not copied.
const LARGE: usize = 8 * 1024;

// === impl RestoringWriter ===

impl<T> RestoringWriter<T> {
    pub(in crate::upstream::pool) fn new(io: T, auth: AuthIndexing) -> (Self, Flush<T>) {
        let writer =
            Writer { io, auth, part: Part::Pass(PREFACE), out: Vec::new(), gone: 0, error: None, broken: false };
        let writer = Rc::new(RefCell::new(writer));
        (Self(Rc::clone(&writer)), Flush(writer))
    }
}

// === impl Flush ===

impl<T: AsyncWrite + Unpin> Flush<T> {
    /// Returns whether h2 must be polled again, to learn of an error.
    pub(in crate::upstream::pool) fn poll(&self, cx: &mut Context<'_>) -> bool {
        let mut writer = self.0.borrow_mut();
        match writer.poll_flush(cx) {
            Poll::Ready(Err(error)) => {
                writer.error = Some(error);
                true
            }
            Poll::Ready(Ok(())) | Poll::Pending => false,
        }
    }
}

// === impl Writer ===

impl<T> Writer<T> {
    /// Takes bytes until there is enough to write, or until a large piece follows. Returns how many, and how many of the following
    /// bytes pass unchanged.
    fn take(&mut self, bytes: &[u8]) -> Result<(usize, usize), NotRestored> {
        let mut rest = bytes;
        while !rest.is_empty() && self.out.len() < MAX_OUT {
            self.part = match std::mem::replace(&mut self.part, Part::Pass(0)) {
                Part::Pass(0) => Part::FrameHead(Incomplete::default()),
                Part::Pass(left) => {
                    let passing = left.min(rest.len());
                    if passing >= LARGE {
                        self.part = Part::Pass(left);
                        return Ok((bytes.len() - rest.len(), passing));
                    }
                    self.out.extend_from_slice(front(&mut rest, passing));
                    Part::Pass(left - passing)
                }
                Part::FrameHead(mut incomplete) => match incomplete.complete(&mut rest) {
                    None => Part::FrameHead(incomplete),
                    Some((head, left)) if head.kind == HEADERS => {
                        // A block usually arrives whole, and needs no copy.
                        if head.ends_headers() && left <= rest.len() {
                            self.write_block(head, front(&mut rest, left))?;
                            Part::Pass(0)
                        } else {
                            self.within(head, Vec::with_capacity(left), left, head.ends_headers())?
                        }
                    }
                    Some((head, left)) => {
                        self.out.extend_from_slice(&head.bytes(left));
                        Part::Pass(left)
                    }
                },
                Part::Block { head, mut block, left, last } => {
                    let piece = front(&mut rest, left);
                    block.extend_from_slice(piece);
                    self.within(head, block, left - piece.len(), last)?
                }
                Part::Continuation { head, block, mut next } => match next.complete(&mut rest) {
                    None => Part::Continuation { head, block, next },
                    Some((next, left)) => self.within(head, block, left, next.ends_headers())?,
                },
            };
        }
        Ok((bytes.len() - rest.len(), 0))
    }

    /// `left`: how much of the present frame of the block is missing.
    fn within(&mut self, head: FrameHead, block: Vec<u8>, left: usize, last: bool) -> Result<Part, NotRestored> {
        Ok(match (left, last) {
            (0, true) => {
                self.write_block(head, &block)?;
                Part::Pass(0)
            }
            (0, false) => Part::Continuation { head, block, next: Incomplete::default() },
            (left, last) => Part::Block { head, block, left, last },
        })
    }

    fn write_block(&mut self, head: FrameHead, block: &[u8]) -> Result<(), NotRestored> {
        let head = FrameHead { flags: head.flags | END_HEADERS, ..head };
        let start = self.out.len();
        self.out.extend_from_slice(&head.bytes(0));
        if let Err(error) = self.auth.restore(head.stream_id(), block, &mut self.out) {
            self.out.truncate(start);
            self.broken = true;
            return Err(error);
        }
        let length = self.out.len() - start - FRAME_HEAD;
        if length <= MAX_FRAME {
            if let Some(place) = self.out.get_mut(start..start + FRAME_HEAD) {
                place.copy_from_slice(&head.bytes(length));
            }
            return Ok(());
        }
        // The block is too long for one frame, because of the value or already before.
        let block = self.out.split_off(start + FRAME_HEAD);
        self.out.truncate(start);
        let mut pieces = block.chunks(MAX_FRAME).enumerate().peekable();
        while let Some((number, piece)) = pieces.next() {
            let kind = if number == 0 { HEADERS } else { CONTINUATION };
            let flags = if number == 0 { head.flags & !END_HEADERS } else { 0 };
            let flags = if pieces.peek().is_none() { flags | END_HEADERS } else { flags };
            self.out.extend_from_slice(&FrameHead { kind, flags, ..head }.bytes(piece.len()));
            self.out.extend_from_slice(piece);
        }
        Ok(())
    }
}

impl<T: AsyncWrite + Unpin> Writer<T> {
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_out(cx))?;
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn check(&mut self) -> io::Result<()> {
        if self.broken {
            return Err(io::Error::other(NotRestored));
        }
        self.error.take().map_or(Ok(()), Err)
    }

    /// Writes the bytes that were taken.
    fn poll_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.gone < self.out.len() {
            let left = self.out.get(self.gone..).unwrap_or_default();
            match ready!(Pin::new(&mut self.io).poll_write(cx, left))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.gone += written,
            }
        }
        self.out.clear();
        self.gone = 0;
        Poll::Ready(Ok(()))
    }

    /// Writes the bytes that were taken and then `passing`, in one write. Returns how much of `passing` is written.
    fn poll_out_with(&mut self, cx: &mut Context<'_>, passing: &[u8]) -> Poll<io::Result<usize>> {
        let taken = self.out.len() - self.gone;
        let written = {
            let pieces = [IoSlice::new(self.out.get(self.gone..).unwrap_or_default()), IoSlice::new(passing)];
            let io = Pin::new(&mut self.io);
            if taken == 0 { io.poll_write(cx, passing) } else { io.poll_write_vectored(cx, &pieces) }
        };
        let written = ready!(written)?;
        if written == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        self.gone += written.min(taken);
        if self.gone == self.out.len() {
            self.out.clear();
            self.gone = 0;
        }
        let passed = written.saturating_sub(taken);
        if let Part::Pass(left) = &mut self.part {
            *left -= passed;
        }
        Poll::Ready(Ok(passed))
    }

    fn poll_take<'a>(
        &mut self,
        cx: &mut Context<'_>,
        pieces: impl Iterator<Item = &'a [u8]>,
    ) -> Poll<io::Result<usize>> {
        self.check()?;
        let mut taken = 0;
        for piece in pieces {
            // Takes more only if there is room, so that h2 notices how fast the peer reads.
            if self.out.len() >= MAX_OUT {
                match self.poll_out(cx)? {
                    Poll::Ready(()) => {}
                    Poll::Pending if taken > 0 => return Poll::Ready(Ok(taken)),
                    Poll::Pending => return Poll::Pending,
                }
            }
            let (count, passing) = self.take(piece).map_err(io::Error::other)?;
            taken += count;
            if passing > 0 {
                let passing = piece.get(count..count + passing).unwrap_or_default();
                return match self.poll_out_with(cx, passing) {
                    Poll::Ready(Ok(passed)) if taken + passed > 0 => Poll::Ready(Ok(taken + passed)),
                    // The earlier bytes filled the write. The next call continues.
                    Poll::Ready(Ok(_)) => {
                        cx.waker().wake_by_ref();
                        Poll::Pending
                    }
                    Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                    Poll::Pending if taken > 0 => Poll::Ready(Ok(taken)),
                    Poll::Pending => Poll::Pending,
                };
            }
            if count < piece.len() {
                break;
            }
        }
        Poll::Ready(Ok(taken))
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for RestoringWriter<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0.borrow_mut().io).poll_read(cx, buf)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for RestoringWriter<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.0.borrow_mut().poll_take(cx, std::iter::once(buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.0.borrow_mut().poll_take(cx, bufs.iter().map(|piece| &**piece))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// [`Flush`] does it, as long as there is room for more, so that h2 notices how fast the peer reads.
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut writer = self.0.borrow_mut();
        writer.check()?;
        if writer.out.len() >= MAX_OUT { writer.poll_flush(cx) } else { Poll::Ready(Ok(())) }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut writer = self.0.borrow_mut();
        writer.check()?;
        ready!(writer.poll_out(cx))?;
        Pin::new(&mut writer.io).poll_shutdown(cx)
    }
}
