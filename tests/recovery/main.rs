//! How long the program takes to recover from each fault of its environment, by itself.
//!
//! `.ci/recovery` runs these tests and writes `docs/reference/recovery.md` from what they measure. A time begins when the fault
//! ends, or at the fault where the program has to cope with one that lasts.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test that meets the unexpected has failed"
)]

mod names;
mod process;
mod store;
mod token_endpoint;
mod upstream;

use std::io::Write;
use std::time::Duration;

use http::StatusCode;
use testkit::Proxy;
use tokio::time::{sleep, timeout};

const PATH: &str = "/api/v2/version";

/// Compares a time with its bound, and appends it to the file `RECOVERY`.
fn recovered(fault: &str, recovery: &str, bound: Duration, measured: Duration) {
    let seconds = |time: Duration| format!("{:.1} s", time.as_secs_f64());
    let line = format!("| {fault} | {recovery} | {} | {} |", seconds(bound), seconds(measured));
    eprintln!("{line}");
    assert!(measured <= bound, "{line}");
    if let Ok(path) = std::env::var("RECOVERY") {
        let mut file = std::fs::File::options().create(true).append(true).open(path).unwrap();
        writeln!(file, "{line}").unwrap();
    }
}

/// Waits until it holds. Polls: what a client sees from outside has no events.
async fn until(what: &str, holds: impl AsyncFn() -> bool) {
    let poll = async {
        while !holds().await {
            sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(timeout(Duration::from_secs(90), poll).await.is_ok(), "never: {what}");
}

/// Waits until a request is answered with 200.
async fn until_answered(proxy: &Proxy) {
    until("a request is answered", async || proxy.get(PATH).await.status == StatusCode::OK).await;
}

/// Waits until this generation is valid and stored.
async fn until_stored(proxy: &Proxy, generation: u64) {
    until("the generation is stored", async || {
        let status = proxy.status().await;
        status["generation"] == generation && status["state"] == "valid" && status["persisted"] == true
    })
    .await;
}
