use super::*;

const SHORT: Duration = Duration::from_millis(200);

/// Timers may be late on a busy machine, never early.
fn assert_about(elapsed: Duration, expected: Duration) {
    assert!(elapsed + Duration::from_millis(20) >= expected, "after {elapsed:?}, too early");
    assert!(elapsed < expected + Duration::from_secs(3), "after {elapsed:?}, too late");
}

fn header() -> Limits {
    Limits { header_timeout: SHORT, ..limits() }
}

fn idle() -> Limits {
    Limits { idle_timeout: SHORT, ..limits() }
}

fn stall() -> Limits {
    Limits { stall_timeout: SHORT, ..limits() }
}

#[tokio::test]
async fn a_silent_client_is_closed_after_the_header_timeout() {
    let proxy = Fixture::new(header());
    let mut client = proxy.connect().await;
    assert_about(time_until_closed(&mut client).await, SHORT);
}

#[tokio::test]
async fn a_part_of_the_http2_preface_is_closed_after_the_header_timeout() {
    let proxy = Fixture::new(header());
    let mut client = proxy.connect().await;
    send(&mut client, "PRI * HTTP/2.0\r\n").await;
    assert_about(time_until_closed(&mut client).await, SHORT);
}

#[tokio::test]
async fn drip_does_not_extend_the_header_timeout() {
    let proxy = Fixture::new(header());
    for head in ["PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "GET / HTTP/1.1\r\nhost: aaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n"] {
        let (mut read, mut write) = proxy.connect().await.into_split();
        let drip = tokio::spawn(async move {
            for byte in head.bytes() {
                tokio::time::sleep(SHORT / 8).await;
                if write.write_all(&[byte]).await.is_err() {
                    break;
                }
            }
            write
        });
        assert_about(time_until_closed(&mut read).await, SHORT);
        drip.abort();
    }
}

#[tokio::test]
async fn a_later_head_that_drips_is_closed_after_the_header_timeout() {
    let proxy = Fixture::new(header());
    let mut client = proxy.connect_and_ask().await;
    send(&mut client, "GET /").await;
    assert_about(time_until_closed(&mut client).await, SHORT);
}

#[tokio::test]
async fn a_slow_head_that_is_complete_in_time_is_answered_each_time() {
    let proxy = Fixture::new(Limits { header_timeout: Duration::from_secs(1), ..limits() });
    let mut client = proxy.connect().await;
    // Together they take longer than the timeout; each one takes less.
    for _ in 0..4 {
        for part in ["GE", "T / HTTP/1.1\r\nho", "st: a\r\n\r\n"] {
            send(&mut client, part).await;
            tokio::time::sleep(SHORT).await;
        }
        assert!(response(&mut client).await.ends_with("ok"));
    }
}

#[tokio::test]
async fn an_http1_connection_is_kept_for_the_idle_timeout() {
    let proxy = Fixture::new(idle());
    let mut client = proxy.connect_and_ask().await;
    assert_about(time_until_closed(&mut client).await, SHORT);
}

#[tokio::test]
async fn the_idle_timeout_counts_from_the_last_response() {
    let proxy = Fixture::new(idle());
    let mut client = proxy.connect_and_ask().await;
    for _ in 0..4 {
        tokio::time::sleep(SHORT / 2).await;
        assert!(ask(&mut client, "/").await.ends_with("ok"));
    }
    assert_about(time_until_closed(&mut client).await, SHORT);
}

#[tokio::test]
async fn an_http2_connection_is_told_goaway_after_the_idle_timeout() {
    let proxy = Fixture::new(idle());
    let (mut client, connection) = proxy.http2().await;
    assert_eq!(get2(&mut client, "/").await, "ok");
    let start = Instant::now();
    // hyper's client ends with `Ok` on a GOAWAY without an error.
    within(connection).await.unwrap().unwrap();
    assert_about(start.elapsed(), SHORT);
}

