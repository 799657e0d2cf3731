//! Beside 2,000 slow clients and 2,000 silent ones, 200 good requests a second are answered in under 50 ms (p99); then the proxy's
//! own deadlines end all that is slow, and its memory is back.
//!
//! The slow ones are `slowhttptest`'s (`-H`, `-B`, `-X`). The limits are set so that all fit:
//!
//! | key | full | slice | why |
//! |---|---|---|---|
//! | `guard.max_connections` | 4600 | 700 | 2,000 slow, 2,000 silent, and the good ones' connections |
//! | `upstream.max_in_flight` | 2048 | 512 | each slow body and each slow reader is a request in flight, for all its life |
//! | `guard.header_timeout` | 45 s | 5 s | ends the silent and the slow heads: long, so that they are there while latency is measured |
//! | `upstream.idle_timeout` | 45 s | 5 s | ends the slow bodies and the slow readers |
//!
//! Of the slow, 900 send their head slowly, 900 their body, and 200 read slowly. Those are fewer since each fills the kernel's
//! buffers of two connections, up to 5 MB on a loopback with its large segments: 600 would be beyond `net.ipv4.tcp_mem`, where the
//! kernel begins to drop what others send. A client that reads faster than nothing at all, or sends its body so, is not cut: each
//! piece is within its time. It holds its place in `upstream.max_in_flight`.
//!
//! The slice has its limit for latency wider: it measures a debug build, on a machine that may do other things.

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

/// How many silent ones come in a second; slowhttptest's come at half this rate, each mode.
const ARRIVING: u32 = 200;

/// What may stay occupied after all are gone.
const KEPT: u64 = 8 * 1024;

/// Ends well after any deadline of the proxy's, and before it would be the tool that ends it.
const TOOL_SECONDS: u64 = 150;

#[tokio::test]
async fn slow_clients_disturb_nobody() {
    let _turn = turn().await;
    needed().await;
    let (heads, bodies, readers, silent) = pick((80, 80, 40, 200u32), (900, 900, 200, 2000));
    let deadline = Duration::from_secs(pick(5, 45));
    // A connection of each client's is a file here and one there, and most need one to the upstream.
    allow_open_files(pick(4_000, 16_000));
    let stage = stage_apart(deadline).await;
    let (address, memory) = (stage.proxy.address(), Memory::of(stage.proxy.pid()));

    // Before: what the good ones need.
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

    // The clients see it too: the silent ones are closed at their deadline, the tool has no connection left before its time.
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
    // After: as before, beside the good ones. A worker that nothing wakes keeps what it has freed until its next request.
    let after = memory.settled(before + KEPT, Duration::from_secs(20)).await;
    let timed = pace.stop().await;
    reaches(&stage, "none is open", |open| open == 0.0).await;
    // The readers' as well, though they have not read what is left to them; and nothing is closed and lives on in the kernel.
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

/// A stage whose upstream has a thread of its own: it must not wait for what the slow clients' side of this test does.
async fn stage_apart(deadline: Duration) -> Stage {
    let (give, stage) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let stage = Stage::plain(|setup| {
                setup
                    .set("GUARD__MAX_CONNECTIONS", pick(700, 4600))
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

/// A small answer; one without end; and what reads bodies to their end.
fn answer(stage: &Stage) {
    stage.origin.answer("/good", |_| Response::new(full("good")));
    // In a measured pace: 600 at full speed would first of all occupy this upstream.
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

/// Connects, and says nothing until the other side ends it. `None`: it never does.
async fn ended(address: std::net::SocketAddr) -> Option<Duration> {
    let mut tcp = TcpStream::connect(address).await.unwrap();
    let connected = Instant::now();
    timeout(Duration::from_secs(TOOL_SECONDS), tcp.read(&mut [0])).await.ok().map(|_| connected.elapsed())
}

/// Waits until the proxy's own count of its clients' connections is so.
async fn reaches(stage: &Stage, what: &str, wanted: impl Fn(f64) -> bool) {
    let poll = async {
        while !wanted(stage.proxy.metric("bearer_proxy_downstream_connections").await) {
            sleep(Duration::from_millis(100)).await;
        }
    };
    let in_time = timeout(Duration::from_secs(TOOL_SECONDS), poll).await;
    assert!(in_time.is_ok(), "never {what}: {}", stage.proxy.metric("bearer_proxy_downstream_connections").await);
}
