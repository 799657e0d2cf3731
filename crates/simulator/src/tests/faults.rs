//! Each fault, as the client sees it and as the ledger records it.

use std::time::Instant;

use super::*;

async fn faulty(fault: Fault) -> (Simulator, Grant, hyper::Result<Seen>) {
    let simulator = Simulator::start(Options::league8()).await.unwrap();
    let grant = simulator.grant();
    simulator.fault(fault);
    let seen = refresh(&simulator, &grant.refresh_token).await;
    assert_eq!(simulator.faults_left(), 0);
    (simulator, grant, seen)
}

fn last_call(simulator: &Simulator) -> TokenCall {
    simulator.with_ledger(|ledger| ledger.token_calls().last().unwrap().clone())
}

#[tokio::test]
async fn a_lost_answer_has_spent_the_token() {
    let (simulator, grant, seen) = faulty(Fault::answer_lost()).await;
    assert!(seen.is_err());
    let call =
        simulator.wait_for(|ledger| ledger.token_calls().last().filter(|call| call.committed).cloned()).await.unwrap();
    assert!(!call.acknowledged());
    assert_eq!(get(&simulator, "/api/v2/version", &grant.access_token).await.unwrap().status, 401);
    assert_eq!(refresh(&simulator, &grant.refresh_token).await.unwrap().json()["hint"], "Token has been revoked");
    // The response was never sent, so the client may present the token again.
    assert!(simulator.with_ledger(|ledger| ledger.reused_after_delivery().is_empty()));
}

#[tokio::test]
async fn a_token_that_is_presented_after_its_successor_was_delivered_is_found() {
    let simulator = Simulator::start(Options::league8()).await.unwrap();
    let grant = simulator.grant();
    let (access, _) = pair(&refresh(&simulator, &grant.refresh_token).await.unwrap());
    simulator.wait_until(|ledger| ledger.token_calls()[0].acknowledged()).await.unwrap();
    refresh(&simulator, &grant.refresh_token).await.unwrap();
    simulator.with_ledger(|ledger| {
        assert_eq!(ledger.reused_after_delivery().iter().map(|call| call.seq).collect::<Vec<_>>(), [2]);
        assert!(ledger.reused_after_use().is_empty());
    });
    get(&simulator, "/api/v2/version", &access).await.unwrap();
    refresh(&simulator, &grant.refresh_token).await.unwrap();
    simulator.with_ledger(|ledger| {
        assert_eq!(ledger.reused_after_use().iter().map(|call| call.seq).collect::<Vec<_>>(), [3]);
    });
}

#[tokio::test]
async fn a_call_that_is_lost_before_the_commit_changes_nothing() {
    let unread = Fault::token(Step::BeforeBody, Act::Close);
    let reset = Fault::token(Step::BeforeCommit, Act::Reset);
    let garbage = Fault::token(Step::BeforeCommit, Act::Raw(b"SSH-2.0-OpenSSH_9.6\r\n".to_vec()));
    for fault in [unread, Fault::call_lost(), reset, garbage] {
        let (simulator, grant, seen) = faulty(fault).await;
        assert!(seen.is_err());
        let call = last_call(&simulator);
        assert_eq!((call.committed, call.outcome, call.status), (false, Outcome::Undecided, None));
        assert!(call.fault.is_some());
        pair(&refresh(&simulator, &grant.refresh_token).await.unwrap());
    }
}

#[tokio::test]
async fn an_answer_before_the_commit_changes_nothing() {
    let cases = [
        (Fault::html_502(), 502, "text/html; charset=UTF-8"),
        (Fault::error_before_commit(), 500, "application/json"),
        (Fault::redirect(302, "https://web.example/en"), 302, "text/html; charset=UTF-8"),
        (Fault::redirect(307, "/en/oauth/token"), 307, "text/html; charset=UTF-8"),
        (Fault::page_expired(), 419, "application/json"),
        (Fault::throttled(Some("3600")), 429, "application/json"),
        (Fault::throttled_html(Some("Wed, 21 Oct 2026 07:28:00 GMT")), 429, "text/html; charset=UTF-8"),
        (Fault::token(Step::BeforeBody, Act::Answer(Answer::html(503, "x"))), 503, "text/html; charset=UTF-8"),
        (Fault::token(Step::BeforeCommit, Act::Error(TokenError::Client)), 401, "application/json"),
    ];
    for (fault, status, kind) in cases {
        let (simulator, grant, seen) = faulty(fault).await;
        let seen = seen.unwrap();
        assert_eq!((seen.status, seen.header("content-type")), (status, Some(kind)));
        assert_eq!((last_call(&simulator).committed, last_call(&simulator).status), (false, Some(status)));
        pair(&refresh(&simulator, &grant.refresh_token).await.unwrap());
    }
}

