//! Clients see no failure while the token rotates under load.

use std::collections::BTreeMap;
use std::time::Duration;

use http::StatusCode;
use simulator::{Latency, Options, Simulator};
use tokio::task::JoinSet;
use tokio::time::Instant;

use testkit::{Client, Proxy};

/// Rotations, one a second. `ROTATIONS=60` is the whole minute.
fn rotations() -> u32 {
    std::env::var("ROTATIONS").ok().and_then(|text| text.parse().ok()).unwrap_or(60)
}

#[tokio::test]
async fn rotation_under_load_fails_nobody() {
    let latency = Latency { before_commit: Duration::from_millis(40), after_commit: Duration::from_millis(95) };
    let simulator = Simulator::start(Options { latency, ..Options::league8() }).await.unwrap();
    let proxy = Proxy::before(&simulator).start().await;
    proxy.ready().await;
    let address = proxy.address();
    let end = Instant::now() + Duration::from_secs(rotations().into());

    let mut load = JoinSet::new();
    for number in 0..16 {
        load.spawn(async move {
            let mut client = if number % 2 == 0 { Client::http1(address).await } else { Client::http2(address).await };
            let mut statuses: BTreeMap<StatusCode, u64> = BTreeMap::new();
            while Instant::now() < end {
                let answer = if number % 4 < 2 {
                    client.get("/api/v2/countries").await
                } else {
                    let body = vec![b'x'; 4096];
                    let answer = client.post("/api/v2/echo", body).await;
                    if answer.status == StatusCode::OK {
                        assert_eq!(answer.json()["body_length"], 4096);
                    }
                    answer
                };
                *statuses.entry(answer.status).or_default() += 1;
                // Many slow clients: the test shares its cores with the program.
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            statuses
        });
    }
    let mut rotated = 0;
    while Instant::now() < end {
        let next = Instant::now() + Duration::from_secs(1);
        let answer = proxy.refresh().await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
        rotated += 1;
        tokio::time::sleep_until(next).await;
    }
    let mut statuses: BTreeMap<StatusCode, u64> = BTreeMap::new();
    for client in load.join_all().await {
        for (status, count) in client {
            *statuses.entry(status).or_default() += count;
        }
    }
    assert_eq!(statuses.keys().collect::<Vec<_>>(), [&StatusCode::OK], "{statuses:?}\n{}", proxy.log().join("\n"));
    assert!(simulator.with_ledger(|ledger| ledger.committed_calls()) > rotated);
    assert!(simulator.with_ledger(|ledger| ledger.reused_after_delivery().is_empty()));
    println!("{} requests through {rotated} rotations", statuses[&StatusCode::OK]);
    proxy.stop().await;
}
