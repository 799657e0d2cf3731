//! Bodies in both directions: complete, streamed, with back-pressure, never buffered whole.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response};
use http_body_util::BodyExt;

use super::Scene;
use testkit::body::{empty, fed, full, pattern, pieces};
use testkit::connection::{Protocol, get, read, request};
use testkit::origin::values;
use testkit::{eventually, within};

/// Sizes around the replay limit, a frame and a window, and far beyond.
const SIZES: [usize; 9] = [0, 1, 16_383, 16_385, 65_535, 65_536, 65_537, 1_000_003, 6_000_000];

/// The most that the buffers of the kernel and the proxy may hold. The body is far larger.
const BUFFERED: usize = 48 << 20;

const PIECE: usize = 1 << 20;

pub async fn a_body_of_any_size_arrives_whole(scene: Scene) {
    let mut record = scene.stage.origin.record("/upload");
    let mut client = scene.client().await;
    for size in SIZES {
        let body = pattern(size);
        client.ask(request(Method::POST, "/upload", full(body.clone()))).await;
        let seen = within(record.recv()).await.unwrap();
        assert_eq!(seen.body.len(), size);
        assert_eq!(seen.body, body);
        // A client may declare an empty body or not.
        if size > 0 {
            assert_eq!(seen.values("content-length"), [size.to_string()]);
        }

        let chunks: Vec<Bytes> = body.chunks(7001).map(Bytes::copy_from_slice).collect();
        client.ask(request(Method::POST, "/upload", pieces(&chunks, None))).await;
        let seen = within(record.recv()).await.unwrap();
        assert_eq!(seen.body, body, "{size} bytes in pieces");
        assert_eq!(seen.values("content-length"), Vec::<String>::new(), "{size} bytes in pieces");
    }
}

pub async fn a_get_with_a_body_keeps_it(scene: Scene) {
    let mut record = scene.stage.origin.record("/get");
    let mut client = scene.client().await;
    client.ask(request(Method::GET, "/get", full("known"))).await;
    assert_eq!(within(record.recv()).await.unwrap().body, "known");
    // Without the field, the client's library would drop the body.
    let mut unknown = request(Method::GET, "/get", pieces(&[Bytes::from_static(b"unknown")], None));
    if scene.is_http1() {
        unknown.headers_mut().insert("transfer-encoding", HeaderValue::from_static("chunked"));
    }
    client.ask(unknown).await;
    assert_eq!(within(record.recv()).await.unwrap().body, "unknown");
}

pub async fn the_pieces_of_a_request_arrive_as_they_are_sent(scene: Scene) {
    let (arrived, mut pieces) = tokio::sync::mpsc::unbounded_channel();
    scene.stage.origin.on("/pieces", move |mut request| {
        let arrived = arrived.clone();
        async move {
            while let Some(frame) = request.request.body_mut().frame().await {
                let _ = arrived.send(frame?.into_data().unwrap());
            }
            Ok(Response::new(empty()))
        }
    });
    let mut client = scene.client().await;
    let (feed, body) = fed();
    let answer = tokio::spawn(async move { client.ask(request(Method::PUT, "/pieces", body)).await });
    for piece in ["one", "two", "three"] {
        assert!(feed.send(piece).await);
        assert_eq!(within(pieces.recv()).await.unwrap(), piece);
    }
    drop(feed);
    assert_eq!(within(answer).await.unwrap().status, 200);
}

pub async fn a_request_that_expects_100_gets_it_and_its_body_arrives(scene: Scene) {
    let mut record = scene.stage.origin.record("/expect");
    if !scene.is_http1() {
        // hyper's server sends no 1xx over HTTP/2; a client may send its body all the same (RFC 9110 §10.1.1).
        let mut post = request(Method::POST, "/expect", full("body"));
        post.headers_mut().insert("expect", HeaderValue::from_static("100-continue"));
        assert_eq!(scene.client().await.ask(post).await.status, 200);
        let seen = within(record.recv()).await.unwrap();
        assert_eq!((seen.body.as_ref(), seen.values("expect").len()), (&b"body"[..], 0));
        return;
    }
    let mut raw = scene.raw().await;
    for expect in ["100-continue", "100-Continue"] {
        raw.send(format!("POST /expect HTTP/1.1\r\nHost: localhost\r\nExpect: {expect}\r\nContent-Length: 4\r\n\r\n"))
            .await;
        assert_eq!(raw.read_head().await, "HTTP/1.1 100 Continue\r\n\r\n");
        raw.send("body").await;
        assert!(raw.read_head().await.starts_with("HTTP/1.1 200 "));
        let seen = within(record.recv()).await.unwrap();
        assert_eq!((seen.body.as_ref(), seen.values("expect").len()), (&b"body"[..], 0), "it is met here");
    }
}

pub async fn a_response_of_any_size_comes_back_whole(scene: Scene) {
    let mut client = scene.client().await;
    for size in SIZES {
        scene.stage.origin.on("/known", move |_| async move { Ok(Response::new(full(pattern(size)))) });
        let answer = client.ask(get("/known")).await;
        assert_eq!(answer.body, pattern(size));
        if size > 0 {
            assert_eq!(values(&answer.headers, "content-length"), [size.to_string()]);
        }

        scene.stage.origin.on("/unknown", move |_| async move {
            let chunks: Vec<Bytes> = pattern(size).chunks(7001).map(Bytes::copy_from_slice).collect();
            Ok(Response::new(pieces(&chunks, None)))
        });
        let answer = client.ask(get("/unknown")).await;
        assert_eq!(answer.body, pattern(size));
        assert_eq!(values(&answer.headers, "content-length"), Vec::<String>::new());
    }
}

