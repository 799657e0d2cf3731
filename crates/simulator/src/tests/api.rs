//! The endpoints: every kind of response that a proxy must forward.

use http_body_util::StreamBody;
use hyper::body::Frame;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

async fn running() -> (Simulator, String) {
    let simulator = Simulator::start(Options::league8()).await.unwrap();
    let token = simulator.grant().access_token;
    (simulator, token)
}

#[tokio::test]
async fn the_documented_endpoints_have_the_documented_shapes() {
    let (simulator, token) = running().await;
    let json = async |target: &str| get(&simulator, target, &token).await.unwrap().json();
    assert_eq!(json("/api/v2/health").await["status"], "healthy");
    assert_eq!(json("/api/v2/version").await["version"], "V2.7");
    assert_eq!(json("/api/v2/infosystem/passolution?lang=en").await["result"]["current_page"], 1);
    assert_eq!(json("/api/v2/account/subscription").await["type"], "premium");
    assert_eq!(json("/api/v2/countries").await["data"].as_array().unwrap().len(), 10);
    assert_eq!(json("/api/v2/countries?limit=3").await["data"].as_array().unwrap().len(), 3);
    let pdf = get(&simulator, "/api/v2/content/all/pdf?lang=de", &token).await.unwrap();
    assert_eq!(pdf.header("content-type"), Some("application/pdf"));
    assert!(pdf.text().starts_with("%PDF-"));
}

#[tokio::test]
async fn echo_tells_what_arrived_and_keeps_the_token_to_itself() {
    let (simulator, token) = running().await;
    for http in [Http::One, Http::Two] {
        let bearer = format!("Bearer {token}");
        let headers = [("authorization", bearer.as_str()), ("x-a", "1"), ("x-a", "2")];
        let put = request(&simulator, Method::PUT, "/api/v2/echo/a%2Fb//c?x=%20&y", &headers, "hello");
        let seen = send(&simulator, http, put).await.unwrap();
        let body = seen.json();
        assert_eq!(
            (body["method"].as_str(), body["target"].as_str()),
            (Some("PUT"), Some("/api/v2/echo/a%2Fb//c?x=%20&y"))
        );
        assert_eq!((body["body_length"].as_u64(), body["token"].as_u64()), (Some(5), Some(1)));
        let pairs = body["headers"].as_array().unwrap();
        assert!(pairs.contains(&json!(["authorization", "Bearer token #1"])), "{body}");
        assert!(pairs.contains(&json!(["x-a", "1"])) && pairs.contains(&json!(["x-a", "2"])), "{body}");
        assert_eq!(body["host"], simulator.address().to_string());
        assert!(!seen.text().contains(&token));
    }
}

#[tokio::test]
async fn statuses_and_answers_come_as_they_were_asked_for() {
    let (simulator, token) = running().await;
    for status in [200, 204, 304, 404, 418, 503] {
        let seen = get(&simulator, &format!("/api/v2/status/{status}"), &token).await.unwrap();
        assert_eq!(seen.status, status);
        assert_eq!(seen.body.is_empty(), matches!(status, 204 | 304), "{status}");
    }
    let target = "/api/v2/answer?status=299&header=Set-Cookie:%20a=1&header=Set-Cookie:%20b=2&body=hi";
    let seen = get(&simulator, target, &token).await.unwrap();
    assert_eq!((seen.status, seen.text()), (299, "hi"));
    assert_eq!(seen.headers.get_all("set-cookie").iter().count(), 2);
    let always = get(&simulator, "/api/v2/always-401", &token).await.unwrap();
    assert_eq!((always.status, always.header("x-always")), (401, Some("401")));
    assert_eq!(get(&simulator, "/api/v2/forbidden", &token).await.unwrap().status, 403);
    let quota = get(&simulator, "/api/v2/quota", &token).await.unwrap();
    assert_eq!((quota.status, quota.header("retry-after")), (429, Some("3600")));
    assert_eq!(
        get(&simulator, "/api/v2/broken", &token).await.unwrap().header("content-type"),
        Some("text/html; charset=UTF-8")
    );
    assert_eq!(get(&simulator, "/api/v2/no-such-thing", &token).await.unwrap().status, 404);
}

