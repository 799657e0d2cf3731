//! The program does not present a grant that only a person can renew, and does not poll for it without end.

use std::time::Duration;

use simulator::{Kind, Options, Revocation, Simulator};

use testkit::Proxy;

/// How often the thread of the refresher has slept.
fn waits(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    line.unwrap().trim().parse().unwrap()
}

#[tokio::test]
async fn a_refused_grant_past_its_time_costs_nothing() {
    let access_lifetime = Duration::from_secs(4);
    let simulator = Simulator::start(Options { access_lifetime, ..Options::league8() }).await.unwrap();
    let proxy = Proxy::before(&simulator).start().await;
    proxy.ready().await;
    simulator.revoke(Revocation::All(Kind::Refresh));
    // The server rejects the scheduled refresh at half of the token's life.
    proxy.wait_for_status("given up", |status| status["state"] == "needs_login").await;
    let calls = simulator.with_ledger(|ledger| ledger.token_calls().len());
    let before = waits(proxy.pid());
    // The test counts wake-ups for a while: before the token expires, and after.
    tokio::time::sleep(access_lifetime).await;
    let woken = waits(proxy.pid()) - before;
    assert!(woken < 200, "woken {woken} times in {access_lifetime:?}");
    assert_eq!(simulator.with_ledger(|ledger| ledger.token_calls().len()), calls);
    proxy.stop().await;
}
