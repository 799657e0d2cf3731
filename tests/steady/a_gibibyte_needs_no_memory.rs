//! A body of 1 GiB in either direction takes less than 32 MiB of memory, also while its reader rests. Every byte is checked.
//!
//! The test resets `VmHWM` before each body, so it is the peak of that body. The short run uses 64 MiB.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::time::{Instant, sleep, timeout};

use crate::pattern::{Received, Sending};
use crate::scale::{figure, pick, turn};
use testkit::body::full;
use testkit::connection::{Protocol, get, request};
use testkit::memory::{Memory, mib};
use testkit::stage::Stage;

const MORE: u64 = 32 * 1024;

/// The pause of a reader: long enough to fill every buffer, shorter than any limit.
fn rest() -> Duration {
    Duration::from_millis(pick(300, 1500))
}

/// For one body.
const PATIENCE: Duration = Duration::from_secs(240);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reader {
    Steady,
    /// Stops at a quarter, at half, and at three quarters.
    Resting,
}

#[tokio::test]
async fn a_gibibyte_needs_no_memory() {
    use Protocol::{Http1, Http2};
    let _turn = turn().await;
    let size = pick(64 << 20, 1 << 30);
    let mut most = 0;
    let began = Instant::now();
    for (down, up, tls) in [(Http1, Http1, false), (Http2, Http2, true), (Http1, Http2, false), (Http2, Http1, false)] {
        let stage = Stage::new(up, tls, |setup| setup.set("LOG__REQUESTS", "none")).await;
        let memory = Memory::of(stage.proxy.pid());
        let place = Place { stage, down, size, counters: Counters::default() };
        place.serve();
        // The connection and its buffers belong to the first request, not to the body.
        place.download(Reader::Steady, 1 << 20).await;
        let before = memory.resident();
        for reader in [Reader::Steady, Reader::Resting] {
            for upload in [false, true] {
                memory.forget_peak();
                match upload {
                    true => place.upload(reader).await,
                    false => place.download(reader, size).await,
                }
                let more = memory.peak().saturating_sub(before);
                let way = if upload { "up" } else { "down" };
                let what = format!("{down:?} to {up:?}{}, {way}, {reader:?}", if tls { ", TLS" } else { "" });
                eprintln!("{what}: {} more", mib(more));
                assert!(more < MORE, "{what}: {} more", mib(more));
                most = most.max(more);
            }
        }
    }
    let each = size >> 20;
    figure(&format!("{each} MiB up and down: {} more", mib(most)), &format!("16 bodies in {:.0?}", began.elapsed()));
}

/// The progress of the current body at both ends.
#[derive(Clone, Default)]
struct Counters {
    sent: Arc<AtomicU64>,
    received: Arc<AtomicU64>,
}

struct Place {
    stage: Stage,
    down: Protocol,
    size: u64,
    counters: Counters,
}

impl Place {
    fn serve(&self) {
        let (counters, size) = (self.counters.clone(), self.size);
        self.stage.origin.on("/down", move |arrived| {
            let sent = Arc::clone(&counters.sent);
            async move {
                let size = arrived.request.uri().query().unwrap().parse().unwrap();
                Ok(Response::new(Sending::new(size, sent).boxed_unsync()))
            }
        });
        let counters = self.counters.clone();
        self.stage.origin.on("/up", move |arrived| {
            let counters = counters.clone();
            async move {
                let resting = arrived.request.uri().query() == Some("Resting");
                let reader = if resting { Reader::Resting } else { Reader::Steady };
                let received = counters.read(arrived.request.into_body(), reader, size).await;
                let whole = received.is_whole(size);
                Ok(Response::new(full(if whole { "whole".to_owned() } else { format!("{received:?}") })))
            }
        });
    }

    async fn download(&self, reader: Reader, size: u64) {
        let mut client = self.stage.client(self.down).await;
        let response = client.send(get(&format!("/down?{size}"))).await.unwrap();
        assert_eq!(response.status(), 200);
        let reading = self.counters.read(response.into_body(), reader, size);
        let received = timeout(PATIENCE, reading).await.expect("the download did not end");
        assert!(received.is_whole(size), "{received:?}");
    }

    async fn upload(&self, reader: Reader) {
        let mut client = self.stage.client(self.down).await;
        let body = Sending::new(self.size, Arc::clone(&self.counters.sent)).boxed_unsync();
        let sending = client.send(request(Method::POST, &format!("/up?{reader:?}"), body));
        let answer = timeout(PATIENCE, sending).await.expect("the upload did not end").unwrap();
        assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), Bytes::from("whole"));
    }
}

impl Counters {
    async fn read(&self, mut body: Incoming, reader: Reader, size: u64) -> Received {
        let mut received = Received::default();
        let mut rests = if reader == Reader::Resting { 1..4 } else { 0..0 };
        let mut next = rests.next();
        while let Some(frame) = body.frame().await {
            received.take(&frame.unwrap().into_data().unwrap_or_default());
            self.received.store(received.bytes, Ordering::Relaxed);
            if next.is_some_and(|quarter| received.bytes >= size / 4 * quarter) {
                next = rests.next();
                self.rest(size).await;
            }
        }
        received
    }

    /// Reads nothing until the sender has stopped.
    async fn rest(&self, size: u64) {
        sleep(rest()).await;
        let sent = self.sent.load(Ordering::Relaxed);
        sleep(rest() / 3).await;
        // The kernel's buffers hold this much. A body that fits into them proves nothing.
        if size >= 1 << 30 {
            assert_eq!(self.sent.load(Ordering::Relaxed), sent, "it went on while nobody read");
            let ahead = sent - self.received.load(Ordering::Relaxed);
            assert!(ahead < size / 4, "{ahead} bytes are on their way");
        }
    }
}

#[test]
fn what_arrives_otherwise_than_sent_is_noticed() {
    let piece = testkit::body::pattern(65_521);
    let take = |pieces: &[&[u8]]| {
        let mut received = Received::default();
        pieces.iter().for_each(|piece| received.take(piece));
        received
    };
    assert!(take(&[&piece[..1000], &piece[1000..], &piece[..7]]).is_whole(65_528));
    for wrong in
        [vec![&piece[..1000], &piece[1001..]], vec![&piece[..1000], &piece[999..]], vec![&piece[1..], &piece[..1]]]
    {
        assert!(!take(&wrong).is_whole(65_521));
    }
}
