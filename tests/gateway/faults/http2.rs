//! HTTP/2 upstreams that refuse a request, or reset its response.

use std::sync::Arc;

use bytes::Bytes;
use http::Method;
use http_body_util::BodyExt;
use tokio::sync::{Notify, mpsc};

use super::{bodies, start};
use testkit::Proxy;
use testkit::body::full;
use testkit::connection::{Connection, Protocol, connect, get, request};
use testkit::frames::{
    DATA, END_HEADERS, END_STREAM, Frame, Frames, HEADERS, PREFACE, RST_STREAM, SETTINGS, block, frame, goaway, reset,
    status,
};
use testkit::wire::{Log, Wire};
use testkit::within;

const REFUSED_STREAM: u32 = 7;
const INTERNAL_ERROR: u32 = 2;
const CANCEL: u32 = 8;

/// An upstream. `serve` handles each connection.
async fn wire<F>(serve: impl Fn(Frames, usize, Log) -> F + Clone + Send + 'static) -> Wire
where
    F: Future<Output = ()> + Send + 'static,
{
    Wire::start(move |stream, number, log| {
        let serve = serve.clone();
        async move {
            if let Some(frames) = Frames::accept(Box::new(stream)).await {
                serve(frames, number, log).await;
            }
        }
    })
    .await
}

fn answer(stream: u32) -> Bytes {
    frame(HEADERS, END_STREAM | END_HEADERS, stream, &block(&[(":status", "200")]))
}

async fn clients(proxy: &Proxy) -> Connection {
    Connection::over(connect(proxy.address(), None).await, Protocol::Http2, false).await
}

async fn start_http2(wire: &Wire) -> Proxy {
    start(&wire.url(), |setup| setup.set("UPSTREAM__HTTP", "2")).await
}

/// More resets than h2 remembers, plus more than end a connection.
#[tokio::test]
async fn answers_that_come_for_clients_that_have_left_end_no_connection() {
    const LEFT: usize = 2000;
    let (tell, mut told) = mpsc::unbounded_channel();
    let wire = wire(move |mut frames, _, log| {
        let tell = tell.clone();
        async move {
            log.note("connection");
            while let Some(Frame { kind, stream, payload, .. }) = frames.next().await {
                match kind {
                    HEADERS if log.count("left") < LEFT => tell.send(()).unwrap(),
                    HEADERS => frames.send(answer(stream)).await,
                    RST_STREAM if payload[..] == CANCEL.to_be_bytes() => {
                        log.note("left");
                        frames.send(answer(stream)).await;
                        tell.send(()).unwrap();
                    }
                    _ => {}
                }
            }
        }
    })
    .await;
    let proxy = start_http2(&wire).await;
    let mut client = Frames::new(connect(proxy.address(), None).await);
    client.send([PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()).await;
    let head = block(&[(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "localhost")]);
    let head = |stream| frame(HEADERS, END_STREAM | END_HEADERS, stream, &head);
    for stream in (0..u32::try_from(LEFT).unwrap()).map(|number| 2 * number + 1) {
        client.send(head(stream)).await;
        within(told.recv()).await.unwrap();
        client.send(reset(stream, CANCEL)).await;
        within(told.recv()).await.unwrap();
    }
    client.send(head(2 * LEFT as u32 + 1)).await;
    assert_eq!(status(&client.next_of(HEADERS).await.unwrap().payload), 200);
    assert_eq!(wire.log().count("connection"), 1);
}

/// The proxy repeats the requests above the last stream of a GOAWAY. None is lost and none is applied twice.
#[tokio::test]
async fn a_goaway_within_a_burst_is_seen_by_nobody() {
    const BURST: usize = 20;
    let wire = wire(|mut frames, number, log| async move {
        let mut seen = Vec::new();
        while let Some(Frame { stream, .. }) = frames.next_of(HEADERS).await {
            seen.push(stream);
            // The first connection takes one request and three more. It sends GOAWAY when the burst has arrived.
            if number > 1 || seen.len() <= 4 {
                log.note("done");
                frames.send(answer(stream)).await;
            } else if seen.len() == 10 {
                frames.send(goaway(seen[3], 0)).await;
            }
        }
    })
    .await;
    let proxy = start_http2(&wire).await;
    let mut client = clients(&proxy).await;
    // The proxy knows the upstream's SETTINGS now, so it does not spread the burst.
    assert_eq!(client.ask(get("/")).await.status, 200);
    let mut burst = Vec::new();
    for number in 0..BURST {
        let method = if number % 2 == 0 { Method::POST } else { Method::GET };
        burst.push(client.begin(request(method, "/", full("body"))).await);
    }
    for sent in burst {
        assert_eq!(within(sent).await.unwrap().status(), 200);
    }
    assert_eq!(wire.log().count("done"), BURST + 1);
}

#[tokio::test]
async fn a_refused_stream_is_sent_again_once_whatever_its_method() {
    let wire = wire(|mut frames, _, log| async move {
        let mut refused = 0;
        while let Some(Frame { stream, .. }) = frames.next_of(HEADERS).await {
            log.note("asked");
            // One, then two in a row.
            if [2, 4, 5].contains(&log.count("asked")) {
                refused += 1;
                frames.send(reset(stream, REFUSED_STREAM)).await;
            } else {
                frames.send(answer(stream)).await;
            }
        }
        assert!(refused > 0);
    })
    .await;
    let proxy = start_http2(&wire).await;
    let mut client = clients(&proxy).await;
    let statuses = [
        client.ask(get("/")).await.status.as_u16(),
        client.ask(request(Method::POST, "/", full("body"))).await.status.as_u16(),
        client.ask(request(Method::POST, "/", full("body"))).await.status.as_u16(),
        client.ask(request(Method::POST, "/", full("body"))).await.status.as_u16(),
    ];
    assert_eq!(statuses, [200, 200, 502, 200]);
    assert_eq!(wire.log().count("asked"), 6);
}

#[tokio::test]
async fn any_other_reset_is_told_and_nothing_is_sent_again() {
    let wire = wire(|mut frames, _, log| async move {
        while let Some(Frame { stream, .. }) = frames.next_of(HEADERS).await {
            log.note("asked");
            match log.count("asked") {
                2 | 3 => frames.send(reset(stream, INTERNAL_ERROR)).await,
                4 => return,
                5 => {
                    // The last stream is this one, so it may have been processed.
                    frames.send(goaway(stream, 0)).await;
                    return;
                }
                _ => frames.send(answer(stream)).await,
            }
        }
    })
    .await;
    let proxy = start_http2(&wire).await;
    let mut client = clients(&proxy).await;
    assert_eq!(client.ask(get("/")).await.status, 200);
    for (method, error) in [
        (Method::GET, "http_protocol_error"),
        (Method::POST, "http_protocol_error"),
        (Method::POST, "http_response_incomplete"),
        (Method::POST, "http_response_incomplete"),
    ] {
        let answer = client.ask(request(method.clone(), "/", full("body"))).await;
        assert_eq!((answer.status.as_u16(), answer.problem().as_str()), (502, "upstream-broken"), "{method} {error}");
        assert_eq!(answer.field("proxy-status"), format!("bearer-proxy; error={error}"), "{method}");
    }
    assert_eq!(wire.log().count("asked"), 5);
    assert_eq!(client.ask(get("/")).await.status, 200, "a new connection is found");
}

/// RFC 9113 §8.1.1: a malformed response is an error of its stream.
#[tokio::test]
async fn a_malformed_head_is_told() {
    const HEADS: &[&[(&str, &str)]] = &[
        &[],
        &[("x-a", "b")],
        &[(":status", "abc")],
        &[(":status", "20")],
        &[(":status", "200"), (":status", "200")],
        &[("x-a", "b"), (":status", "200")],
        &[(":status", "200"), ("X-Upper", "b")],
        &[(":status", "200"), ("connection", "close")],
        &[(":status", "200"), ("transfer-encoding", "chunked")],
        &[(":status", "200"), ("upgrade", "x")],
        &[(":status", "200"), ("keep-alive", "x")],
        &[(":status", "200"), ("x-a", "b\r\nc: d")],
        &[(":status", "200"), ("x-a", "b\0")],
        &[(":status", "200"), ("x a", "b")],
        &[(":status", "200"), ("content-length", "abc")],
    ];
    let wire = wire(|mut frames, _, log| async move {
        while let Some(Frame { stream, .. }) = frames.next_of(HEADERS).await {
            log.note("asked");
            let head = HEADS.get(log.count("asked") - 1).copied().unwrap_or(&[(":status", "200")]);
            frames.send(frame(HEADERS, END_STREAM | END_HEADERS, stream, &block(head))).await;
        }
    })
    .await;
    let proxy = start_http2(&wire).await;
    let mut client = clients(&proxy).await;
    for head in HEADS {
        let answer = client.ask(request(Method::POST, "/", full("body"))).await;
        assert_eq!((answer.status.as_u16(), answer.problem().as_str()), (502, "upstream-broken"), "{head:?}");
    }
    assert_eq!(client.ask(get("/")).await.status, 200);
    assert_eq!(wire.log().count("asked"), HEADS.len() + 1);
}

#[tokio::test]
async fn a_body_that_is_reset_or_of_another_length_is_cut_for_the_client() {
    const HEAD: &[(&str, &str)] = &[(":status", "200"), ("content-length", "10")];
    let wire = wire(|mut frames, _, log| async move {
        while let Some(Frame { stream, .. }) = frames.next_of(HEADERS).await {
            log.note("asked");
            frames.send(frame(HEADERS, END_HEADERS, stream, &block(HEAD))).await;
            match log.count("asked") {
                1 => {
                    frames.send(frame(DATA, 0, stream, b"hello")).await;
                    frames.send(reset(stream, INTERNAL_ERROR)).await;
                }
                2 => frames.send(frame(DATA, END_STREAM, stream, b"hello")).await,
                3 => frames.send(frame(DATA, END_STREAM, stream, b"hello world")).await,
                4 => {
                    frames.send(frame(DATA, 0, stream, b"hello")).await;
                    return;
                }
                _ => frames.send(frame(DATA, END_STREAM, stream, b"helloworld")).await,
            }
        }
    })
    .await;
    let proxy = start_http2(&wire).await;
    for number in 1..=5 {
        let mut client = clients(&proxy).await;
        let response = within(client.send(get("/"))).await;
        // Timing decides whether the proxy sees the head and the end together.
        let whole = match response {
            Ok(response) if response.status() == 200 => within(response.into_body().collect()).await.is_ok(),
            _ => false,
        };
        assert_eq!(whole, number == 5, "{number}");
    }
}

/// Body and reset are in one packet, so the proxy reads both at once.
#[tokio::test]
async fn what_came_before_a_reset_reaches_the_client() {
    const HEAD: &[(&str, &str)] = &[(":status", "200"), ("content-length", "500000")];
    // The proxy forwards 48 pieces at a time, so it meets the reset alone.
    for count in [0, 1, 40, 48] {
        let wire = wire(move |mut frames, _, _| async move {
            while let Some(Frame { stream, .. }) = frames.next_of(HEADERS).await {
                let mut all = vec![frame(HEADERS, END_HEADERS, stream, &block(HEAD))];
                all.extend(std::iter::repeat_n(frame(DATA, 0, stream, &[b'x'; 1000]), count));
                all.push(reset(stream, INTERNAL_ERROR));
                frames.send(all.concat()).await;
            }
        })
        .await;
        let proxy = start_http2(&wire).await;
        for protocol in [Protocol::Http1, Protocol::Http2] {
            let mut client = Connection::over(connect(proxy.address(), None).await, protocol, false).await;
            let (read, whole) = bodies::read(&mut client, "/").await;
            assert_eq!((read.len(), whole), (count * 1000, false), "{protocol:?}");
        }
    }
}

/// The log does not call a response truncated if the client has all of it.
#[tokio::test]
async fn a_whole_answer_is_not_logged_as_cut() {
    const SIZED: &[(&str, &str)] = &[(":status", "200"), ("content-length", "5")];
    const OPEN: &[(&str, &str)] = &[(":status", "200")];
    let arrived = Arc::new(Notify::new());
    let passed = Arc::clone(&arrived);
    let serve = |mut frames: Frames, log: Log, passed: Arc<Notify>| async move {
        while let Some(Frame { stream, .. }) = frames.next_of(HEADERS).await {
            log.note("asked");
            let (head, end) = match log.count("asked") {
                1 | 2 => (SIZED, frame(DATA, END_STREAM, stream, b"")),
                3 | 4 => (SIZED, frame(HEADERS, END_STREAM | END_HEADERS, stream, &block(&[("x-sum", "1")]))),
                5 | 6 => (OPEN, frame(HEADERS, END_STREAM | END_HEADERS, stream, &block(&[("x-sum", "1")]))),
                _ => (SIZED, reset(stream, INTERNAL_ERROR)),
            };
            frames.send(frame(HEADERS, END_HEADERS, stream, &block(head))).await;
            let data: &[u8] = if log.count("asked") > 6 { b"hell" } else { b"hello" };
            frames.send(frame(DATA, 0, stream, data)).await;
            // The end of the stream comes after the client has the bytes.
            passed.notified().await;
            frames.send(end).await;
        }
    };
    let wire = wire(move |frames, _, log| serve(frames, log, Arc::clone(&passed))).await;
    let proxy = start(&wire.url(), |setup| setup.set("UPSTREAM__HTTP", "2").set("LOG__REQUESTS", "all")).await;
    for number in 1..=8 {
        let protocol = if number % 2 == 1 { Protocol::Http1 } else { Protocol::Http2 };
        let mut client = Connection::over(connect(proxy.address(), None).await, protocol, false).await;
        let mut body = within(client.send(get(&format!("/{number}")))).await.unwrap().into_body();
        within(body.frame()).await.unwrap().unwrap();
        arrived.notify_one();
        assert_eq!(within(body.collect()).await.is_ok(), number < 7, "{number}");
    }
    for number in 1..=8 {
        let path = format!("/{number}");
        let line = proxy.wait_for_log("the request", |line| line["path"] == path.as_str()).await;
        assert_eq!(line.contains("\"cut\":true"), number >= 7, "{line}");
    }
}
