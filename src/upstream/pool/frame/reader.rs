//! Between TLS and h2: what the upstream sends, cut so that h2 need not move it, and in fewer frames.
//!
//! h2 reads into 8 KiB, and moves what it has of a frame to a larger place when it finds that the frame does not fit: of frames of
//! 8 KiB, which nginx sends, every byte once. So of a frame that there is no room for it is given the head alone. It then makes
//! room, and the payload goes to where it stays.
//!
//! h2's work is by the frame, and so is all that is done with its pieces. So DATA frames that follow each other on one stream are
//! told as one, as far as TLS has decrypted the heads of the next, and no longer than we allow: 16 KiB. The sum of their lengths,
//! by which flow control goes (RFC 9113 §6.9.1), is the same. The last of them may have begun in the record that is there, and end
//! in one that is still on its way; for that, and no more, the first of them waits.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncBufRead, ReadBuf};

use super::{DATA, END_STREAM, FrameHead, HEAD, Incomplete, MAX_LENGTH, front};

pub(in crate::upstream::pool) struct FrameReader {
    /// The next head, as far as it has come.
    next: Incomplete,
    /// The present frame as h2 is told of it, its payload's length included.
    head: [u8; HEAD],
    length: usize,
    /// How much of the head h2 has.
    told: usize,
    /// Bytes of the present payload that are still to come.
    left: usize,
    /// So many of the frames that follow are part of the present one: their heads are left out.
    joined: usize,
    /// For the next call, since the one that met it had something to give.
    error: Option<io::Error>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stopped {
    /// All that came is taken.
    Empty,
    /// h2 has to take what it has, and to make room.
    Full,
}

// === impl FrameReader ===

impl FrameReader {
    pub(in crate::upstream::pool) fn new() -> Self {
        let next = Incomplete::default();
        Self { next, head: [0; HEAD], length: 0, told: HEAD, left: 0, joined: 0, error: None }
    }

    /// As `AsyncRead` has it.
    pub(in crate::upstream::pool) fn poll_read<R: AsyncBufRead>(
        &mut self,
        mut io: Pin<&mut R>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(error) = self.error.take() {
            return Poll::Ready(Err(error));
        }
        let before = buf.filled().len();
        // A frame without a payload is whole with its head, and nothing may follow it.
        let (_, mut stopped) = self.pass(&[], before, buf);
        while stopped == Stopped::Empty {
            let failed = match io.as_mut().poll_fill_buf(cx) {
                Poll::Ready(Ok([])) => {
                    self.end(buf);
                    break;
                }
                Poll::Ready(Ok(input)) => {
                    let (taken, why) = self.pass(input, before, buf);
                    io.as_mut().consume(taken);
                    stopped = why;
                    continue;
                }
                Poll::Ready(Err(error)) => Some(error),
                Poll::Pending => None,
            };
            if buf.filled().len() == before {
                return failed.map_or(Poll::Pending, |error| Poll::Ready(Err(error)));
            }
            self.error = failed;
            break;
        }
        Poll::Ready(Ok(()))
    }

    /// Passes on what there is room for. Gives back how much of the input is taken. `before`: so much was in `buf` already.
    fn pass(&mut self, input: &[u8], before: usize, buf: &mut ReadBuf<'_>) -> (usize, Stopped) {
        let mut rest = input;
        let stopped = loop {
            if self.told < HEAD {
                // What goes before it to the same place would be moved with it.
                if self.told == 0 && buf.filled().len() > before && buf.remaining() < HEAD + self.length {
                    break Stopped::Full;
                }
                let mut owed = self.head.get(self.told..).unwrap_or_default();
                let piece = front(&mut owed, buf.remaining());
                buf.put_slice(piece);
                self.told += piece.len();
                if self.told < HEAD || buf.remaining() < self.length {
                    break Stopped::Full;
                }
            }
            let piece = front(&mut rest, self.left.min(buf.remaining()));
            buf.put_slice(piece);
            self.left -= piece.len();
            if rest.is_empty() {
                break Stopped::Empty;
            }
            if self.left > 0 {
                break Stopped::Full;
            }
            if let Some((head, length)) = self.next.complete(&mut rest) {
                self.next = Incomplete::default();
                self.begin(head, length, rest);
            }
        };
        (input.len() - rest.len(), stopped)
    }

    /// `rest` is what has come behind the head.
    fn begin(&mut self, head: FrameHead, length: usize, rest: &[u8]) {
        self.left = length;
        if let Some(others) = self.joined.checked_sub(1) {
            self.joined = others;
            return;
        }
        let (head, length, joined) = join(head, length, rest);
        (self.head, self.length, self.joined, self.told) = (head.bytes(length), length, joined, 0);
    }

    /// A head that is cut off is h2's to complain of.
    fn end(&mut self, buf: &mut ReadBuf<'_>) {
        let next = std::mem::take(&mut self.next);
        buf.put_slice(next.bytes().get(..buf.remaining()).unwrap_or(next.bytes()));
    }
}

/// One frame for this and those behind it that may be part of it, its payload's length, and how many they are.
fn join(first: FrameHead, length: usize, mut rest: &[u8]) -> (FrameHead, usize, usize) {
    let (mut last, mut left, mut total, mut joined) = (first, length, length, 0);
    // No flag: it is not padded, and not the stream's last. h2 keeps count of empty ones.
    while (last.kind, last.flags) == (DATA, 0) && left > 0 {
        let Some((_, behind)) = rest.split_at_checked(left) else { break };
        let Some((head, behind)) = behind.split_first_chunk::<HEAD>() else { break };
        let (head, length) = FrameHead::parse(*head);
        let fits = (head.kind, head.stream) == (DATA, first.stream) && total + length <= MAX_LENGTH;
        if !fits || head.flags & !END_STREAM != 0 || (length == 0 && head.flags == 0) {
            break;
        }
        (last, left, total, joined, rest) = (head, length, total + length, joined + 1, behind);
    }
    (FrameHead { flags: last.flags, ..first }, total, joined)
}

#[cfg(test)]
mod tests;