#[tokio::test]
async fn a_retry_is_named_as_it_was_set() {
    let (_, _, seconds) = faulty(Fault::throttled(Some("3600"))).await;
    assert_eq!(seconds.unwrap().header("retry-after"), Some("3600"));
    let (_, _, none) = faulty(Fault::throttled(None)).await;
    assert_eq!(none.unwrap().header("retry-after"), None);
}

#[tokio::test]
async fn an_answer_after_the_commit_hides_tokens_that_were_issued() {
    for fault in [Fault::empty_200(), Fault::html_200(), Fault::error_after_commit(), Fault::half_json()] {
        let (simulator, grant, seen) = faulty(fault).await;
        let seen = seen.unwrap();
        assert!(serde_json::from_slice::<Value>(&seen.body).ok().is_none_or(|body| body.get("access_token").is_none()));
        assert!(last_call(&simulator).committed);
        assert_eq!(refresh(&simulator, &grant.refresh_token).await.unwrap().status, 401);
    }
}

#[tokio::test]
async fn a_cut_answer_announces_more_than_comes() {
    for (reset, http) in [(false, Http::One), (true, Http::One), (false, Http::Two)] {
        let simulator = Simulator::start(Options::league8()).await.unwrap();
        let grant = simulator.grant();
        simulator.fault(Fault::api(Step::AfterCommit, Act::Cut { after: 1_000, reset }));
        let bearer = format!("Bearer {}", grant.access_token);
        let headers = [("authorization", bearer.as_str())];
        let seen =
            cut_response(&simulator, http, request(&simulator, Method::GET, "/api/v2/bytes/5000", &headers, "")).await;
        assert_eq!(seen, (200, Some(5000), 1_000, true), "{http:?}, reset: {reset}");
        let delivery = simulator.wait_for(|ledger| {
            let delivery = ledger.requests().next()?.delivery;
            (delivery != Delivery::Pending).then_some(delivery)
        });
        assert_eq!(delivery.await.unwrap(), Delivery::Lost);
    }
    let (_, _, seen) = faulty(Fault::cut_json()).await;
    assert!(seen.is_err());
}

/// The status, the announced length, the received bytes, and whether the body failed.
async fn cut_response(
    simulator: &Simulator,
    http: Http,
    request: Request<Full<Bytes>>,
) -> (u16, Option<u64>, usize, bool) {
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
    let announced = response.headers().get("content-length").map(|value| value.to_str().unwrap().parse().unwrap());
    let status = response.status().as_u16();
    let mut body = response.into_body();
    let mut length = 0;
    loop {
        match body.frame().await {
            Some(Ok(frame)) => length += frame.into_data().map_or(0, |data| data.len()),
            Some(Err(_)) => return (status, announced, length, true),
            None => return (status, announced, length, false),
        }
    }
}

#[tokio::test]
async fn a_delay_falls_before_or_after_the_commit() {
    let by = Duration::from_millis(150);
    for (fault, committed_early) in [(Fault::late_commit(by), false), (Fault::late_answer(by), true)] {
        let simulator = Simulator::start(Options::league8()).await.unwrap();
        let grant = simulator.grant();
        simulator.fault(fault);
        let (caller, token) = (simulator.clone(), grant.refresh_token.clone());
        let began = Instant::now();
        let call = tokio::spawn(async move { refresh(&caller, &token).await.unwrap() });
        simulator.wait_until(|ledger| ledger.committed_calls() == 1).await.unwrap();
        assert_eq!(began.elapsed() < by, committed_early);
        pair(&call.await.unwrap());
        assert!(began.elapsed() >= by);
    }
}

#[tokio::test]
async fn a_client_that_leaves_does_not_stop_the_server() {
    let latency = Latency { before_commit: Duration::from_millis(100), after_commit: Duration::ZERO };
    let simulator = Simulator::start(Options { latency, ..Options::league8() }).await.unwrap();
    let (caller, token) = (simulator.clone(), simulator.grant().refresh_token);
    let call = tokio::spawn(async move { refresh(&caller, &token).await });
    simulator.wait_until(|ledger| ledger.token_calls().iter().any(|call| call.client_id.is_some())).await.unwrap();
    call.abort();
    simulator.wait_until(|ledger| ledger.committed_calls() == 1).await.unwrap();
}

