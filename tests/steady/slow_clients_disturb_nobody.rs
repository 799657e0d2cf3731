//! With 2,000 slow clients and 2,000 silent ones, the proxy answers 200 requests a second in less than 50 ms (p99). Then its
//! deadlines end the slow clients, and its memory returns to the earlier level.
//!
//! `slowhttptest` is the slow clients (`-H`, `-B`, `-X`). These limits admit all of them:
//!
//! | key | full | slice | why |
//! |---|---|---|---|
//! | `guard.max_connections` | 4600 | 1500 | 2,000 slow, 2,000 silent, and the connections of normal requests, of which a busy machine needs more |
//! | `upstream.max_in_flight` | 2048 | 512 | each slow body and each slow reader is a request in flight, for all its life |
//! | `guard.header_timeout` | 45 s | 5 s | ends the silent and the slow heads: long, so that they are there while latency is measured |
//! | `upstream.idle_timeout` | 45 s | 5 s | ends the slow bodies and the slow readers |
//!
//! Of the slow clients, 900 send their head slowly, 900 their body, and 200 read slowly. Each slow reader fills the kernel's buffers
//! of two connections, up to 5 MB on the loopback. 600 of them would exceed `net.ipv4.tcp_mem`, and the kernel would drop packets of
//! others. A client that makes slow progress is not cut: each piece is within its time. It occupies its slot in
//! `upstream.max_in_flight`.
//!
//! The short run has a wider limit for latency: it measures a debug build on a machine that may be busy.

use std::time::Duration;

use futures_util::future::join_all;
use http::Response;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use crate::pace::{Pace, Timed, quantile};
use crate::scale::{figure, pick, turn};
use crate::slowhttptest::{SlowHttpTest, connections, needed};
use testkit::allow_open_files;
use testkit::body::{fed, full, pattern};
use testkit::eventually;
use testkit::memory::{Memory, mib};
use testkit::stage::Stage;

const PER_SECOND: u32 = 200;

/// Silent clients that connect each second. Each mode of slowhttptest connects at half this rate.
const ARRIVING: u32 = 200;

/// The memory that may stay occupied after all clients have left.
const KEPT: u64 = 8 * 1024;

/// Longer than any deadline of the proxy, and shorter than the tool's own.
const TOOL_SECONDS: u64 = 150;

#[tokio::test]
async fn slow_clients_disturb_nobody() {
    let _turn = turn().await;
    needed().await;
    let (heads, bodies, readers, silent) = pick((80, 80, 40, 200u32), (900, 900, 200, 2000));
    let deadline = Duration::from_secs(pick(5, 45));
    // Each client's connection needs a descriptor on both sides, and most need one to the upstream.
    allow_open_files(pick(4_000, 16_000));
    let stage = stage_apart(deadline).await;
    let (address, memory) = (stage.proxy.address(), Memory::of(stage.proxy.pid()));

    // Before the slow clients: the memory that normal requests need.
    let pace = Pace::start(address, "/good", PER_SECOND);
    sleep(Duration::from_secs(pick(1, 5))).await;
    let before = memory.resident();

    let began = Instant::now();
    let tools = [("-H", "/head", heads), ("-B", "/body", bodies), ("-X", "/large", readers)]
        .map(|(mode, path, count)| SlowHttpTest::start(mode, address, path, count, TOOL_SECONDS));
    let quiet = tokio::spawn(join_all((0..silent).map(move |number| async move {
        sleep(Duration::from_secs(1) * number / ARRIVING).await;
        ended(address).await
    })));
    let all = f64::from(heads + bodies + readers + silent);
    reaches(&stage, "all are there", |open| open - pace.connections() as f64 >= all).await;
    let there = Instant::now();
    reaches(&stage, "all are gone", |open| open <= pace.connections() as f64).await;
    let (gone, peak) = (Instant::now(), memory.peak());

    // The clients see it too: silent ones are closed at their deadline, and the tool runs out of connections early.
    let slack = Duration::from_secs(15);
    for took in quiet.await.unwrap() {
        let took = took.expect("a silent connection was never closed");
        assert!(took >= deadline - Duration::from_secs(1) && took < deadline + slack, "closed after {took:?}");
    }
    let [heads_tool, bodies_tool, readers_tool] = tools;
    for tool in [heads_tool, bodies_tool] {
        let verdict = timeout(slack, tool.ended()).await.expect("the tool still has connections");
        assert!(verdict.contains("No open connections left"), "{verdict}");
    }
    // After the slow clients: as before. An idle worker keeps freed memory until its next request.
    let after = memory.settled(before + KEPT, Duration::from_secs(20)).await;
    let timed = pace.stop().await;
    reaches(&stage, "none is open", |open| open == 0.0).await;
    // This includes the readers, which have not read everything. The kernel holds no closed connection either.
    eventually("no connection in the kernel", || connections(address.port()) == 0).await;
    readers_tool.kill().await;

    let beside: Vec<Timed> = timed.into_iter().filter(|timed| timed.due >= began && timed.due < gone).collect();
    let failed = beside.iter().filter(|timed| timed.took.is_none()).count();
    let [median, p99, worst] = [50, 99, 100].map(|percent| quantile(&beside, percent));
    let slow = heads + bodies + readers;
    figure(
        &format!("{slow} slow, {silent} silent: p99 {p99:.1?}, RSS {} then {}", mib(before), mib(after)),
        &format!(
            "there for {:.0?}: {} good, {failed} failed, p50 {median:.1?}, max {worst:.1?}; RSS {} at the peak",
            gone - there,
            beside.len(),
            mib(peak),
        ),
    );
    assert_eq!(failed, 0);
    assert!(gone - there > Duration::from_secs(pick(3, 30)), "gone too soon to measure beside: {:?}", gone - there);
    assert!(gone - began < deadline + slack * 2, "all gone only after {:?}", gone - began);
    let limit = Duration::from_millis(pick(500, 50));
    assert!(p99 < limit, "p99 {p99:?}, not under {limit:?}");
    assert!(after <= before + KEPT, "{} before, {} after", mib(before), mib(after));
}