#[tokio::test]
async fn a_head_request_gets_a_head() {
    let (simulator, token) = running().await;
    let bearer = format!("Bearer {token}");
    for http in [Http::One, Http::Two] {
        let head = request(&simulator, Method::HEAD, "/api/v2/bytes/1000", &[("authorization", &bearer)], "");
        let seen = send(&simulator, http, head).await.unwrap();
        assert_eq!((seen.header("content-length"), seen.body.len()), (Some("1000"), 0), "{http:?}");
    }
    simulator.wait_until(|ledger| ledger.requests().all(|row| row.delivery == Delivery::Delivered)).await.unwrap();
}

#[tokio::test]
async fn bytes_come_in_any_number_and_in_order() {
    let (simulator, token) = running().await;
    let expected: Vec<u8> = (b'a'..=b'z').cycle().take(200_001).collect();
    for (query, announced) in [("", Some("200001")), ("?chunk=777", Some("200001")), ("?length=no", None)] {
        let seen = get(&simulator, &format!("/api/v2/bytes/200001{query}"), &token).await.unwrap();
        assert_eq!(seen.header("content-length"), announced, "{query}");
        assert!(seen.body == expected, "{query}");
    }
    assert!(get(&simulator, "/api/v2/bytes/0", &token).await.unwrap().body.is_empty());
}

#[tokio::test]
async fn events_come_one_by_one() {
    let (simulator, token) = running().await;
    let seen = get(&simulator, "/api/v2/events?n=2&every=1", &token).await.unwrap();
    assert_eq!(seen.header("content-type"), Some("text/event-stream"));
    assert_eq!(seen.text(), "id: 1\ndata: event 1\n\nid: 2\ndata: event 2\n\n");
}

#[tokio::test]
async fn a_stream_comes_back_with_its_trailers() {
    let (simulator, token) = running().await;
    for http in [Http::One, Http::Two] {
        let (sender, receiver) = tokio::sync::mpsc::channel::<Frame<Bytes>>(4);
        let response = tokio::spawn(stream_to(simulator.clone(), http, token.clone(), receiver));
        sender.send(Frame::data(Bytes::from("first"))).await.unwrap();
        sender.send(Frame::data(Bytes::from("second"))).await.unwrap();
        let trailers = HeaderMap::from_iter([("x-sum".parse().unwrap(), "42".parse().unwrap())]);
        sender.send(Frame::trailers(trailers)).await.unwrap();
        drop(sender);
        let seen = response.await.unwrap();
        assert_eq!(seen.text(), "firstsecond", "{http:?}");
        assert_eq!(seen.trailers.unwrap()["x-sum"], "42", "{http:?}");
    }
    let hello = get_with_trailers(&simulator, &token).await;
    assert_eq!((hello.text(), &hello.trailers.as_ref().unwrap()["x-checksum"]), ("hello", &"5".parse().unwrap()));
    simulator.wait_until(|ledger| ledger.requests().all(|row| row.delivery == Delivery::Delivered)).await.unwrap();
    assert!(simulator.with_ledger(|ledger| ledger.requests().all(|row| row.body_sha256.is_some())));
}

async fn get_with_trailers(simulator: &Simulator, token: &str) -> Seen {
    let headers = [("authorization", &*format!("Bearer {token}")), ("te", "trailers")];
    send(simulator, Http::One, request(simulator, Method::GET, "/api/v2/trailers", &headers, "")).await.unwrap()
}

async fn stream_to(
    simulator: Simulator,
    http: Http,
    token: String,
    mut frames: tokio::sync::mpsc::Receiver<Frame<Bytes>>,
) -> Seen {
    let body = StreamBody::new(futures_from(move |cx| frames.poll_recv(cx)));
    let request = Request::post(format!("{}/api/v2/echo-stream", simulator.origin()))
        .header("host", "simulator")
        .header("authorization", format!("Bearer {token}"))
        .header("te", "trailers")
        .header("trailer", "x-sum")
        .body(body)
        .unwrap();
    let tcp = TokioIo::new(TcpStream::connect(simulator.address()).await.unwrap());
    let response = if http == Http::One {
        let (mut sender, connection) = http1::handshake(tcp).await.unwrap();
        tokio::spawn(connection);
        sender.send_request(request).await.unwrap()
    } else {
        let (mut sender, connection) = http2::handshake(TokioExecutor::new(), tcp).await.unwrap();
        tokio::spawn(connection);
        sender.send_request(request).await.unwrap()
    };
    let (head, body) = response.into_parts();
    let body = body.collect().await.unwrap();
    let trailers = body.trailers().cloned();
    Seen { status: head.status.as_u16(), headers: head.headers, body: body.to_bytes(), trailers }
}

