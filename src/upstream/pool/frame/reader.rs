//! Between TLS and h2: what the upstream sends, in frames that h2 need not move, and in fewer.
//!
//! h2 reads into a buffer of 8 KiB. When it finds that a frame does not fit into what is left of it, it moves what it has of the
//! frame to another: of frames of 8 KiB, which nginx sends, every byte once. So of such a frame it is given the head alone. It then
//! makes room, and the payload goes to where it stays.
//!
//! Its work is by the frame, as is all that is done with its pieces. But flow control goes by the sum of the lengths (RFC 9113
//! §6.9.1), and nothing by where a frame of DATA ends. So what one record of TLS has of one stream's DATA, in frames that follow each
//! other, is told as one frame. Of the last it may hold a part: the rest of that is told as a frame of its own, with what follows
//! it. Nothing waits for what has not come.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncBufRead, ReadBuf};

use super::{DATA, END_STREAM, FRAME_HEAD, FrameHead, Incomplete, MAX_FRAME, front};

pub(in crate::upstream::pool) struct FrameReader {
    /// The next head, as far as it has come.
    next: Incomplete,
    /// The present frame as it was sent, and how much of its payload is still to come.
    sent: FrameHead,
    left: usize,
    /// What is left of it is not yet part of a frame that was told.
    untold: bool,
    /// The head of the present frame as h2 is told of it, and how much of that h2 has.
    head: [u8; FRAME_HEAD],
    head_given: usize,
    /// Of its payload, what h2 does not have.
    payload: usize,
    /// So many frames that were sent behind the present one are part of it: their heads are left out.
    joined: usize,
    /// Bytes of DATA that the heads so far have announced.
    data: u64,
    /// For the next call, since the one that met it had something to give.
    error: Option<io::Error>,
}

/// A frame as h2 is told of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Told {
    flags: u8,
    length: usize,
    joined: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stopped {
    /// All that came is taken.
    Empty,
    /// h2 has to take what it has, or to make room.
    Full,
}

// === impl FrameReader ===

impl FrameReader {
    pub(in crate::upstream::pool) fn new() -> Self {
        Self {
            next: Incomplete::default(),
            sent: FrameHead { kind: DATA, flags: 0, stream: [0; 4] },
            left: 0,
            untold: false,
            head: [0; FRAME_HEAD],
            head_given: FRAME_HEAD,
            payload: 0,
            joined: 0,
            data: 0,
            error: None,
        }
    }

    /// Bytes of DATA that have come, the last frame's as a whole: what counts against the windows (RFC 9113 §6.9.1).
    pub(in crate::upstream::pool) fn data(&self) -> u64 {
        self.data
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
        let ended = loop {
            match io.as_mut().poll_fill_buf(cx) {
                Poll::Ready(Ok([])) => break Poll::Ready(Ok(())),
                Poll::Ready(Ok(input)) => {
                    let (taken, stopped) = self.pass(input, before, buf);
                    io.as_mut().consume(taken);
                    if stopped == Stopped::Full {
                        return Poll::Ready(Ok(()));
                    }
                }
                Poll::Ready(Err(error)) => break Poll::Ready(Err(error)),
                Poll::Pending => break Poll::Pending,
            }
        };
        // A frame without a payload is whole with its head, and nothing need follow it.
        self.pass(&[], before, buf);
        if buf.filled().len() > before {
            if let Poll::Ready(Err(error)) = ended {
                self.error = Some(error);
            }
            return Poll::Ready(Ok(()));
        }
        if matches!(ended, Poll::Ready(Ok(()))) {
            self.end(buf);
        }
        ended
    }

