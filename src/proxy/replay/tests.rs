use std::collections::VecDeque;

use http_body_util::BodyExt;
use proptest::prelude::*;
use tokio::sync::mpsc;

use super::*;

/// A body that the test feeds.
struct Fed {
    frames: mpsc::UnboundedReceiver<Frame<Bytes>>,
    exact: Option<u64>,
    left: u64,
}

struct Test {
    tx: Option<mpsc::UnboundedSender<Frame<Bytes>>>,
    kept: ReplayBuffer<Fed>,
    first: AttemptBody<Fed>,
    budget: Budget,
}

impl Body for Fed {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let polled = self.frames.poll_recv(cx);
        if let Poll::Ready(Some(frame)) = &polled {
            self.left -= frame.data_ref().map_or(0, |data| data.len() as u64);
        }
        polled.map(|frame| frame.map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.exact.is_some() && self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        self.exact.map_or_else(SizeHint::new, |_| SizeHint::with_exact(self.left))
    }
}

impl Test {
    fn new(limit: usize) -> Self {
        Self::sized(limit, None)
    }

    fn sized(limit: usize, exact: Option<u64>) -> Self {
        let (tx, frames) = mpsc::unbounded_channel();
        let budget = Budget::new(1 << 20);
        let fed = Fed { frames, exact, left: exact.unwrap_or(u64::MAX) };
        let (kept, first) = ReplayBuffer::new(fed, limit, &budget);
        Self { tx: Some(tx), kept, first, budget }
    }

    fn data(&self, text: &str) {
        self.tx.as_ref().unwrap().send(Frame::data(Bytes::copy_from_slice(text.as_bytes()))).unwrap();
    }

    fn trailers(&self) -> HeaderMap {
        let trailers: HeaderMap = [("x-sum".parse().unwrap(), "1".parse().unwrap())].into_iter().collect();
        self.tx.as_ref().unwrap().send(Frame::trailers(trailers.clone())).unwrap();
        trailers
    }

    fn end(&mut self) {
        self.tx = None;
    }
}

async fn piece(attempt: &mut AttemptBody<Fed>) -> Option<String> {
    let frame = attempt.frame().await?.unwrap();
    Some(String::from_utf8(frame.into_data().unwrap().to_vec()).unwrap())
}

async fn all(attempt: AttemptBody<Fed>) -> (String, Option<HeaderMap>) {
    let whole = attempt.collect().await.unwrap();
    let trailers = whole.trailers().cloned();
    (String::from_utf8(whole.to_bytes().to_vec()).unwrap(), trailers)
}

#[tokio::test]
async fn replays_one_chunk() {
    let mut test = Test::new(64);
    test.data("hello");
    test.end();
    assert_eq!(all(test.first).await.0, "hello");
    assert_eq!(all(test.kept.replay().unwrap()).await.0, "hello");
}

#[tokio::test]
async fn replays_several_chunks() {
    let mut test = Test::new(64);
    for text in ["a", "bc", "def"] {
        test.data(text);
    }
    test.end();
    assert_eq!(all(test.first).await.0, "abcdef");
    assert_eq!(all(test.kept.replay().unwrap()).await.0, "abcdef");
}

#[tokio::test]
async fn replays_trailers() {
    let mut test = Test::new(64);
    test.data("x");
    let trailers = test.trailers();
    test.end();
    assert_eq!(all(test.first).await, ("x".into(), Some(trailers.clone())));
    assert_eq!(all(test.kept.replay().unwrap()).await, ("x".into(), Some(trailers)));
}

#[tokio::test]
async fn replays_trailers_only() {
    let mut test = Test::new(64);
    let trailers = test.trailers();
    test.end();
    assert_eq!(all(test.first).await, (String::new(), Some(trailers.clone())));
    assert_eq!(all(test.kept.replay().unwrap()).await, (String::new(), Some(trailers)));
}

#[tokio::test]
async fn switches_with_body_remaining() {
    let mut test = Test::new(64);
    test.data("one ");
    assert_eq!(piece(&mut test.first).await.unwrap(), "one ");
    let replay = test.kept.replay().unwrap();
    test.data("two");
    test.end();
    assert_eq!(all(replay).await.0, "one two");
}

#[tokio::test]
async fn a_body_that_was_never_polled_is_sent_once() {
    let mut test = Test::new(64);
    let replay = test.kept.replay().unwrap();
    test.data("once");
    test.end();
    assert_eq!(all(replay).await.0, "once");
}

#[tokio::test]
async fn multiple_replays() {
    let mut test = Test::new(64);
    test.data("again");
    test.end();
    drop(test.first);
    for _ in 0..3 {
        assert_eq!(all(test.kept.replay().unwrap()).await.0, "again");
    }
}