/// A stage with an upstream on its own thread, so that it does not wait for the slow clients of this test.
async fn stage_apart(deadline: Duration) -> Stage {
    let (give, stage) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let stage = Stage::plain(|setup| {
                setup
                    .set("GUARD__MAX_CONNECTIONS", pick(1500, 4600))
                    .set("UPSTREAM__MAX_IN_FLIGHT", pick(512, 2048))
                    .set("GUARD__HEADER_TIMEOUT", format!("{}s", deadline.as_secs()))
                    .set("UPSTREAM__IDLE_TIMEOUT", format!("{}s", deadline.as_secs()))
                    .set("LOG__REQUESTS", "none")
            })
            .await;
            answer(&stage);
            let _ = give.send(stage);
            std::future::pending::<()>().await;
        });
    });
    stage.await.expect("the stage is set")
}

/// Routes for a small response, an endless one, and uploads that are read to their end.
fn answer(stage: &Stage) {
    stage.origin.answer("/good", |_| Response::new(full("good")));
    // At a limited rate: 600 downloads at full speed would occupy this upstream.
    let (piece, pause) = (pattern(64 * 1024), Duration::from_millis(pick(20, 250)));
    stage.origin.on("/large", move |_| {
        let piece = piece.clone();
        async move {
            let (feed, body) = fed();
            tokio::spawn(async move {
                while feed.send(piece.clone()).await {
                    sleep(pause).await;
                }
            });
            Ok(Response::new(body))
        }
    });
    stage.origin.answer("*", |_| Response::new(full("")));
}

/// Connects and sends nothing until the proxy closes the connection. `None`: it never does.
async fn ended(address: std::net::SocketAddr) -> Option<Duration> {
    let mut tcp = TcpStream::connect(address).await.unwrap();
    let connected = Instant::now();
    timeout(Duration::from_secs(TOOL_SECONDS), tcp.read(&mut [0])).await.ok().map(|_| connected.elapsed())
}

/// Waits until the proxy's own count of client connections is as wanted.
async fn reaches(stage: &Stage, what: &str, wanted: impl Fn(f64) -> bool) {
    let poll = async {
        while !wanted(stage.proxy.metric("bearer_proxy_downstream_connections").await) {
            sleep(Duration::from_millis(100)).await;
        }
    };
    let in_time = timeout(Duration::from_secs(TOOL_SECONDS), poll).await;
    assert!(in_time.is_ok(), "never {what}: {}", stage.proxy.metric("bearer_proxy_downstream_connections").await);
}
