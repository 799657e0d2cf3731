use super::*;
use crate::downstream::connection_state::LAST_CALL;
use crate::downstream::drain::Drained;

const LONG: Duration = Duration::from_secs(60);

/// With more workers, each would begin its drain a little later or earlier.
fn one_worker() -> Fixture {
    Fixture::with(limits(), 1, None)
}

/// A connection that ends when the drain begins.
async fn canary(proxy: &mut Fixture) -> impl Future<Output = ()> + use<> {
    let (mut client, connection) = proxy.http2().await;
    get2(&mut client, "/").await;
    assert_eq!(proxy.event().await, Event::Arrived);
    async move {
        within(connection).await.unwrap().unwrap();
        // Without a client it would have ended earlier.
        drop(client);
    }
}

#[tokio::test]
async fn idle_connections_are_closed_at_once_and_all_threads_end() {
    let mut proxy = Fixture::new(limits());
    let mut idle = proxy.connect_and_ask().await;
    let (mut client, connection) = proxy.http2().await;
    get2(&mut client, "/").await;
    tokio::time::sleep(LAST_CALL).await;

    let drain = proxy.drain(LONG);
    assert!(time_until_closed(&mut idle).await < LAST_CALL / 2);
    within(connection).await.unwrap().unwrap();
    assert_eq!(within(drain).await.unwrap(), Drained { aborted: 0 });
    assert_eq!(Arc::strong_count(&proxy.app.gate), 1, "a worker still holds its service");
    assert!(TcpStream::connect(proxy.address).await.is_err());
}

#[tokio::test]
async fn no_request_of_a_busy_client_is_lost() {
    let mut proxy = Fixture::new(limits());
    let http1: Vec<_> = (0..16)
        .map(|_| {
            let connect = TcpStream::connect(proxy.address);
            tokio::spawn(async move {
                let mut client = connect.await.unwrap();
                // The connection ends with the response that announces it. `response` fails on any other end.
                while !ask(&mut client, "/").await.contains("\r\nconnection: close\r\n") {}
                rest(&mut client).await
            })
        })
        .collect();
    let (client, connection) = proxy.http2().await;
    let http2: Vec<_> = (0..16)
        .map(|_| {
            let mut client = client.clone();
            tokio::spawn(async move {
                loop {
                    match client.try_send_request(get("/")).await {
                        Ok(response) => drop(response.into_body().collect().await.unwrap()),
                        // The GOAWAY refused it, and hyper returned it: it can be sent on another connection.
                        Err(mut error) => break assert!(error.take_message().is_some(), "{:?}", error.error()),
                    }
                }
            })
        })
        .collect();
    drop(client);
    for _ in 0..500 {
        proxy.event().await;
    }
    assert_eq!(within(proxy.drain(LONG)).await.unwrap(), Drained { aborted: 0 });
    for client in http1 {
        assert_eq!(within(client).await.unwrap(), b"");
    }
    for client in http2 {
        within(client).await.unwrap();
    }
    within(connection).await.unwrap().unwrap();
}

