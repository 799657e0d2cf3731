//! A long body with known bytes, generated and checked piece by piece.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use testkit::body::{BoxError, pattern};

/// Not a power of two, so the check notices lost, repeated or swapped blocks.
const PERIOD: usize = 65_521;

/// Sends so many bytes.
pub struct Sending {
    at: u64,
    end: u64,
    sent: Arc<AtomicU64>,
}

/// Checks what arrives.
#[derive(Debug, Default)]
pub struct Received {
    pub bytes: u64,
    pub is_wrong: bool,
}

fn block() -> &'static Bytes {
    static BLOCK: OnceLock<Bytes> = OnceLock::new();
    BLOCK.get_or_init(|| pattern(PERIOD))
}

/// What of the block begins at this place of the body.
fn rest(at: u64) -> Bytes {
    block().slice((at % PERIOD as u64) as usize..)
}

impl Sending {
    /// `sent` is told of each piece that is taken.
    pub fn new(bytes: u64, sent: Arc<AtomicU64>) -> Self {
        Self { at: 0, end: bytes, sent }
    }
}

impl Body for Sending {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        if this.at == this.end {
            return Poll::Ready(None);
        }
        let mut piece = rest(this.at);
        piece.truncate((this.end - this.at).min(PERIOD as u64) as usize);
        this.at += piece.len() as u64;
        this.sent.store(this.at, Ordering::Relaxed);
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.at == self.end
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.end - self.at)
    }
}

impl Received {
    pub fn take(&mut self, mut piece: &[u8]) {
        while !piece.is_empty() {
            let expected = rest(self.bytes);
            let count = piece.len().min(expected.len());
            self.is_wrong |= piece[..count] != expected[..count];
            self.bytes += count as u64;
            piece = &piece[count..];
        }
    }

    pub fn is_whole(&self, bytes: u64) -> bool {
        !self.is_wrong && self.bytes == bytes
    }
}
