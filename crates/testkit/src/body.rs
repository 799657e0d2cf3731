//! Bodies of both directions: whole, in pieces that the test sends, with trailers.

use bytes::Bytes;
use http::HeaderMap;
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use tokio::sync::mpsc;

pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

pub type TestBody = UnsyncBoxBody<Bytes, BoxError>;

/// Feeds a body piece by piece. The body ends when this is dropped. A full queue means back-pressure.
pub struct Feed(mpsc::Sender<Result<Frame<Bytes>, BoxError>>);

pub fn empty() -> TestBody {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// A body of known length.
pub fn full(bytes: impl Into<Bytes>) -> TestBody {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// A body of unknown length, and what feeds it.
pub fn fed() -> (Feed, TestBody) {
    let (sender, mut receiver) = mpsc::channel(1);
    let stream = futures_util::stream::poll_fn(move |cx| receiver.poll_recv(cx));
    (Feed(sender), StreamBody::new(stream).boxed_unsync())
}

/// A body of unknown length with these pieces and trailers.
pub fn pieces(pieces: &[Bytes], trailers: Option<HeaderMap>) -> TestBody {
    let mut frames: Vec<Result<Frame<Bytes>, BoxError>> =
        pieces.iter().map(|piece| Ok(Frame::data(piece.clone()))).collect();
    frames.extend(trailers.map(|trailers| Ok(Frame::trailers(trailers))));
    StreamBody::new(futures_util::stream::iter(frames)).boxed_unsync()
}

/// Bytes that differ from place to place.
pub fn pattern(length: usize) -> Bytes {
    (0..length).map(|index| (index.wrapping_mul(31) >> 3).to_le_bytes()[0]).collect::<Vec<u8>>().into()
}

impl Feed {
    /// Waits until the previous piece was read. False: the body is no longer read.
    pub async fn send(&self, piece: impl Into<Bytes>) -> bool {
        self.0.send(Ok(Frame::data(piece.into()))).await.is_ok()
    }

    pub async fn trailers(self, trailers: HeaderMap) {
        let _ = self.0.send(Ok(Frame::trailers(trailers))).await;
    }

    /// The body fails instead of ending.
    pub async fn fail(self) {
        let _ = self.0.send(Err("failed on purpose".into())).await;
    }
}