#[tokio::test]
async fn members_of_the_answer_can_be_anything() {
    let (simulator, _, seen) = faulty(Fault::access_token("eyJ\r\nX-Evil: 1")).await;
    let body = seen.unwrap().json();
    assert_eq!(body["access_token"], "eyJ\r\nX-Evil: 1");
    assert_eq!(simulator.serial(body["access_token"].as_str().unwrap()), None);
    for (text, value) in [("-1", json!(-1)), ("\"3600\"", json!("3600")), ("null", Value::Null), ("1e30", json!(1e30))]
    {
        let (_, _, seen) = faulty(Fault::expires_in(text)).await;
        assert_eq!(seen.unwrap().json()["expires_in"], value, "{text}");
    }
    let edits = vec![("refresh_token".to_owned(), None), ("scope".to_owned(), Some("\"*\"".to_owned()))];
    let (_, _, seen) = faulty(Fault::token(Step::AfterCommit, Act::Edit(edits))).await;
    let body = seen.unwrap().json();
    assert_eq!((body.get("refresh_token"), &body["scope"]), (None, &json!("*")));
}

#[tokio::test]
async fn the_api_refuses_a_live_token_as_often_as_it_is_told() {
    let simulator = Simulator::start(Options::league8()).await.unwrap();
    let grant = simulator.grant();
    simulator.fault(Fault::refusal().times(2));
    for status in [401, 401, 200] {
        assert_eq!(get(&simulator, "/api/v2/echo", &grant.access_token).await.unwrap().status, status);
    }
    simulator.fault(Fault::refusal().forever());
    for _ in 0..3 {
        assert_eq!(get(&simulator, "/api/v2/echo", &grant.access_token).await.unwrap().status, 401);
    }
    simulator.clear_faults();
    assert_eq!(get(&simulator, "/api/v2/echo", &grant.access_token).await.unwrap().status, 200);
    assert_eq!(simulator.with_ledger(|ledger| ledger.executed("/api/v2/echo")), 2);
}

#[tokio::test]
async fn an_api_request_that_is_lost_after_the_commit_was_executed() {
    let simulator = Simulator::start(Options::league8()).await.unwrap();
    let grant = simulator.grant();
    let cases = [
        (Fault::api(Step::BeforeBody, Act::Close), 0),
        (Fault::api(Step::BeforeCommit, Act::Close), 0),
        (Fault::api_answer_lost(), 1),
        (Fault::api(Step::AfterCommit, Act::Reset), 2),
    ];
    for (fault, executed) in cases {
        simulator.fault(fault);
        assert!(get(&simulator, "/api/v2/echo", &grant.access_token).await.is_err());
        assert_eq!(simulator.with_ledger(|ledger| ledger.executed("/api/v2/echo")), executed);
    }
    simulator.fault(Fault::api_html_502());
    let seen = get(&simulator, "/api/v2/echo", &grant.access_token).await.unwrap();
    assert_eq!((seen.status, seen.header("content-type")), (502, Some("text/html; charset=UTF-8")));
    assert_eq!(simulator.with_ledger(|ledger| ledger.executed("/api/v2/echo")), 2);
}

#[tokio::test]
async fn raw_bytes_can_be_an_answer_that_hyper_would_not_write() {
    let simulator = Simulator::start(Options::league8()).await.unwrap();
    let grant = simulator.grant();
    let raw = b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi";
    simulator.fault(Fault::api(Step::BeforeCommit, Act::Raw(raw.to_vec())));
    let seen = get(&simulator, "/api/v2/echo", &grant.access_token).await.unwrap();
    assert_eq!((seen.status, seen.text()), (200, "hi"));
}

#[tokio::test]
async fn a_fault_on_accept_meets_a_connection_that_has_said_nothing() {
    for act in [Act::Close, Act::Reset] {
        let simulator = Simulator::start(Options::league8()).await.unwrap();
        simulator.fault(Fault::new(Target::Accept, Step::BeforeBody, act));
        assert!(get(&simulator, "/api/v2/echo", "x").await.is_err());
        assert_eq!(get(&simulator, "/api/v2/echo", "x").await.unwrap().status, 401);
        assert_eq!(simulator.with_ledger(Ledger::requests_seen), 1);
    }
}