#[tokio::test]
async fn multiple_incomplete_replays() {
    let mut test = Test::new(64);
    test.data("a");
    assert_eq!(piece(&mut test.first).await.unwrap(), "a");
    let mut second = test.kept.replay().unwrap();
    assert_eq!(piece(&mut second).await.unwrap(), "a");
    test.data("b");
    assert_eq!(piece(&mut second).await.unwrap(), "b");
    let third = test.kept.replay().unwrap();
    test.data("c");
    test.end();
    assert_eq!(all(third).await.0, "abc");
}

#[tokio::test]
async fn a_revoked_attempt_ends_in_an_error_and_is_woken() {
    let mut test = Test::new(64);
    test.data("a");
    assert_eq!(piece(&mut test.first).await.unwrap(), "a");
    let mut first = test.first;
    let mut next = Box::pin(async move { first.frame().await.unwrap() });
    assert!(poll_once(&mut next), "waits for the client");
    let _replay = test.kept.replay().unwrap();
    assert!(matches!(next.await, Err(AttemptError::Revoked)));
}

fn poll_once<F: Future>(future: &mut Pin<Box<F>>) -> bool {
    future.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending()
}

#[tokio::test]
async fn a_revocation_wakes_who_waits_for_the_client() {
    let test = Test::new(64);
    let mut first = test.first;
    let kept = test.kept;
    let local = tokio::task::LocalSet::new();
    let waiting = local.spawn_local(async move { first.frame().await.unwrap().is_err() });
    local
        .run_until(async move {
            tokio::task::yield_now().await;
            let _replay = kept.replay().unwrap();
            assert!(waiting.await.unwrap());
        })
        .await;
}

#[tokio::test]
async fn empty_body_is_always_eos() {
    let test = Test::sized(64, Some(0));
    assert!(test.first.is_end_stream());
    assert_eq!(test.first.size_hint().exact(), Some(0));
    let replay = test.kept.replay().unwrap();
    assert!(replay.is_end_stream());
    assert_eq!(replay.size_hint().exact(), Some(0));
}

#[tokio::test]
async fn eos_only_when_fully_replayed() {
    let mut test = Test::sized(64, Some(2));
    test.data("a");
    test.data("b");
    assert!(!test.first.is_end_stream());
    piece(&mut test.first).await;
    assert!(!test.first.is_end_stream());
    piece(&mut test.first).await;
    assert!(test.first.is_end_stream());
    let mut replay = test.kept.replay().unwrap();
    assert!(!test.first.is_end_stream(), "a revoked attempt is no end");
    piece(&mut replay).await;
    assert!(!replay.is_end_stream());
    piece(&mut replay).await;
    assert!(replay.is_end_stream());
}

#[tokio::test]
async fn eos_only_when_fully_replayed_with_trailers() {
    let mut test = Test::new(64);
    test.data("a");
    test.trailers();
    test.end();
    let mut first = test.first;
    piece(&mut first).await;
    assert!(!first.is_end_stream());
    assert!(first.frame().await.unwrap().unwrap().is_trailers());
    assert!(first.is_end_stream());
    let mut replay = test.kept.replay().unwrap();
    piece(&mut replay).await;
    assert!(!replay.is_end_stream());
    assert!(replay.frame().await.unwrap().unwrap().is_trailers());
    assert!(replay.is_end_stream());
}

#[tokio::test]
async fn caps_buffer() {
    let mut test = Test::new(4);
    test.data("abcd");
    piece(&mut test.first).await;
    assert!(test.kept.is_whole(), "exactly the cap fits");
    test.data("e");
    assert_eq!(piece(&mut test.first).await.unwrap(), "e", "the attempt goes on");
    assert!(!test.kept.is_whole());
    assert!(test.kept.replay().is_none());
    test.data("f");
    test.end();
    assert_eq!(all(test.first).await.0, "f");
}

#[tokio::test]
async fn caps_across_replays() {
    let mut test = Test::new(4);
    test.data("abc");
    piece(&mut test.first).await;
    let mut replay = test.kept.replay().unwrap();
    assert_eq!(piece(&mut replay).await.unwrap(), "abc");
    test.data("de");
    assert_eq!(piece(&mut replay).await.unwrap(), "de");
    assert!(test.kept.replay().is_none());
}

#[tokio::test]
async fn body_too_big() {
    let budget = Budget::new(1 << 20);
    let (tx, frames) = mpsc::unbounded_channel();
    tx.send(Frame::data(Bytes::from_static(b"big"))).unwrap();
    let (kept, mut attempt) = ReplayBuffer::streamed(Fed { frames, exact: None, left: u64::MAX }, &budget);
    assert!(!kept.is_whole());
    assert_eq!(piece(&mut attempt).await.unwrap(), "big");
    assert!(kept.replay().is_none());
}

