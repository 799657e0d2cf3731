use super::*;

pub(super) const UPGRADE: &str = "GET /upgrade HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n";

#[tokio::test]
async fn a_head_over_the_limit_is_answered_431() {
    let proxy = Fixture::new(limits());
    for size in [64 * 1024, 1024 * 1024] {
        let mut client = proxy.connect().await;
        // The client sends everything before it reads: the response must survive the bytes after it.
        send(&mut client, format!("GET / HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n", "x".repeat(size))).await;
        let response = String::from_utf8(rest(&mut client).await).unwrap();
        assert!(response.starts_with("HTTP/1.1 431 "), "{size}: {response:?}");
    }
}

#[tokio::test]
async fn a_head_within_the_limit_is_answered() {
    let proxy = Fixture::new(limits());
    let mut client = proxy.connect().await;
    send(&mut client, format!("GET / HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n", "x".repeat(60 * 1024))).await;
    assert!(response(&mut client).await.ends_with("ok"));
}

#[tokio::test]
async fn an_http2_head_over_the_limit_is_answered_431() {
    let proxy = Fixture::new(limits());
    let (mut client, _connection) = proxy.http2().await;
    let mut request = get("/");
    for index in 0..5 {
        let name = ::http::HeaderName::try_from(format!("x-{index}")).unwrap();
        request.headers_mut().insert(name, "x".repeat(15 * 1024).try_into().unwrap());
    }
    let response = within(client.send_request(request)).await.unwrap();
    assert_eq!(response.status(), StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
    assert_eq!(get2(&mut client, "/").await, "ok");
}

#[tokio::test]
async fn an_answer_before_the_end_of_the_body_is_not_lost() {
    let proxy = Fixture::new(limits());
    let mut client = proxy.connect().await;
    send(&mut client, "POST /refuse HTTP/1.1\r\nhost: a\r\ncontent-length: 4194304\r\n\r\n").await;
    send(&mut client, vec![b'x'; 4 * 1024 * 1024]).await;
    let response = String::from_utf8(rest(&mut client).await).unwrap();
    assert!(response.starts_with("HTTP/1.1 413 ") && response.ends_with("too much"), "{response:?}");
}

#[tokio::test]
async fn an_upgraded_connection_is_a_tunnel_with_two_ends() {
    let proxy = Fixture::new(Limits { idle_timeout: Duration::from_millis(50), ..limits() });
    let mut client = proxy.connect().await;
    // The first bytes of the tunnel arrive with the request.
    send(&mut client, format!("{UPGRADE}early ")).await;
    let mut received = response(&mut client).await;
    assert!(received.starts_with("HTTP/1.1 101 "), "{received}");
    // The idle timeout applies between requests: meanwhile, another connection reaches it.
    let mut idle = proxy.connect_and_ask().await;
    time_until_closed(&mut idle).await;
    within(proxy.running().connections().at_most(|| 1)).await;
    assert_eq!(proxy.running().connections().count(), 1);

    send(&mut client, "late").await;
    within(client.shutdown()).await.unwrap();
    received.push_str(&String::from_utf8(rest(&mut client).await).unwrap());
    assert!(received.ends_with("\r\n\r\nearly late"), "{received}");
    within(proxy.running().connections().at_most(|| 0)).await;
}

#[tokio::test]
async fn a_tunnel_that_is_closed_in_one_direction_carries_the_other() {
    let mut proxy = Fixture::new(limits());
    let mut client = proxy.connect().await;
    send(&mut client, UPGRADE.replace("/upgrade", "/upgrade-and-listen")).await;
    assert_eq!(proxy.event().await, Event::Arrived);
    assert!(String::from_utf8(rest(&mut client).await).unwrap().starts_with("HTTP/1.1 101 "));
    send(&mut client, "still here").await;
    within(client.shutdown()).await.unwrap();
    assert_eq!(proxy.event().await, Event::Heard("still here".into()));
}

#[tokio::test]
async fn a_client_that_does_not_close_its_side_is_cut() {
    let proxy = Fixture::new(limits());
    let mut client = proxy.connect().await;
    send(&mut client, "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
    assert!(rest(&mut client).await.ends_with(b"ok"));
    let start = Instant::now();
    within(proxy.running().connections().at_most(|| 0)).await;
    assert!(start.elapsed() < crate::downstream::connection_state::LINGER * 2);
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let proxy = Fixture::new(limits());
    let mut client = proxy.connect().await;
    let post = "POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\n\r\n";
    send(&mut client, format!("{post}1{post}2{post}3")).await;
    let mut received = String::new();
    while received.matches("HTTP/1.1 200").count() < 3 || !received.ends_with('3') {
        let mut part = [0; 1024];
        let read = within(client.read(&mut part)).await.unwrap();
        assert_ne!(read, 0, "{received}");
        received.push_str(std::str::from_utf8(&part[..read]).unwrap());
    }
    let bodies: String = received.split("\r\n\r\n").skip(1).filter_map(|body| body.chars().next()).collect();
    assert_eq!(bodies, "123");
}

#[tokio::test]
async fn a_response_without_a_date_gets_one() {
    let proxy = Fixture::new(limits());
    let mut client = proxy.connect().await;
    assert!(ask(&mut client, "/").await.contains("\r\ndate: "));
}

#[tokio::test]
async fn a_client_that_goes_away_takes_its_request_along() {
    let mut proxy = Fixture::new(limits());
    for request in
        ["GET /hold HTTP/1.1\r\nhost: a\r\n\r\n", "POST /hold HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nbody"]
    {
        // Closed, or half-closed: the client has gone either way.
        for half in [false, true] {
            let mut client = proxy.connect_and_ask().await;
            assert_eq!(proxy.event().await, Event::Arrived);
            send(&mut client, request).await;
            assert_eq!(proxy.event().await, Event::Arrived);
            let mut left = Some(client);
            match &mut left {
                Some(client) if half => within(client.shutdown()).await.unwrap(),
                _ => left = None,
            }
            assert_eq!(proxy.event().await, Event::Abandoned, "{request} {half}");
            drop(left);
        }
    }

    let (mut client, _connection) = proxy.http2().await;
    let http2 = tokio::spawn(async move { client.send_request(get("/hold")).await });
    assert_eq!(proxy.event().await, Event::Arrived);
    http2.abort();
    assert_eq!(proxy.event().await, Event::Abandoned);
}

#[tokio::test]
async fn a_client_that_reads_nothing_and_closes_its_side_takes_its_request_along() {
    let mut proxy = Fixture::new(limits());
    let mut client = proxy.connect().await;
    send(&mut client, "GET /endless HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!(proxy.event().await, Event::Arrived);
    // No event shows that the endless response has filled all buffers.
    tokio::time::sleep(Duration::from_millis(200)).await;
    within(client.shutdown()).await.unwrap();
    assert_eq!(proxy.event().await, Event::Abandoned);
    // The connection ends with a reset: unread bytes must not stay in the kernel.
    let error = within(client.read_to_end(&mut Vec::new())).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn what_the_socket_took_of_an_answer_that_breaks_off_reaches_a_client_that_is_slow() {
    // hyper polls the body only while it buffers less than this.
    let mut proxy = Fixture::with(Limits { max_head: 4 * BURST, ..limits() }, 1, None);
    let mut other = proxy.connect().await;
    let mut client = proxy.connect().await;
    send(&mut client, "GET /breaks HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!(proxy.event().await, Event::Arrived);
    // One worker: it fills the socket before its next response, and meets the error before the response after that.
    assert!(ask(&mut other, "/").await.ends_with("ok"));
    proxy.open_gate();
    assert!(ask(&mut other, "/").await.ends_with("ok"));
    let end = within(client.read_to_end(&mut Vec::new())).await;
    assert!(end.as_ref().is_ok_and(|read| *read > 64 * 1024), "{end:?}");
}

#[tokio::test]
async fn a_client_of_a_unix_socket_that_goes_away_takes_its_request_along() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("proxy.sock");
    let server = Server::bind_with(&[ListenAddress::Unix(path.clone())], 0o660, None, limits()).unwrap();
    let (app, mut events) = App::new();
    let _running = server.start(NonZeroUsize::MIN, service(app)).unwrap();
    let mut client = tokio::net::UnixStream::connect(path).await.unwrap();
    send(&mut client, "GET /hold HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!(within(events.recv()).await, Some(Event::Arrived));
    drop(client);
    assert_eq!(within(events.recv()).await, Some(Event::Abandoned));
}

#[tokio::test]
async fn what_a_client_sends_behind_a_request_in_flight_waits_for_its_turn() {
    // One worker: when it has answered another client, it has processed the earlier bytes.
    let mut proxy = Fixture::with(limits(), 1, None);
    let mut other = proxy.connect().await;
    let mut client = proxy.connect().await;
    send(&mut client, "GET /hold HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!(proxy.event().await, Event::Arrived);
    for piece in ["GET /hold HTTP/1.1\r\nho", "st: a\r\n\r\n"] {
        send(&mut client, piece).await;
        assert!(ask(&mut other, "/").await.ends_with("ok"));
        assert_eq!(proxy.event().await, Event::Arrived);
    }
    proxy.open_gate();
    assert!(response(&mut client).await.ends_with("held"));
    assert_eq!(proxy.event().await, Event::Arrived);
    proxy.open_gate();
    assert!(response(&mut client).await.ends_with("held"));
    // The connection has lost nothing, and serves the next request.
    assert!(ask(&mut client, "/").await.ends_with("ok"));
}

/// Ready at the second poll.
#[derive(Clone)]
struct Reluctant {
    asked: bool,
}

impl tower::Service<Request<Incoming>> for Reluctant {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        cx.waker().wake_by_ref();
        if std::mem::replace(&mut self.asked, true) { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    fn call(&mut self, _: Request<Incoming>) -> Self::Future {
        assert!(std::mem::take(&mut self.asked), "called before it was ready");
        std::future::ready(Ok(text("at last")))
    }
}

#[tokio::test]
async fn a_service_is_called_when_it_is_ready() {
    let listen = [ListenAddress::Tcp("127.0.0.1:0".parse().unwrap())];
    let server = Server::bind_with(&listen, 0, None, limits()).unwrap();
    let [ListenAddress::Tcp(address)] = server.local_addresses()[..] else { panic!() };
    let _running = server.start(NonZeroUsize::MIN, || Reluctant { asked: false }).unwrap();
    let mut client = TcpStream::connect(address).await.unwrap();
    for _ in 0..3 {
        assert!(ask(&mut client, "/").await.ends_with("at last"));
    }
}
