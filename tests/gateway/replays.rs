//! A refused token: the request is replayed once with the next one, byte for byte, or passed on where it can't be.
//!
//! Before the simulated API, which knows its own tokens; its ledger says what arrived.

use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request};
use simulator::{ApiRequest, Kind, Options, Revocation, Simulator};

use testkit::Answer;
use testkit::body::{Feed, TestBody, fed, full, pattern, pieces};
use testkit::connection::{Connection, Protocol, connect, get, read, request};
use testkit::raw::Raw;
use testkit::within;
use testkit::{Proxy, Setup};

const ECHO: &str = "/api/v2/echo";

/// Largest body that is kept in these tests.
const KEPT: usize = 64 << 10;

struct Stage {
    simulator: Simulator,
    proxy: Proxy,
    down: Protocol,
}

impl Stage {
    async fn new(down: Protocol, up: Protocol, configure: impl FnOnce(Setup) -> Setup) -> Self {
        let simulator = Simulator::start(Options { rate_limit: None, ..Options::league8() }).await.unwrap();
        let setup = Proxy::before(&simulator)
            .set("UPSTREAM__REPLAY_LIMIT", "64KiB")
            .set("UPSTREAM__HTTP", if up == Protocol::Http2 { "2" } else { "1" });
        let proxy = configure(setup).start().await;
        proxy.ready().await;
        Self { simulator, proxy, down }
    }

    async fn client(&self) -> Connection {
        Connection::over(connect(self.proxy.address(), None).await, self.down, false).await
    }

    /// From now on the present token is refused.
    fn revoke(&self) {
        assert!(self.simulator.revoke(Revocation::All(Kind::Access)));
    }

    fn token_calls(&self) -> usize {
        self.simulator.with_ledger(|ledger| ledger.token_calls().len())
    }

    /// The requests since the last look.
    fn take(&self, seen: &mut u64) -> Vec<ApiRequest> {
        let last = *seen;
        self.simulator.with_ledger(|ledger| {
            *seen = ledger.requests_seen();
            ledger.requests().filter(|request| request.seq > last).cloned().collect()
        })
    }

    /// Waits until so many requests were answered with this status.
    async fn answered(&self, status: u16, count: usize) {
        let found = self
            .simulator
            .wait_until(|ledger| ledger.requests().filter(|request| request.status == Some(status)).count() >= count);
        found.await.unwrap();
    }
}