/// A stream from a poll function.
fn futures_from<F, T>(poll: F) -> impl futures_core::Stream<Item = Result<T, std::convert::Infallible>>
where
    F: FnMut(&mut std::task::Context<'_>) -> std::task::Poll<Option<T>> + Unpin,
{
    struct FromPoll<F>(F);
    impl<F, T> futures_core::Stream for FromPoll<F>
    where
        F: FnMut(&mut std::task::Context<'_>) -> std::task::Poll<Option<T>> + Unpin,
    {
        type Item = Result<T, std::convert::Infallible>;
        fn poll_next(
            mut self: std::pin::Pin<&mut Self>,
            cx: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Self::Item>> {
            (self.0)(cx).map(|item| item.map(Ok))
        }
    }
    FromPoll(poll)
}

#[tokio::test]
async fn an_early_refusal_comes_before_the_body_is_whole() {
    let (simulator, token) = running().await;
    simulator.reconfigure(|options| options.early_refusal = true);
    for (target, token) in [("/api/v2/early-401", token.as_str()), ("/api/v2/echo", "dead")] {
        let mut tcp = TcpStream::connect(simulator.address()).await.unwrap();
        let head = format!(
            "POST {target} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\naccept: application/json\r\n\
             content-length: 10\r\n\r\nhalf."
        );
        tcp.write_all(head.as_bytes()).await.unwrap();
        let mut answer = [0; 12];
        tcp.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 401", "{target}");
        // The rest is read all the same.
        tcp.write_all(b"other").await.unwrap();
        simulator
            .wait_until(|ledger| {
                ledger.requests_to(target).any(|row| row.body_length == 10 && row.body_sha256.is_some())
            })
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn a_late_refusal_waits_for_the_whole_body() {
    let (simulator, token) = running().await;
    for (target, token) in [("/api/v2/late-401", token.as_str()), ("/api/v2/echo", "dead")] {
        let mut tcp = TcpStream::connect(simulator.address()).await.unwrap();
        let head = format!(
            "POST {target} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\naccept: application/json\r\n\
             content-length: 10\r\n\r\nhalf."
        );
        tcp.write_all(head.as_bytes()).await.unwrap();
        simulator.wait_until(|ledger| ledger.requests_to(target).count() == 1).await.unwrap();
        let mut byte = [0; 1];
        let early = tokio::time::timeout(Duration::from_millis(50), tcp.read_exact(&mut byte)).await;
        assert!(early.is_err(), "{target}");
        tcp.write_all(b"other").await.unwrap();
        let mut answer = [0; 12];
        tcp.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 401", "{target}");
    }
}

#[tokio::test]
async fn a_tunnel_gives_every_byte_back() {
    let (simulator, token) = running().await;
    let mut tcp = TcpStream::connect(simulator.address()).await.unwrap();
    let head = format!(
        "GET /api/v2/tunnel HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n"
    );
    tcp.write_all(head.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(tcp.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap();
    assert!(head.starts_with("HTTP/1.1 101 ") && head.contains("upgrade: echo"), "{head}");
    tcp.write_all(b"\x00\xffping").await.unwrap();
    let mut back = [0; 6];
    tcp.read_exact(&mut back).await.unwrap();
    assert_eq!(&back, b"\x00\xffping");
    tcp.shutdown().await.unwrap();
    assert_eq!(tcp.read(&mut back).await.unwrap(), 0);
    assert_eq!(get(&simulator, "/api/v2/tunnel", &token).await.unwrap().status, 426);
}