pub async fn events_come_without_delay(scene: Scene) {
    let (give, feed) = tokio::sync::oneshot::channel();
    let give = Arc::new(std::sync::Mutex::new(Some(give)));
    scene.stage.origin.on("/events", move |_| {
        let give = give.lock().unwrap().take().unwrap();
        async move {
            let (feed, body) = fed();
            let _ = give.send(feed);
            Ok(Response::builder().header("content-type", "text/event-stream").body(body).unwrap())
        }
    });
    let mut client = scene.client().await;
    let mut response = within(client.send(get("/events"))).await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let feed = within(feed).await.unwrap();
    for number in 0..20 {
        let event = format!("data: {number}\n\n");
        feed.send(event.clone()).await;
        // Each piece arrives before the next one exists: nothing waits for more.
        let frame = within(response.body_mut().frame()).await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), event);
    }
    drop(feed);
    assert_eq!(within(read(response)).await.body, "");
}

pub async fn trailers_pass_both_ways(scene: Scene) {
    let mut record = scene.stage.origin.answer("/trailers", |_| {
        let mut trailers = HeaderMap::new();
        trailers.insert("x-checksum", HeaderValue::from_static("response"));
        let body = pieces(&[Bytes::from_static(b"answer")], Some(trailers));
        Response::builder().header("trailer", "x-checksum").body(body).unwrap()
    });
    let mut trailers = HeaderMap::new();
    trailers.insert("x-checksum", HeaderValue::from_static("request"));
    let mut post = request(Method::POST, "/trailers", pieces(&[Bytes::from_static(b"asked")], Some(trailers)));
    post.headers_mut().insert("trailer", HeaderValue::from_static("x-checksum"));
    post.headers_mut().insert("te", HeaderValue::from_static("trailers"));
    let answer = scene.client().await.ask(post).await;
    let seen = within(record.recv()).await.unwrap();
    assert_eq!(seen.body, "asked");
    assert_eq!(seen.trailers.unwrap()["x-checksum"], "request");
    assert_eq!(answer.body, "answer");
    assert_eq!(answer.trailers.unwrap()["x-checksum"], "response");
}

pub async fn a_slow_client_holds_the_upstream_back(scene: Scene) {
    let sent = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&sent);
    scene.stage.origin.on("/flood", move |_| {
        let count = Arc::clone(&count);
        async move {
            let (feed, body) = fed();
            tokio::spawn(async move {
                let piece = pattern(PIECE);
                while feed.send(piece.clone()).await {
                    count.fetch_add(piece.len(), Ordering::Relaxed);
                }
            });
            Ok(Response::new(body))
        }
    });
    let mut client = scene.client().await;
    let response = within(client.send(get("/flood"))).await.unwrap();
    assert!(settled(&sent).await < BUFFERED);
    drop(response);
    client.close().await;
}

pub async fn a_slow_upstream_holds_the_client_back(scene: Scene) {
    let holding = Arc::new(std::sync::Mutex::new(Vec::new()));
    let held = Arc::clone(&holding);
    scene.stage.origin.on("/hold", move |arrived| {
        held.lock().unwrap().push(arrived.request);
        std::future::pending()
    });
    let sent = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&sent);
    let mut client = scene.client().await;
    let (feed, body) = fed();
    let asking = tokio::spawn(async move {
        let _ = client.send(request(Method::POST, "/hold", body)).await;
        client
    });
    let feeding = tokio::spawn(async move {
        let piece = pattern(PIECE);
        while feed.send(piece.clone()).await {
            count.fetch_add(piece.len(), Ordering::Relaxed);
        }
    });
    eventually("held", || !holding.lock().unwrap().is_empty()).await;
    assert!(settled(&sent).await < BUFFERED);
    asking.abort();
    feeding.abort();
    holding.lock().unwrap().clear();
}

/// The count, after it has stopped growing.
async fn settled(count: &AtomicUsize) -> usize {
    let (mut last, mut since) = (usize::MAX, Instant::now());
    loop {
        let now = count.load(Ordering::Relaxed);
        if now != last {
            (last, since) = (now, Instant::now());
        }
        if now > BUFFERED || (now > 0 && since.elapsed() > Duration::from_millis(300)) {
            return now;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

pub async fn memory_stays_flat(scene: Scene) {
    const COUNT: usize = 64;
    scene.stage.origin.on("/mirror", |arrived| async move {
        Ok(Response::new(arrived.request.into_body().map_err(Into::into).boxed_unsync()))
    });
    let mut client = scene.client().await;
    // The first request creates buffers and connections that stay.
    client.ask(request(Method::POST, "/mirror", full(pattern(PIECE)))).await;
    let before = peak_memory(scene.stage.proxy.pid());
    let (feed, body) = fed();
    let feeding = tokio::spawn(async move {
        let piece = pattern(PIECE);
        for _ in 0..COUNT {
            assert!(feed.send(piece.clone()).await);
        }
    });
    let mut response = within(client.send(request(Method::POST, "/mirror", body))).await.unwrap();
    let mut received = 0;
    while let Some(frame) = within(response.body_mut().frame()).await {
        received += frame.unwrap().into_data().unwrap().len();
    }
    feeding.await.unwrap();
    assert_eq!(received, COUNT * PIECE);
    let grown = peak_memory(scene.stage.proxy.pid()).saturating_sub(before);
    let limit = if scene.stage.up == Protocol::Http2 { 16 << 20 } else { 8 << 20 };
    assert!(grown < limit, "{grown} bytes more for {received} bytes carried");
}

/// The peak of a process, in bytes.
fn peak_memory(pid: u32) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() << 10
}
