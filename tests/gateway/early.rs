//! An HTTP/2 client keeps its connection if a response arrives before it has sent everything, whoever responded.

use http::Response;

use testkit::body::full;
use testkit::connection::{Protocol, connect};
use testkit::frames::{
    DATA, END_HEADERS, END_STREAM, Frames, GOAWAY, HEADERS, PREFACE, RST_STREAM, SETTINGS, WINDOW_UPDATE, block, frame,
};
use testkit::stage::Stage;

/// More than h2 remembers resets of, and more than it lets a connection's frames come to streams that it has forgotten.
const REQUESTS: u32 = 600;

struct Sender(Frames);

impl Sender {
    async fn connect(stage: &Stage) -> Self {
        let mut frames = Frames::new(connect(stage.proxy.address(), None).await);
        // A window for all answers together.
        let window = frame(WINDOW_UPDATE, 0, 0, &(16u32 << 20).to_be_bytes());
        frames.send([PREFACE, &frame(SETTINGS, 0, 0, &[]), &window].concat()).await;
        Self(frames)
    }

    async fn head(&mut self, stream: u32, method: &str, path: &str, length: &str) {
        let head = [(":method", method), (":scheme", "http"), (":path", path), (":authority", "localhost")];
        let head = block(&[&head[..], &[("content-length", length)]].concat());
        self.0.send(frame(HEADERS, END_HEADERS, stream, &head)).await;
    }

    /// Up to the end of this stream's answer. No other frame may end a stream, or the connection.
    async fn answered(&mut self, stream: u32) {
        loop {
            let frame = self.0.next().await.expect("the connection has ended");
            assert!(![RST_STREAM, GOAWAY].contains(&frame.kind), "at {stream}: {frame:?}");
            if [HEADERS, DATA].contains(&frame.kind) && frame.stream == stream && frame.flags & END_STREAM != 0 {
                return;
            }
        }
    }
}

async fn stage(up: Protocol) -> Stage {
    let stage = Stage::new(up, false, |setup| setup.set("LOG__REQUESTS", "none")).await;
    stage.origin.on("/early", |_| async { Ok(Response::new(full("answered"))) });
    stage
}

#[tokio::test]
async fn what_is_still_sent_of_an_answered_request_ends_no_connection() {
    for up in [Protocol::Http1, Protocol::Http2] {
        let stage = stage(up).await;
        // By the upstream, and by the proxy itself.
        for method in ["POST", "TRACE"] {
            let mut client = Sender::connect(&stage).await;
            for stream in (0..REQUESTS).map(|number| 2 * number + 1) {
                client.head(stream, method, "/early", "4").await;
                client.answered(stream).await;
                client.0.send(frame(DATA, END_STREAM, stream, b"late")).await;
            }
        }
    }
}

#[tokio::test]
async fn a_long_rest_of_an_answered_request_is_not_waited_for() {
    let stage = stage(Protocol::Http2).await;
    let mut client = Sender::connect(&stage).await;
    client.head(1, "POST", "/early", "1048576").await;
    client.answered(1).await;
    let reset = client.0.next_of(RST_STREAM).await.expect("the connection has ended");
    assert_eq!(reset.payload, [0; 4][..], "NO_ERROR (RFC 9113 §8.1)");
}
