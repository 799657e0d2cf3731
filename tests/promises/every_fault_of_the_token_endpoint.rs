//! Each fault of the token endpoint has a class of outcome, which the status, the metric and the log show.
//!
//! The program presents the token as often as the class allows. Requests with a live access token continue. The program recovers by
//! itself where it can.

mod load;
mod place;
mod rows;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use serde_json::{Value, json};
use simulator::{Fault, Flavour, Grant, Options, Reuse, Simulator};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use self::load::Load;
use self::place::{Front, Place};
use testkit::Proxy;

/// Rows that run at the same time. Each has a process and a server.
const AT_ONCE: usize = 8;

struct Row {
    what: &'static str,
    flavour: Flavour,
    place: Place,
    fault: Option<Fault>,
    class: &'static str,
    /// Parts of the error that `status` shows.
    says: &'static [&'static str],
    then: Then,
}

/// What follows.
#[derive(Clone, Copy, PartialEq)]
enum Then {
    /// The refresh succeeded, with a token that lives for this many seconds.
    Worked(i64),
    /// The program tries again by itself, after these seconds or later, and succeeds.
    Renewed(u64),
    /// The program tries again by itself, and the server rejects the spent token.
    Lost,
    /// The program stores the successor of the response, presents it by itself, and succeeds.
    Kept,
    /// The server rejects the token.
    Over,
    /// The program waits until a person asks, and then succeeds.
    Asked,
    /// The program tries again without end.
    Fails,
}

#[tokio::test]
async fn every_fault_has_its_class_and_harms_no_request() {
    let places = Arc::new(Semaphore::new(AT_ONCE));
    let mut running = JoinSet::new();
    let mut names = HashMap::new();
    for row in rows::all() {
        let (what, places) = (row.what, Arc::clone(&places));
        let task = running.spawn(async move {
            let _place = places.acquire().await.unwrap();
            row.check().await;
        });
        names.insert(task.id(), what);
    }
    let mut failed = Vec::new();
    while let Some(ended) = running.join_next_with_id().await {
        failed.extend(ended.err().map(|panicked| names[&panicked.id()]));
    }
    assert!(failed.is_empty(), "{failed:?}");
}

impl Row {
    async fn check(self) {
        let Self { what, class, .. } = self;
        // Another file tests what a refresh does to the old access token.
        let options =
            Options { flavour: self.flavour, revoke_old_access: false, reuse: Reuse::Refuse, ..Options::league8() };
        let simulator = Simulator::start(options).await.unwrap();
        let front = Front::of(self.place, &simulator).await;
        let grant = simulator.grant();
        let setup = Proxy::without_grant(&simulator)
            .set("OAUTH__TOKEN_URL", &front.token_url)
            .set("OAUTH__REQUEST_TIMEOUT", "2s");
        let (code, _, err) = setup.import(&[], &answer_of(&grant)).await;
        assert_eq!(code, 0, "{what}: {err}");
        let proxy = setup.start().await;
        proxy.ready().await;
        let mut load = Load::start(proxy.address());
        load.more().await;

        let ok = matches!(self.then, Then::Worked(_));
        if let Some(fault) = self.fault.clone() {
            simulator.fault(fault);
        }
        let answer = proxy.refresh().await;
        // From the response itself: the status may already show the next attempt.
        let status = if ok { answer.json() } else { answer.json()["grant"].take() };
        assert_eq!(answer.status == StatusCode::OK, ok, "{what}: {}", answer.text());
        let last = &status["last_refresh"];
        assert_eq!((&last["outcome"], &last["trigger"]), (&json!(class), &json!("manual")), "{what}: {status}");
        let said = last["error"].as_str().unwrap_or_default();
        assert!(self.says.iter().all(|words| said.contains(words)), "{what}: {said}");
        assert_eq!(said.is_empty(), ok, "{what}");
        let state = if self.then == Then::Over { "needs_login" } else { "valid" };
        assert_eq!(status["state"], state, "{what}");
        let logged = proxy
            .wait_for_log(class, |line| line["outcome"] == class && line["trigger"] == "manual" && from_refresher(line))
            .await;
        assert!(self.says.iter().all(|words| ok || logged.contains(words)), "{what}: {logged}");
        load.more().await;

        let presented = self.follow(&simulator, &front, &proxy, &grant).await;
        load.more().await;
        let of_grant = |simulator: &Simulator| simulator.with_ledger(|ledger| ledger.calls_with(grant.refresh).count());
        assert_eq!(of_grant(&simulator), presented, "{what}: presentations");
        assert!(proxy.metric(&series(class, "manual")).await >= 1.0, "{what}: the metric");
        load.end(what).await;
        proxy.stop().await;
    }

