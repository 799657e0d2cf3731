//! Faults of the grant, with a running proxy and without one.

use std::fs;

use serde_json::{Value, json};
use simulator::{Act, Answer, Fault, Kind, Latency, Options, Presented, Revocation, Simulator, Step};

use crate::checked::{Checked, league, small, stored};
use testkit::{Disk, Proxy, Setup, Trouble};

const NEEDS_LOGIN: i32 = 3;

/// Changes the stored document.
fn edit(setup: &Setup, change: impl FnOnce(&mut Value)) {
    let mut document: Value = serde_json::from_slice(&fs::read(setup.store()).unwrap()).unwrap();
    change(&mut document);
    fs::write(setup.store(), document.to_string()).unwrap();
}

#[tokio::test]
async fn each_fault_of_a_stored_grant_is_found() {
    let simulator = league().await;
    let setup = small(Proxy::without_grant(&simulator));
    let absent = Checked::before(&simulator, &setup, &[]).await;
    absent.finds("grant-absent", NEEDS_LOGIN);
    assert!(absent.because_of("grant-absent").contains(&"upstream-refuses"), "{:#}", absent.document);

    let setup = stored(&simulator).await;
    let other = setup.again().set("UPSTREAM__URL", "http://127.0.0.1:9");
    let elsewhere = Checked::before(&simulator, &other, &["--offline"]).await;
    elsewhere.finds("grant-bound-elsewhere", NEEDS_LOGIN);

    edit(&setup, |document| document["access"]["expires_at"] = json!("2026-01-01T00:00:00Z"));
    let expired = Checked::before(&simulator, &setup, &[]).await;
    expired.finds("grant-near-end", 0);
    assert!(expired.because_of("grant-near-end").contains(&"upstream-refuses"), "{:#}", expired.document);

    edit(&setup, |document| document["needs_login"] = json!("The server has refused the refresh token."));
    Checked::before(&simulator, &setup, &[]).await.finds("grant-needs-login", NEEDS_LOGIN);
}

/// The stored access token is for the server that it was issued for.
#[tokio::test]
async fn a_grant_of_another_server_is_not_sent_to_this_one() {
    let (simulator, other) = (league().await, league().await);
    let setup = stored(&simulator).await.set("UPSTREAM__URL", other.origin());
    Checked::before(&simulator, &setup, &[]).await.finds("grant-bound-elsewhere", NEEDS_LOGIN);
    assert_eq!(other.with_ledger(|ledger| (ledger.requests_seen(), ledger.token_calls().len())), (0, 0));
}

#[tokio::test]
async fn a_token_that_nobody_tried_is_found() {
    let simulator = league().await;
    let setup = small(Proxy::without_grant(&simulator));
    let (code, _, err) = setup.import(&["--unverified"], &simulator.grant().refresh_token).await;
    assert_eq!(code, 0, "{err}");
    Checked::before(&simulator, &setup, &[]).await.finds("grant-never-refreshed", 0);
}

#[tokio::test]
async fn a_running_proxy_says_that_it_needs_a_login() {
    let simulator = league().await;
    let proxy = small(Proxy::before(&simulator)).start().await;
    proxy.ready().await;
    simulator.revoke(Revocation::All(Kind::Refresh));
    proxy.refresh().await;
    proxy.wait_for_status("a login", |status| status["state"] == "needs_login").await;
    Checked::new(&proxy.commands(), &[]).await.finds("grant-needs-login", NEEDS_LOGIN);
    proxy.stop().await;
}

/// The proxy waits before its next call, and `check` must not call in its place.
#[tokio::test]
async fn a_running_proxy_says_that_its_refresh_fails() {
    let simulator = league().await;
    let proxy = small(Proxy::before(&simulator)).start().await;
    proxy.ready().await;
    let unavailable = Act::Answer(Answer::html(503, "Service Unavailable").header("retry-after", 300));
    simulator.fault(Fault::token(Step::BeforeCommit, unavailable).forever());
    proxy.refresh().await;
    proxy.wait_for_status("a failed refresh", |status| status["retrying"] == "refresh").await;
    let checked = Checked::new(&proxy.commands(), &[]).await;
    checked.finds("grant-refresh-fails", 0);
    assert_eq!(checked.check("client-rejected")["outcome"], "skip");
    let made_up = simulator
        .with_ledger(|ledger| ledger.token_calls().iter().filter(|call| call.presented == Presented::Unknown).count());
    assert_eq!(made_up, 0);
    proxy.stop().await;
}

#[tokio::test]
async fn a_running_proxy_says_that_it_could_not_store_its_grant() {
    // Time to fill the disk while the response is under way.
    let latency = Latency { after_commit: std::time::Duration::from_millis(300), ..Latency::default() };
    let simulator = Simulator::start(Options { latency, ..Options::league9() }).await.unwrap();
    let Some((disk, setup)) = Disk::new(Trouble::IsFull, small(Proxy::before(&simulator))) else { return };
    let proxy = setup.start().await;
    proxy.ready().await;
    let committed = async {
        simulator.wait_until(|ledger| ledger.committed_calls() == 2).await.unwrap();
        disk.fail(proxy.pid());
    };
    tokio::join!(proxy.refresh(), committed);
    Checked::before(&simulator, &proxy.commands(), &[]).await.finds("grant-unpersisted", 1);
    disk.mend(proxy.pid());
    proxy.wait_for_status("stored", |status| status["persisted"] == true).await;
    assert_eq!(Checked::before(&simulator, &proxy.commands(), &[]).await.problems(), [""; 0]);
    proxy.stop().await;
}
