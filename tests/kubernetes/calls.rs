//! How many calls the API server gets. Counted by its audit log.

use std::collections::BTreeMap;
use std::time::Duration;

use simulator::{Options, Simulator};

use crate::fleet::Fleet;

fn number(name: &str, unset: usize) -> usize {
    std::env::var(name).ok().map_or(unset, |text| text.parse().unwrap())
}

/// `verb resource` → number of requests.
fn counted(fleet: &Fleet, known: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let mut requests = known.clone();
    for request in fleet.cluster.audited(&fleet.account) {
        let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        // A watch is logged at its begin and at its end.
        let what = format!("{} {}", text(&request["verb"]), text(&request["objectRef"]["resource"]));
        requests.entry(text(&request["auditID"])).or_insert(what);
    }
    requests
}

fn since(before: &BTreeMap<String, String>, after: &BTreeMap<String, String>) -> BTreeMap<String, usize> {
    let mut count = BTreeMap::new();
    for (_, what) in after.iter().filter(|(id, _)| !before.contains_key(*id)) {
        *count.entry(what.clone()).or_default() += 1;
    }
    count
}

/// `REPLICAS=100 IDLE=300` is the whole measurement.
#[tokio::test]
async fn an_idle_replica_and_a_refresh_of_many_cost_few_calls() {
    let simulator = Simulator::start(Options { rate_limit: None, ..Options::league8() }).await.unwrap();
    let replicas = number("REPLICAS", 10);
    let Some(fleet) = Fleet::start(simulator, replicas).await else { return };
    fleet.settle().await;
    let idle = Duration::from_secs(number("IDLE", 60).try_into().unwrap());
    // The watches of the last start are open.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let before = counted(&fleet, &BTreeMap::new());
    tokio::time::sleep(idle).await;
    let after = counted(&fleet, &before);
    let calls = since(&before, &after);
    let sum: usize = calls.values().sum();
    eprintln!("{replicas} idle replicas in {idle:?}: {sum} calls {calls:?}");
    // A read and a watch each 4 minutes, or each 90 s if the server sends no bookmarks.
    let rounds = idle.as_secs().div_ceil(90) + 1;
    assert!(sum <= replicas * 2 * usize::try_from(rounds).unwrap(), "{calls:?}");

    let generation = fleet.settle().await;
    let before = counted(&fleet, &after);
    assert_eq!(fleet.replicas[0].refresh().await.status, http::StatusCode::OK);
    assert_eq!(fleet.settle().await, generation + 1);
    let calls = since(&before, &counted(&fleet, &before));
    let sum: usize = calls.values().sum();
    eprintln!("one refresh of {replicas} replicas: {sum} calls {calls:?}");
    assert!(sum <= 12 + replicas / 2, "{calls:?}");
}
