//! A process is killed at each step of the verification of a candidate. The stored grant is not lost. With
//! `oauth.ambiguous_retry = "never"`, the candidate is not presented twice.

use std::process::Stdio;

use futures_util::future::join_all;
use http::StatusCode;
use serde_json::Value;
use simulator::{Options, Simulator};
use tokio::io::AsyncWriteExt;

use crate::commands::run;
use crate::pipe::{Pipe, stop_at};
use crate::support::{Proxy, Setup};

/// The steps of `import`: it writes the candidate, the intent and the outcome.
const OF_IMPORT: [&str; 15] = [
    "written",
    "flushed",
    "renamed",
    "leased",
    "written 2",
    "renamed 2",
    "intended",
    "calling",
    "called",
    "answered",
    "written 3",
    "flushed 3",
    "renamed 3",
    "committed",
    "released",
];

/// The steps of a running proxy that takes the candidate.
const OF_PROXY: [&str; 13] = [
    "leased",
    "written",
    "renamed",
    "intended",
    "calling",
    "called",
    "answered",
    "written 2",
    "flushed 2",
    "renamed 2",
    "committed",
    "released",
    "published",
];

#[tokio::test]
async fn import_itself() {
    // A few at a time, because each is a process.
    for points in OF_IMPORT.chunks(4) {
        join_all(points.iter().map(|point| import_killed_at(point))).await;
    }
}

#[tokio::test]
async fn the_proxy_that_took_it() {
    for points in OF_PROXY.chunks(4) {
        join_all(points.iter().map(|point| proxy_killed_at(point))).await;
    }
}

async fn import_killed_at(point: &'static str) {
    let simulator = Simulator::start(Options { rate_limit: None, ..Options::league8() }).await.unwrap();
    let setup = with_grant(&simulator).await;
    let mut pipe = Pipe::new();
    let mut command = stop_at(pipe.report(setup.again()), point).command(&["import"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(simulator.grant().refresh_token.as_bytes()).await.unwrap();
    pipe.stopped(child.id().unwrap(), point).await;
    child.kill().await.unwrap();
    let went_on = setup.start().await;
    ends_well(&simulator, went_on, point).await;
}

async fn proxy_killed_at(point: &'static str) {
    let simulator = Simulator::start(Options { rate_limit: None, ..Options::league8() }).await.unwrap();
    let setup = with_grant(&simulator).await;
    let mut pipe = Pipe::new();
    let proxy = stop_at(pipe.report(setup.again()), point).start().await;
    let (exit, _, error) = run(&setup, &["import", "--unverified"], &simulator.grant().refresh_token).await;
    assert_eq!(exit, 0, "{point}: {error}");
    pipe.stopped(proxy.pid(), point).await;
    proxy.kill().await;
    let went_on = setup.start().await;
    ends_well(&simulator, went_on, point).await;
}

async fn with_grant(simulator: &Simulator) -> Setup {
    let proxy = Proxy::before(simulator).set("OAUTH__AMBIGUOUS_RETRY", "never").start().await;
    proxy.ready().await;
    proxy.stop().await.unset("OAUTH__REFRESH_TOKEN")
}

/// The grant works, whether old or new, and no token was presented twice.
async fn ends_well(simulator: &Simulator, proxy: Proxy, point: &str) {
    proxy.ready().await;
    assert_eq!(proxy.get("/api/v2/version").await.status, StatusCode::OK, "{point}\n{}", proxy.log().join("\n"));
    // A waiting candidate is tried first.
    let mut refreshed = proxy.refresh().await;
    if refreshed.status != StatusCode::OK {
        refreshed = proxy.refresh().await;
    }
    assert_eq!(refreshed.status, StatusCode::OK, "{point}: {}\n{}", refreshed.text(), proxy.log().join("\n"));
    let persisted = |status: &Value| status["persisted"] == true && status["state"] == "valid";
    proxy.wait_for_status(point, persisted).await;
    let calls = simulator.with_ledger(|ledger| ledger.calls_per_refresh_token());
    assert!(calls.values().all(|count| *count == 1), "{point}: {calls:?}\n{}", proxy.log().join("\n"));
    proxy.stop().await;
}