#[tokio::test]
async fn pings_do_not_keep_an_idle_http2_connection() {
    let proxy = Fixture::new(idle());
    let mut client = proxy.connect().await;
    send(&mut client, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await;
    // HEADERS of stream 1, ended: GET http / with :authority a (RFC 7541 §C.4.1, static table).
    send(&mut client, b"\0\0\x06\x01\x05\0\0\0\x01\x82\x86\x84\x41\x01a").await;
    let (mut read, mut write) = client.into_split();
    let pings = tokio::spawn(async move {
        while write.write_all(b"\0\0\x08\x06\0\0\0\0\0\0\0\0\0\0\0\0\0").await.is_ok() {
            tokio::time::sleep(SHORT / 8).await;
        }
    });
    let start = Instant::now();
    let received = rest(&mut read).await;
    let goaway = received.windows(5).any(|window| window[3..] == [7, 0] && window[..2] == [0, 0]);
    assert!(goaway, "{}", received.escape_ascii());
    assert_about(start.elapsed(), SHORT + crate::downstream::connection_state::LINGER);
    within(pings).await.unwrap();
}

#[tokio::test]
async fn an_http2_connection_without_a_request_is_closed_after_the_header_timeout() {
    let proxy = Fixture::new(header());
    let (_client, connection) = proxy.http2().await;
    let start = Instant::now();
    let _ = within(connection).await.unwrap();
    assert_about(start.elapsed(), SHORT);
}

#[tokio::test]
async fn a_long_request_is_not_cut_by_the_timeouts_between_requests() {
    let mut proxy = Fixture::new(Limits { header_timeout: SHORT, ..idle() });
    let mut http1 = proxy.connect().await;
    send(&mut http1, "GET /hold HTTP/1.1\r\nhost: a\r\n\r\n").await;
    proxy.event().await;
    let (mut client, _connection) = proxy.http2().await;
    let http2 = tokio::spawn(async move { get2(&mut client, "/hold").await });
    proxy.event().await;

    // Twice as long as each limit: meanwhile, two other connections reach theirs.
    for _ in 0..2 {
        let mut silent = proxy.connect().await;
        time_until_closed(&mut silent).await;
        let mut idle = proxy.connect_and_ask().await;
        time_until_closed(&mut idle).await;
    }
    proxy.open_gate();
    proxy.open_gate();
    assert!(response(&mut http1).await.ends_with("held"));
    assert_eq!(within(http2).await.unwrap(), "held");
}

#[tokio::test]
async fn a_client_that_does_not_read_is_cut() {
    let mut proxy = Fixture::new(stall());
    let mut client = proxy.connect().await;
    send(&mut client, "GET /endless HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!(proxy.event().await, Event::Arrived);
    assert_eq!(proxy.event().await, Event::Abandoned);
    // The connection ends with a reset: the unread bytes do not stay in the kernel.
    let error = within(client.read_to_end(&mut Vec::new())).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn an_http2_stream_that_is_not_read_is_reset_and_its_connection_lives() {
    let mut proxy = Fixture::new(stall());
    let (mut client, _connection) = proxy.http2().await;
    let endless = client.send_request(get("/endless"));
    let response = within(endless).await.unwrap();
    assert_eq!(proxy.event().await, Event::Arrived);
    assert_eq!(proxy.event().await, Event::Abandoned);
    assert_eq!(get2(&mut client, "/").await, "ok");
    let error = within(response.into_body().collect()).await.map(|_| ()).unwrap_err();
    assert!(format!("{error:?}").contains("CANCEL"), "{error:?}");
}

#[tokio::test]
async fn a_slow_reader_is_not_cut() {
    let mut proxy = Fixture::new(stall());
    let mut client = proxy.connect().await;
    send(&mut client, "GET /endless HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!(proxy.event().await, Event::Arrived);
    let mut buffer = vec![0; 4 * 1024 * 1024];
    for _ in 0..8 {
        tokio::time::sleep(SHORT / 2).await;
        within(client.read_exact(&mut buffer)).await.unwrap();
    }
    assert!(proxy.events.try_recv().is_err());
}

#[tokio::test]
async fn a_slow_http2_reader_is_not_reset() {
    let mut proxy = Fixture::new(stall());
    let (mut client, _connection) = proxy.http2().await;
    let mut body = within(client.send_request(get("/endless"))).await.unwrap().into_body();
    assert_eq!(proxy.event().await, Event::Arrived);
    for _ in 0..8 {
        tokio::time::sleep(SHORT / 2).await;
        let mut read = 0;
        while read < BURST / 4 {
            read += within(body.frame()).await.unwrap().unwrap().into_data().unwrap().len();
        }
    }
    assert!(proxy.events.try_recv().is_err());
}

#[tokio::test]
async fn a_stream_that_waits_for_the_upstream_is_not_reset() {
    let proxy = Fixture::new(Limits { idle_timeout: SHORT, ..stall() });
    let (mut client, _connection) = proxy.http2().await;
    let mut body = within(client.send_request(get("/burst"))).await.unwrap().into_body();
    // The client was slow, and no longer is.
    let mut read = 0;
    while read < BURST {
        read += within(body.frame()).await.unwrap().unwrap().into_data().unwrap().len();
    }
    // Twice as long as the client may stall.
    for _ in 0..2 {
        time_until_closed(&mut proxy.connect_and_ask().await).await;
    }
    proxy.open_gate();
    assert!(within(body.collect()).await.unwrap().to_bytes().ends_with(b"last"));
}

#[tokio::test]
async fn an_idle_connection_is_not_held_to_the_header_timeout() {
    let mut proxy = Fixture::new(header());
    let mut get = proxy.connect_and_ask().await;
    assert_eq!(proxy.event().await, Event::Arrived);
    let mut post = proxy.connect().await;
    send(&mut post, "POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\n").await;
    assert_eq!(proxy.event().await, Event::Arrived);
    send(&mut post, "body").await;
    assert!(response(&mut post).await.ends_with("body"));
    for _ in 0..2 {
        time_until_closed(&mut proxy.connect().await).await;
    }
    assert!(ask(&mut get, "/").await.ends_with("ok"));
    assert!(ask(&mut post, "/").await.ends_with("ok"));
}
