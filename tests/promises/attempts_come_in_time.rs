//! When the program repeats a refresh, by itself and on request.

use std::time::{Duration, Instant};

use http::{Method, StatusCode};
use jiff::Timestamp;
use serde_json::Value;
use simulator::{Fault, Options, Simulator};

use testkit::Proxy;

#[tokio::test]
async fn one_page_in_the_place_of_an_answer_costs_a_token_of_a_minute_seconds() {
    let options = Options { access_lifetime: Duration::from_secs(60), ..Options::league8() };
    let simulator = Simulator::start(options).await.unwrap();
    let proxy = Proxy::before(&simulator).start().await;
    proxy.ready().await;
    simulator.fault(Fault::page_expired());
    assert_eq!(proxy.refresh().await.status, StatusCode::SERVICE_UNAVAILABLE);
    let status = proxy.status().await;
    assert_eq!(status["last_refresh"]["outcome"], "misconfigured");
    let at: Timestamp = status["retry_at"].as_str().unwrap().parse().unwrap();
    assert!(at.duration_since(Timestamp::now()).as_secs() <= 5, "{status}");
    proxy.wait_for_status("renewed", |status| status["generation"] == 2).await;
    proxy.stop().await;
}

#[tokio::test]
async fn requests_for_a_refresh_in_a_loop_spend_one_token_a_second() {
    let simulator = Simulator::start(Options { rate_limit: None, ..Options::league8() }).await.unwrap();
    let calls = || simulator.with_ledger(|ledger| ledger.token_calls().len());
    let proxy = Proxy::before(&simulator).start().await;
    proxy.ready().await;
    for failing in [false, true] {
        if failing {
            simulator.fault(Fault::page_expired().forever());
        }
        let (began, before) = (Instant::now(), calls());
        let ask = || async {
            let mut asked = 0;
            while began.elapsed() < Duration::from_secs(3) {
                let answer = proxy.admin(Method::POST, "/refresh").await;
                let document: Value = answer.json();
                // The second run may begin with the outcome of a refresh that succeeded just before.
                assert!(answer.status == StatusCode::OK || failing, "{document}");
                asked += 1;
            }
            asked
        };
        let asked = tokio::join!(ask(), ask(), ask(), ask());
        let spent = calls() - before;
        // One in each second that has begun. A scheduled refresh or a retry may add to that.
        let most = usize::try_from(began.elapsed().as_secs()).unwrap() + 3;
        assert!((2..=most).contains(&spent), "{spent} calls for {asked:?} requests in {:?}", began.elapsed());
    }
    proxy.stop().await;
}

#[tokio::test]
async fn a_stored_token_that_is_dated_tomorrow_is_renewed_once_and_used_meanwhile() {
    let simulator = Simulator::start(Options::league8()).await.unwrap();
    let proxy = Proxy::before(&simulator).start().await;
    proxy.ready().await;
    let setup = proxy.stop().await;
    let mut document: Value = serde_json::from_slice(&std::fs::read(setup.store()).unwrap()).unwrap();
    for time in ["obtained_at", "expires_at"] {
        let access = &mut document["access"];
        let at: Timestamp = access[time].as_str().unwrap().parse().unwrap();
        access[time] = (at + jiff::SignedDuration::from_hours(24)).to_string().into();
    }
    std::fs::write(setup.store(), document.to_string()).unwrap();
    let calls = || simulator.with_ledger(|ledger| ledger.token_calls().len());
    let before = calls();
    simulator.fault(Fault::throttled(Some("3")));
    let proxy = setup.start().await;
    assert_eq!(proxy.get("/api/v2/version").await.status, StatusCode::OK, "used meanwhile");
    let status = proxy.status().await;
    let obtained: Timestamp = status["obtained_at"].as_str().unwrap().parse().unwrap();
    assert!(obtained <= Timestamp::now(), "{status}");
    let status = proxy.wait_for_status("renewed", |status| status["generation"] == 2).await;
    assert_eq!((&status["state"], calls()), (&"valid".into(), before + 2), "{status}");
    proxy.stop().await;
}
