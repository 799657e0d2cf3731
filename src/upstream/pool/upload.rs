//! Sends a request body on an HTTP/2 stream.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::{Reason, SendStream};
use tokio::time::{Sleep, sleep};

use super::RequestBody;

/// Sends the body. The future returns how that ended.
pub(super) struct Upload<B> {
    body: B,
    stream: SendStream<Bytes>,
    /// A piece of the body that waits for the window.
    piece: Option<Piece>,
    /// How long the upstream may keep its window closed. `None`: the wait for the response head has limits of its own.
    limit: Option<Duration>,
    stalled: Option<Pin<Box<Sleep>>>,
}

struct Piece {
    data: Bytes,
    last: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Uploaded {
    Whole,
    /// The stream takes no more data. Its response or its error says why.
    Closed,
    /// The body failed; the stream was reset.
    Failed,
}

// === impl Upload ===

impl<B: RequestBody> Upload<B> {
    pub(super) fn new(body: B, stream: SendStream<Bytes>) -> Self {
        Self { body, stream, piece: None, limit: None, stalled: None }
    }

    /// Continues after the response head, when the limits on the wait for it no longer apply.
    pub(super) fn detached(mut self, limit: Duration) -> Self {
        self.limit = Some(limit);
        self
    }

    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        while self.stream.capacity() == 0 {
            match self.stream.poll_capacity(cx) {
                Poll::Ready(Some(Ok(_))) => {}
                Poll::Ready(Some(Err(_)) | None) => return Poll::Ready(false),
                Poll::Pending => {
                    let Some(limit) = self.limit else { return Poll::Pending };
                    let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(limit)));
                    ready!(stalled.as_mut().poll(cx));
                    self.stream.send_reset(Reason::CANCEL);
                    return Poll::Ready(false);
                }
            }
        }
        self.stalled = None;
        Poll::Ready(true)
    }

    /// Returns `None` if more data may follow.
    fn send(&mut self, Piece { data, last }: Piece) -> Option<Uploaded> {
        match self.stream.send_data(data, last) {
            Ok(()) => last.then_some(Uploaded::Whole),
            Err(_) => Some(Uploaded::Closed),
        }
    }
}

impl<B: RequestBody> Future for Upload<B> {
    type Output = Uploaded;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Uploaded> {
        let this = self.get_mut();
        loop {
            // This also registers for a wake-up by a reset.
            if this.stream.poll_reset(cx).is_ready() {
                return Poll::Ready(Uploaded::Closed);
            }
            if let Some(piece) = this.piece.take() {
                match this.poll_room(cx) {
                    Poll::Pending => {
                        this.piece = Some(piece);
                        return Poll::Pending;
                    }
                    Poll::Ready(false) => return Poll::Ready(Uploaded::Closed),
                    Poll::Ready(true) => match this.send(piece) {
                        Some(ended) => return Poll::Ready(ended),
                        None => continue,
                    },
                }
            }
            let frame = match ready!(Pin::new(&mut this.body).poll_frame(cx)) {
                Some(Ok(frame)) => frame,
                Some(Err(_)) => {
                    this.stream.send_reset(Reason::CANCEL);
                    return Poll::Ready(Uploaded::Failed);
                }
                None => {
                    let ended = this.send(Piece { data: Bytes::new(), last: true });
                    return Poll::Ready(ended.unwrap_or(Uploaded::Whole));
                }
            };
            match frame.into_data() {
                Ok(data) => {
                    let piece = Piece { last: this.body.is_end_stream(), data };
                    if piece.data.is_empty() {
                        if let Some(ended) = this.send(piece) {
                            return Poll::Ready(ended);
                        }
                    } else {
                        // Reserved only now, and only one byte: a reservation takes from all streams of the connection, and a body
                        // may wait long for its next piece. `send_data` accepts a whole piece regardless of it.
                        this.stream.reserve_capacity(1);
                        this.piece = Some(piece);
                    }
                }
                Err(frame) => {
                    let Ok(trailers) = frame.into_trailers() else { continue };
                    this.stream.reserve_capacity(0);
                    return Poll::Ready(match this.stream.send_trailers(trailers) {
                        Ok(()) => Uploaded::Whole,
                        Err(_) => {
                            this.stream.send_reset(Reason::CANCEL);
                            Uploaded::Closed
                        }
                    });
                }
            }
        }
    }
}