fn sha256(bytes: &[u8]) -> String {
    digest(&SHA256, bytes).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn post(body: TestBody) -> Request<TestBody> {
    request(Method::POST, ECHO, body)
}

async fn on_all<F: Future<Output = ()>>(show: impl Fn(Protocol, Protocol) -> F) {
    for down in [Protocol::Http1, Protocol::Http2] {
        for up in [Protocol::Http1, Protocol::Http2] {
            show(down, up).await;
        }
    }
}

/// Sends pieces of a body while it runs.
async fn upload(stage: &Stage, first: Bytes) -> (Feed, tokio::task::JoinHandle<Answer>) {
    let mut client = stage.client().await;
    let (feed, body) = fed();
    let asking = tokio::spawn(async move {
        let response = within(client.send(post(body))).await.unwrap();
        within(read(response)).await
    });
    assert!(feed.send(first).await);
    (feed, asking)
}

#[tokio::test]
async fn a_refused_request_is_replayed_byte_for_byte() {
    on_all(|down, up| async move {
        let stage = Stage::new(down, up, |setup| setup).await;
        let mut client = stage.client().await;
        let mut seen = 0;
        let mut trailers = HeaderMap::new();
        trailers.insert("x-checksum", HeaderValue::from_static("of the request"));
        for (body, chunks, trailers) in [
            (Bytes::new(), 1, None),
            (pattern(1), 1, None),
            (pattern(KEPT), 1, None),
            (pattern(KEPT), 1000, None),
            (pattern(50_000), 7, Some(trailers)),
        ] {
            stage.revoke();
            let calls = stage.token_calls();
            let sent = match (chunks, &trailers) {
                (1, None) => full(body.clone()),
                _ => {
                    let size = body.len().div_ceil(chunks);
                    pieces(&body.chunks(size).map(Bytes::copy_from_slice).collect::<Vec<_>>(), trailers.clone())
                }
            };
            let mut asked = post(sent);
            if trailers.is_some() {
                asked.headers_mut().insert("trailer", HeaderValue::from_static("x-checksum"));
            }
            asked.headers_mut().append("x-repeated", HeaderValue::from_static("2"));
            asked.headers_mut().append("x-repeated", HeaderValue::from_static("1"));
            let answer = client.ask(asked).await;
            let what = format!("{} bytes in {chunks}, {down:?} to {up:?}", body.len());
            assert_eq!(answer.status, 200, "{what}: {}", answer.text());
            let echoed: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
            if trailers.is_some() {
                assert!(echoed["trailers"].to_string().contains("of the request"), "{what}: {echoed}");
            }
            let fields = echoed["headers"].to_string();
            assert!(fields.find("\"2\"") < fields.find("\"1\""), "{what}: {fields}");
            let requests = stage.take(&mut seen);
            let [refused, replayed] = &requests[..] else { panic!("{what}: {requests:?}") };
            assert_eq!((refused.status, refused.executed, replayed.executed), (Some(401), false, true), "{what}");
            assert_eq!(replayed.body_sha256, Some(sha256(&body)), "{what}");
            assert_eq!((&refused.method, &refused.target), (&replayed.method, &replayed.target));
            assert_ne!(refused.credential, replayed.credential);
            assert_eq!(stage.token_calls(), calls + 1, "{what}");
        }
    })
    .await;
}

#[tokio::test]
async fn an_early_refusal_is_replayed_while_the_client_still_sends() {
    on_all(|down, up| async move {
        let stage = Stage::new(down, up, |setup| setup).await;
        stage.simulator.reconfigure(|options| options.early_refusal = true);
        stage.revoke();
        let calls = stage.token_calls();
        let body = pattern(40_000);
        let (feed, asking) = upload(&stage, body.slice(..10_000)).await;
        stage.answered(401, 1).await;
        stage.simulator.wait_until(|ledger| ledger.token_calls().len() == calls + 1).await.unwrap();
        for piece in [10_000..20_000, 20_000..30_000, 30_000..40_000] {
            assert!(feed.send(body.slice(piece)).await);
        }
        drop(feed);
        let answer = within(asking).await.unwrap();
        assert_eq!(answer.status, 200, "{down:?} to {up:?}: {}", answer.text());
        let requests = stage.take(&mut 0);
        let executed: Vec<_> = requests.iter().filter(|request| request.executed).collect();
        assert_eq!(executed.len(), 1, "{down:?} to {up:?}");
        assert_eq!(executed[0].body_sha256, Some(sha256(&body)), "{down:?} to {up:?}");
    })
    .await;
}

#[tokio::test]
async fn a_body_that_is_not_kept_whole_has_its_refusal_passed_on() {
    on_all(|down, up| async move {
        let stage = Stage::new(down, up, |setup| setup).await;
        let mut client = stage.client().await;
        // Too large by its length, and as it turns out; refused late, and early.
        for (number, (sent, early)) in [
            (full(pattern(KEPT + 1)), false),
            (pieces(&[pattern(KEPT), pattern(1)], None), false),
            (full(pattern(KEPT + 1)), true),
        ]
        .into_iter()
        .enumerate()
        {
            stage.simulator.reconfigure(|options| options.early_refusal = early);
            let what = format!("{number}, {down:?} to {up:?}");
            let calls = stage.token_calls();
            stage.revoke();
            let mut seen = stage.simulator.with_ledger(|ledger| ledger.requests_seen());
            let answer = client.ask(post(sent)).await;
            assert_eq!(answer.status, 401, "{what}: {}", answer.text());
            assert_eq!(answer.text(), r#"{"message":"Unauthenticated."}"#, "{what}: the upstream's own body");
            assert_eq!(stage.take(&mut seen).len(), 1, "{what}: not replayed");
            // The next ones profit.
            stage.simulator.wait_until(|ledger| ledger.token_calls().len() == calls + 1).await.unwrap();
            assert_eq!(stage.client().await.ask(post(full("x"))).await.status, 200, "{what}");
        }
    })
    .await;
    let stage = Stage::new(Protocol::Http1, Protocol::Http1, |setup| setup).await;
    stage.revoke();
    stage.client().await.ask(post(full(pattern(KEPT + 1)))).await;
    let metric = r#"bearer_proxy_replays_total{outcome="not_replayable",reason="token_refused"}"#;
    assert_eq!(stage.proxy.metric(metric).await, 1.0);
}

#[tokio::test]
async fn an_early_refusal_is_passed_on_where_the_body_outgrows_its_limit_meanwhile() {
    for (down, up) in [(Protocol::Http1, Protocol::Http1), (Protocol::Http2, Protocol::Http2)] {
        let stage = Stage::new(down, up, |setup| setup).await;
        // The client has the time to send more before the new token is there.
        stage.simulator.reconfigure(|options| {
            options.early_refusal = true;
            options.latency.before_commit = Duration::from_millis(300);
        });
        stage.revoke();
        let (feed, asking) = upload(&stage, pattern(1000)).await;
        stage.answered(401, 1).await;
        for _ in 0..3 {
            feed.send(pattern(KEPT / 2)).await;
        }
        let answer = within(asking).await.unwrap();
        assert_eq!(answer.status, 401, "{down:?} to {up:?}: {}", answer.text());
        assert_eq!(stage.take(&mut 0).iter().filter(|request| request.executed).count(), 0);
    }
}

#[tokio::test]
async fn a_spent_budget_is_as_a_body_too_large() {
    let stage =
        Stage::new(Protocol::Http1, Protocol::Http1, |setup| setup.set("UPSTREAM__REPLAY_BUDGET", "64KiB")).await;
    // One holds most of it.
    let (feed, asking) = upload(&stage, pattern(60_000)).await;
    // Nothing tells that the proxy has read it.
    tokio::time::sleep(Duration::from_millis(200)).await;
    stage.revoke();
    let mut client = stage.client().await;
    assert_eq!(client.ask(post(full(pattern(20_000)))).await.status, 401);
    // It is given back with the request that held it.
    drop(feed);
    assert_eq!(within(asking).await.unwrap().status, 200, "the first is replayed");
    stage.revoke();
    assert_eq!(client.ask(post(full(pattern(60_000)))).await.status, 200);
}

#[tokio::test]
async fn a_redirect_to_the_login_is_a_refusal() {
    on_all(|down, up| async move {
        let stage = Stage::new(down, up, |setup| setup).await;
        stage.revoke();
        let mut asked = get(ECHO);
        // Who expects no JSON is sent to the login page.
        asked.headers_mut().insert("accept", HeaderValue::from_static("text/html"));
        let answer = stage.client().await.ask(asked).await;
        assert_eq!(answer.status, 200, "{down:?} to {up:?}");
        let statuses: Vec<_> = stage.take(&mut 0).iter().map(|request| request.status).collect();
        assert_eq!(statuses, [Some(302), Some(200)], "{down:?} to {up:?}");
    })
    .await;
}

#[tokio::test]
async fn a_second_refusal_is_passed_on_as_it_came() {
    on_all(|down, up| async move {
        let stage = Stage::new(down, up, |setup| setup).await;
        for path in ["/api/v2/late-401", "/api/v2/early-401", "/api/v2/early-401?read=no"] {
            let mut seen = stage.simulator.with_ledger(|ledger| ledger.requests_seen());
            let answer = stage.client().await.ask(request(Method::POST, path, full("body"))).await;
            assert_eq!((answer.status.as_u16(), answer.problem().as_str()), (401, ""), "{path} {down:?} to {up:?}");
            assert!(stage.take(&mut seen).len() <= 2, "{path} {down:?} to {up:?}");
        }
        assert!(stage.token_calls() <= 3, "{down:?} to {up:?}");
    })
    .await;
}

#[tokio::test]
async fn a_request_that_waited_for_100_is_replayed_too() {
    let stage = Stage::new(Protocol::Http1, Protocol::Http1, |setup| setup).await;
    stage.revoke();
    let mut raw = Raw::new(connect(stage.proxy.address(), None).await);
    raw.send(format!("POST {ECHO} HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n"))
        .await;
    assert_eq!(raw.read_head().await, "HTTP/1.1 100 Continue\r\n\r\n");
    raw.send("body").await;
    assert_eq!(raw.read_answer().await.status, 200, "one 100, one answer");
    let replayed = stage.take(&mut 0).pop().unwrap();
    assert_eq!(replayed.body_sha256, Some(sha256(b"body")));
}

#[tokio::test]
async fn a_refused_upgrade_is_replayed_and_switches() {
    let stage = Stage::new(Protocol::Http1, Protocol::Http1, |setup| setup).await;
    stage.revoke();
    let mut raw = Raw::new(connect(stage.proxy.address(), None).await);
    raw.send("GET /api/v2/tunnel HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n").await;
    let head = raw.read_head().await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    raw.send("through").await;
    assert_eq!(raw.read_exact(7).await, "through");
}