    /// Passes on what there is room for. Gives back how much of the input is taken. `before`: so much was in `buf` already.
    fn pass(&mut self, input: &[u8], before: usize, buf: &mut ReadBuf<'_>) -> (usize, Stopped) {
        let mut rest = input;
        let stopped = loop {
            if self.untold {
                // How much has come of it, and behind it, decides how long it is told to be.
                if self.left > 0 && rest.is_empty() {
                    break Stopped::Empty;
                }
                let told = join(self.sent, self.left, rest);
                // What is before it in the buffer would be moved with it.
                if buf.filled().len() > before && buf.remaining() < FRAME_HEAD + told.length {
                    break Stopped::Full;
                }
                self.begin(told);
            }
            if self.head_given < FRAME_HEAD {
                let mut owed = self.head.get(self.head_given..).unwrap_or_default();
                let piece = front(&mut owed, buf.remaining());
                buf.put_slice(piece);
                self.head_given += piece.len();
                if self.head_given < FRAME_HEAD || buf.remaining() < self.payload {
                    break Stopped::Full;
                }
            }
            let piece = front(&mut rest, self.payload.min(self.left).min(buf.remaining()));
            buf.put_slice(piece);
            self.payload -= piece.len();
            self.left -= piece.len();
            // It was cut, at the end of a record or at the longest that a frame may be.
            self.untold = self.left > 0 && self.payload == 0;
            if rest.is_empty() {
                break Stopped::Empty;
            }
            if self.left == 0 {
                self.take_head(&mut rest);
            } else if !self.untold {
                break Stopped::Full;
            }
        };
        (input.len() - rest.len(), stopped)
    }

    fn begin(&mut self, Told { flags, length, joined }: Told) {
        self.head = FrameHead { flags, ..self.sent }.bytes(length);
        (self.head_given, self.payload, self.joined, self.untold) = (0, length, joined, false);
    }

    fn take_head(&mut self, rest: &mut &[u8]) {
        let Some((head, length)) = self.next.complete(rest) else { return };
        self.next = Incomplete::default();
        (self.sent, self.left) = (head, length);
        if head.kind == DATA {
            self.data = self.data.saturating_add(length as u64);
        }
        match self.joined.checked_sub(1) {
            Some(others) => self.joined = others,
            None => self.untold = true,
        }
    }

    /// What was cut off is h2's to complain of. There is room for a head.
    fn end(&mut self, buf: &mut ReadBuf<'_>) {
        let next = std::mem::take(&mut self.next);
        let head = self.sent.bytes(self.left);
        let bytes = if self.untold { &head[..] } else { next.bytes() };
        (self.left, self.untold) = (0, false);
        buf.put_slice(bytes.get(..buf.remaining()).unwrap_or(bytes));
    }
}

/// This frame and those behind it that are told as one. `left`: what is to come of the first frame's payload; `rest`: what has come of it, and behind it.
fn join(first: FrameHead, mut left: usize, mut rest: &[u8]) -> Told {
    let mut told = Told { flags: first.flags, length: left, joined: 0 };
    // Without a flag it is neither padded nor the stream's last. What is longer than we allow is h2's to refuse.
    while (first.kind, told.flags) == (DATA, 0) && left > 0 && left <= MAX_FRAME {
        let Some((_, behind)) = rest.split_at_checked(left) else { break };
        let Some((head, behind)) = behind.split_first_chunk::<FRAME_HEAD>() else { break };
        let (head, length) = FrameHead::parse(*head);
        let is_of_it = (head.kind, head.stream) == (DATA, first.stream) && head.flags & !END_STREAM == 0;
        let come = length.min(behind.len()).min(MAX_FRAME - told.length);
        // Of frames that are empty, and not the last, h2 keeps count. It does of short ones, too; but none is made shorter without
        // the one before it growing by as much.
        let adds = come > 0 || (length == 0 && head.flags != 0);
        if !is_of_it || !adds || length > MAX_FRAME {
            break;
        }
        told.joined += 1;
        told.length += come;
        if come < length {
            break;
        }
        told.flags = head.flags;
        (left, rest) = (length, behind);
    }
    told
}

#[cfg(test)]
mod tests;