#[tokio::test]
async fn the_budget_is_one_for_all_and_is_given_back() {
    let budget = Budget::new(4);
    let make = |text: &'static str| {
        let (tx, frames) = mpsc::unbounded_channel();
        tx.send(Frame::data(Bytes::from_static(text.as_bytes()))).unwrap();
        ReplayBuffer::new(Fed { frames, exact: None, left: u64::MAX }, 64, &budget)
    };
    let (a, mut a1) = make("abc");
    piece(&mut a1).await;
    let (b, mut b1) = make("de");
    piece(&mut b1).await;
    assert!(a.is_whole());
    assert!(!b.is_whole(), "the budget is spent");
    drop((a, a1));
    let (c, mut c1) = make("fghi");
    piece(&mut c1).await;
    assert!(c.is_whole(), "what was dropped is free again");
}

#[tokio::test]
async fn size_hint_is_correct_across_replays() {
    let mut test = Test::sized(64, Some(6));
    assert_eq!(test.first.size_hint().exact(), Some(6));
    test.data("abcd");
    piece(&mut test.first).await;
    assert_eq!(test.first.size_hint().exact(), Some(2));
    let mut replay = test.kept.replay().unwrap();
    assert_eq!(replay.size_hint().exact(), Some(6));
    piece(&mut replay).await;
    assert_eq!(replay.size_hint().exact(), Some(2));
    assert_eq!(test.budget.left.load(Ordering::Relaxed), (1 << 20) - 4);
}

#[tokio::test]
async fn a_released_body_goes_on_and_is_not_kept() {
    let mut test = Test::new(64);
    test.data("ab");
    test.data("cd");
    piece(&mut test.first).await;
    let mut replay = test.kept.replay().unwrap();
    test.kept.release();
    // The pieces that the replay has not sent yet are still kept.
    assert_eq!(piece(&mut replay).await.unwrap(), "ab");
    assert_eq!(piece(&mut replay).await.unwrap(), "cd");
    assert_eq!(test.budget.left.load(Ordering::Relaxed), 1 << 20);
    assert!(test.kept.replay().is_none());
}

#[tokio::test]
async fn a_length_that_was_not_known_is_not_known_to_a_replay() {
    let mut test = Test::new(64);
    test.data("ab");
    test.end();
    piece(&mut test.first).await;
    assert!(test.first.frame().await.is_none());
    let replay = test.kept.replay().unwrap();
    assert_eq!((replay.size_hint().lower(), replay.size_hint().exact()), (2, None));
}

proptest! {
    /// For all chunks, caps and moments of a refusal: a replay sends each of the client's bytes once.
    #[test]
    fn bytes_sent_are_bytes_received(
        chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 0..12),
        limit in 0usize..120,
        stops in prop::collection::vec(0usize..14, 0..4),
        trailers: bool,
    ) {
        let whole: Vec<u8> = chunks.concat();
        let (tx, frames) = mpsc::unbounded_channel();
        let mut waiting: VecDeque<Frame<Bytes>> = chunks.iter().map(|chunk| Frame::data(Bytes::from(chunk.clone()))).collect();
        if trailers {
            waiting.push_back(Frame::trailers(HeaderMap::new()));
        }
        let budget = Budget::new(1 << 20);
        let (kept, mut attempt) = ReplayBuffer::new(Fed { frames, exact: None, left: u64::MAX }, limit, &budget);
        let mut tx = Some(tx);
        let mut cx = Context::from_waker(Waker::noop());
        for stop in stops {
            for _ in 0..stop {
                if let (Some(tx), Some(frame)) = (&tx, waiting.pop_front()) {
                    tx.send(frame).unwrap();
                }
                let _ = Pin::new(&mut attempt).poll_frame(&mut cx);
            }
            match kept.replay() {
                Some(next) => attempt = next,
                None => {
                    // Over the cap, only the present attempt may continue.
                    prop_assert!(whole.len() > limit);
                    return Ok(());
                }
            }
        }
        for frame in waiting {
            tx.as_ref().unwrap().send(frame).unwrap();
        }
        tx.take();
        let mut sent = Vec::new();
        let mut sent_trailers = false;
        while let Poll::Ready(Some(frame)) = Pin::new(&mut attempt).poll_frame(&mut cx) {
            let frame = frame.unwrap();
            sent_trailers |= frame.is_trailers();
            if let Ok(data) = frame.into_data() {
                sent.extend_from_slice(&data);
            }
        }
        prop_assert_eq!(sent, whole);
        prop_assert_eq!(sent_trailers, trailers);
    }
}