    /// Waits until the program has recovered or given up. Returns how often it presented the token.
    async fn follow(&self, simulator: &Simulator, front: &Front, proxy: &Proxy, grant: &Grant) -> usize {
        let what = self.what;
        match self.then {
            Then::Worked(seconds) => {
                let status = proxy.status().await;
                assert_eq!((&status["state"], &status["generation"]), (&json!("valid"), &json!(2)), "{what}");
                let at = |name: &str| status[name].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
                assert_eq!(at("expires_at").duration_since(at("obtained_at")).as_secs(), seconds, "{what}");
                1
            }
            Then::Renewed(seconds) => {
                front.open(simulator).await;
                proxy
                    .wait_for_status("renewed", |status| status["generation"] == 2 && status["state"] == "valid")
                    .await;
                let at = |calls: &[i64]| calls.windows(2).map(|pair| pair[1] - pair[0]).min();
                let calls: Vec<i64> =
                    simulator.with_ledger(|ledger| ledger.calls_with(grant.refresh).map(|call| call.at).collect());
                let pause = at(&calls).unwrap_or(i64::MAX);
                assert!(pause >= i64::try_from(seconds).unwrap() * 1000, "{what}: after {pause} ms");
                if self.place == Place::Server { 2 } else { 1 }
            }
            Then::Lost => {
                let status = proxy.wait_for_status("lost", |status| status["state"] == "needs_login").await;
                let reason = status["reason"].as_str().unwrap();
                assert!(reason.contains("was lost") && reason.contains("bearer-proxy import"), "{what}: {reason}");
                // The program itself made the attempt that follows an unclear outcome.
                assert_eq!(proxy.metric(&series("rejected", "scheduled")).await, 1.0, "{what}");
                over(proxy, what).await;
                2
            }
            Then::Kept => {
                proxy
                    .wait_for_status("renewed", |status| status["generation"] == 3 && status["state"] == "valid")
                    .await;
                1
            }
            Then::Over => {
                over(proxy, what).await;
                1
            }
            Then::Asked => {
                assert_eq!(proxy.status().await["generation"], 1, "{what}");
                let answer = proxy.refresh().await;
                assert_eq!(answer.status, StatusCode::OK, "{what}: {}", answer.text());
                assert_eq!(answer.json()["generation"], 2, "{what}");
                2
            }
            Then::Fails => {
                let again = series("transient", "manual");
                while proxy.metric(&again).await < 2.0 {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                assert_eq!(proxy.status().await["state"], "valid", "{what}");
                0
            }
        }
    }
}

/// A refresh on request of a grant that only a person can renew presents nothing, and says so.
async fn over(proxy: &Proxy, what: &str) {
    let answer = proxy.refresh().await;
    assert_eq!(
        (answer.status, &answer.json()["needs_login"]),
        (StatusCode::SERVICE_UNAVAILABLE, &json!(true)),
        "{what}"
    );
    assert_eq!(proxy.metric("bearer_proxy_needs_login").await, 1.0, "{what}");
}

/// The response of the token endpoint that issued the grant.
fn answer_of(grant: &Grant) -> String {
    json!({"access_token": grant.access_token, "refresh_token": grant.refresh_token, "expires_in": 86_400}).to_string()
}

fn series(class: &str, trigger: &str) -> String {
    format!(r#"bearer_proxy_token_refreshes_total{{outcome="{class}",trigger="{trigger}"}}"#)
}

fn from_refresher(line: &Value) -> bool {
    line["target"].as_str().is_some_and(|target| target.contains("refresher"))
}