#[tokio::test]
async fn an_http1_response_in_flight_arrives_whole() {
    let mut proxy = one_worker();
    let mut client = proxy.connect().await;
    send(&mut client, "GET /chunks HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let mut start = vec![0; 1024];
    while !start.ends_with(b"first\r\n") {
        let mut part = [0; 1024];
        let read = within(client.read(&mut part)).await.unwrap();
        start.extend_from_slice(&part[..read]);
    }
    let canary = canary(&mut proxy).await;
    let drain = proxy.drain(LONG);
    canary.await;

    proxy.open_gate();
    let rest = rest(&mut client).await;
    assert!(rest.ends_with(b"last\r\n0\r\n\r\n"), "{} bytes", rest.len());
    assert_eq!(rest.iter().filter(|byte| **byte == b'x').count(), 256 * 1024);
    assert_eq!(within(drain).await.unwrap(), Drained { aborted: 0 });
}

#[tokio::test]
async fn an_http1_response_to_come_says_connection_close() {
    let mut proxy = one_worker();
    let mut client = proxy.connect().await;
    send(&mut client, "GET /hold HTTP/1.1\r\nhost: a\r\n\r\n").await;
    proxy.event().await;
    let canary = canary(&mut proxy).await;
    let drain = proxy.drain(LONG);
    canary.await;

    proxy.open_gate();
    let response = String::from_utf8(rest(&mut client).await).unwrap();
    assert!(response.contains("\r\nconnection: close\r\n") && response.ends_with("held"), "{response}");
    assert_eq!(within(drain).await.unwrap(), Drained { aborted: 0 });
}

#[tokio::test]
async fn http2_streams_in_flight_arrive_whole() {
    let mut proxy = one_worker();
    let (client, connection) = proxy.http2().await;
    let streams: Vec<_> = (0..8)
        .map(|_| {
            let mut client = client.clone();
            tokio::spawn(async move { get2(&mut client, "/chunks").await })
        })
        .collect();
    for _ in 0..8 {
        proxy.event().await;
    }
    let canary = canary(&mut proxy).await;
    let drain = proxy.drain(LONG);
    canary.await;

    proxy.app.gate.add_permits(8);
    for stream in streams {
        let body = within(stream).await.unwrap();
        assert!(body.starts_with("first") && body.ends_with("last"));
        assert_eq!(body.len(), 5 + 256 * 1024 + 4);
    }
    within(connection).await.unwrap().unwrap();
    assert_eq!(within(drain).await.unwrap(), Drained { aborted: 0 });
}

#[tokio::test]
async fn what_outlasts_the_grace_is_cut() {
    let mut proxy = Fixture::new(limits());
    let mut http1 = proxy.connect().await;
    send(&mut http1, "GET /hold HTTP/1.1\r\nhost: a\r\n\r\n").await;
    proxy.event().await;
    let (mut client, _connection) = proxy.http2().await;
    let http2 = tokio::spawn(async move { client.send_request(get("/hold")).await });
    proxy.event().await;

    let drained = within(proxy.drain(Duration::from_millis(200))).await.unwrap();
    assert_eq!(drained, Drained { aborted: 2 });
    assert_eq!(proxy.event().await, Event::Abandoned);
    assert_eq!(proxy.event().await, Event::Abandoned);
    assert_eq!(rest(&mut http1).await, b"");
    assert!(within(http2).await.unwrap().is_err());
}

#[tokio::test]
async fn a_tunnel_is_waited_for_and_then_cut() {
    let mut proxy = Fixture::new(limits());
    let mut client = proxy.connect().await;
    send(&mut client, super::http::UPGRADE).await;
    response(&mut client).await;
    let start = Instant::now();
    let grace = Duration::from_millis(300);
    let drained = within(proxy.drain(grace)).await.unwrap();
    assert_eq!(drained, Drained { aborted: 1 });
    assert!(start.elapsed() >= grace);
    rest(&mut client).await;
}

#[tokio::test]
async fn a_silent_connection_does_not_hold_the_drain() {
    for connected in ["", "GET /", "PRI *"] {
        let mut proxy = Fixture::new(limits());
        let mut client = proxy.connect_and_ask().await;
        let mut silent = proxy.connect().await;
        send(&mut silent, connected).await;
        // Connections are accepted in order, so `silent` is no longer in the queue.
        proxy.connect_and_ask().await;
        let start = Instant::now();
        let drained = within(proxy.drain(LONG)).await.unwrap();
        assert_eq!(drained, Drained { aborted: 0 });
        assert!(start.elapsed() < LAST_CALL * 5, "{:?}", start.elapsed());
        rest(&mut silent).await;
        rest(&mut client).await;
    }
}

#[tokio::test]
async fn a_request_that_was_on_its_way_is_answered() {
    let mut proxy = one_worker();
    let mut started = proxy.connect_and_ask().await;
    send(&mut started, "GET / HTTP/1.1\r\n").await;
    let mut fresh = proxy.connect().await;
    let canary = canary(&mut proxy).await;
    let drain = proxy.drain(LONG);
    canary.await;

    send(&mut started, "host: a\r\n\r\n").await;
    send(&mut fresh, "GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    for client in [&mut started, &mut fresh] {
        let response = String::from_utf8(rest(client).await).unwrap();
        assert!(response.ends_with("ok"), "{response:?}");
    }
    assert_eq!(within(drain).await.unwrap(), Drained { aborted: 0 });
}

#[tokio::test]
async fn a_request_in_the_accept_queue_is_answered() {
    let listen = [ListenAddress::Tcp("127.0.0.1:0".parse().unwrap())];
    let server = Server::bind_with(&listen, 0, None, limits()).unwrap();
    let [ListenAddress::Tcp(address)] = server.local_addresses()[..] else { panic!() };
    let mut clients = Vec::new();
    for _ in 0..16 {
        let mut client = TcpStream::connect(address).await.unwrap();
        send(&mut client, "GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        clients.push(client);
    }
    let (app, _events) = App::new();
    let running = server.start(NonZeroUsize::new(2).unwrap(), service(app)).unwrap();
    let drain = tokio::spawn(running.drain(LONG));
    for client in &mut clients {
        assert!(rest(client).await.ends_with(b"ok"));
    }
    assert_eq!(within(drain).await.unwrap(), Drained { aborted: 0 });
}

#[tokio::test]
async fn without_a_drain_the_server_stops_at_once() {
    let mut proxy = Fixture::new(limits());
    let mut client = proxy.connect().await;
    send(&mut client, "GET /hold HTTP/1.1\r\nhost: a\r\n\r\n").await;
    proxy.event().await;
    proxy.running = None;
    assert_eq!(proxy.event().await, Event::Abandoned);
    assert_eq!(rest(&mut client).await, b"");
}
