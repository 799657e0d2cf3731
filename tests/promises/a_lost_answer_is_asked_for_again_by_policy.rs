//! `oauth.ambiguous_retry`: how often the program presents a refresh token whose response was lost before or after the server's
//! commit. The server's ledger shows the presentations. A restart does not reset the count.

use http::StatusCode;
use serde_json::Value;
use simulator::{Fault, Options, Simulator};
use tokio::task::JoinSet;

use testkit::Proxy;

#[derive(Clone, Copy)]
struct Row {
    policy: &'static str,
    /// The server had not yet spent the token.
    before_commit: bool,
    /// How many responses in a row are lost.
    lost: u32,
    presented: usize,
    renewed: bool,
}

const fn row(policy: &'static str, before_commit: bool, lost: u32, presented: usize, renewed: bool) -> Row {
    Row { policy, before_commit, lost, presented, renewed }
}

const ROWS: [Row; 9] = [
    row("until_clear", true, 1, 2, true),
    row("until_clear", true, 3, 4, true),
    // The second attempt finds the token spent, so the server rejects it.
    row("until_clear", false, 1, 2, false),
    row("once", true, 1, 2, true),
    row("once", true, 2, 2, false),
    row("once", false, 1, 2, false),
    row("never", true, 1, 1, false),
    row("never", true, 2, 1, false),
    row("never", false, 1, 1, false),
];

#[tokio::test]
async fn a_lost_answer_is_asked_for_again_by_policy() {
    let mut running = JoinSet::new();
    for row in ROWS {
        running.spawn(check(row));
    }
    running.join_all().await;
}

async fn check(row: Row) {
    let Row { policy, before_commit, lost, presented, renewed } = row;
    let what = format!("{policy}, before the commit: {before_commit}, lost: {lost}");
    let simulator = Simulator::start(Options { revoke_old_access: false, ..Options::league8() }).await.unwrap();
    let proxy = Proxy::before(&simulator).set("OAUTH__AMBIGUOUS_RETRY", policy).start().await;
    proxy.ready().await;
    let grant = simulator.with_ledger(|ledger| ledger.issued().last().unwrap().refresh.unwrap());
    let count = || simulator.with_ledger(|ledger| ledger.calls_with(grant).count());
    simulator.fault(if before_commit { Fault::call_lost() } else { Fault::answer_lost() }.times(lost));
    let asked = proxy.refresh().await;
    assert_eq!(asked.status, StatusCode::SERVICE_UNAVAILABLE, "{what}");
    assert_eq!(asked.json()["grant"]["last_refresh"]["outcome"], "ambiguous", "{what}");

    let ended = |status: &Value| status["generation"] == 2 || status["state"] == "needs_login";
    let status = proxy.wait_for_status("the end", ended).await;
    assert_eq!((&status["state"] == "valid", count()), (renewed, presented), "{what}: {status}");
    simulator.clear_faults();
    assert_eq!(proxy.refresh().await.status == StatusCode::OK, renewed, "{what}");

    let proxy = proxy.stop().await.start().await;
    let status = proxy.wait_for_status("read", |status| status["state"] != "starting").await;
    assert_eq!(&status["state"] == "valid", renewed, "{what}: {status}");
    assert_eq!(proxy.refresh().await.status == StatusCode::OK, renewed, "{what}");
    assert_eq!(proxy.get("/api/v2/version").await.status, StatusCode::OK, "{what}: the access token lives");
    assert_eq!(count(), presented, "{what}");
    proxy.stop().await;
}
