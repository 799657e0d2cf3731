//! Readiness says whether the proxy's token can be used. Clients do not decide that.

use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::Value;
use simulator::{Fault, Kind, Options, Revocation, Simulator};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use testkit::{Client, Proxy};

/// The simulated API refuses every token on this path.
const REFUSING: &str = "/api/v2/always-401";
const LOADERS: usize = 4;

/// Clients that send requests to a path that accepts the token, until they are stopped.
struct Load {
    stop: watch::Sender<bool>,
    clients: Vec<JoinHandle<usize>>,
}

impl Load {
    fn start(proxy: &Proxy, path: &'static str) -> Self {
        let (address, stop) = (proxy.address(), watch::Sender::new(false));
        let client = |stopped: watch::Receiver<bool>| async move {
            let mut client = Client::http1(address).await;
            let mut sent = 0;
            while !*stopped.borrow() {
                client.get(path).await;
                sent += 1;
            }
            sent
        };
        let clients = (0..LOADERS).map(|_| tokio::spawn(client(stop.subscribe()))).collect();
        Self { stop, clients }
    }

    async fn end(self) {
        self.stop.send_replace(true);
        for client in self.clients {
            assert!(client.await.unwrap() > 0);
        }
    }
}

async fn readyz(proxy: &Proxy) -> (StatusCode, Value) {
    let answer = proxy.admin(Method::GET, "/readyz").await;
    (answer.status, answer.json())
}

#[tokio::test]
async fn one_path_that_refuses_every_token_makes_no_probe_unready() {
    let simulator = Simulator::start(Options { rate_limit: None, ..Options::league8() }).await.unwrap();
    let proxy = Proxy::before(&simulator).start().await;
    proxy.ready().await;
    // Alone, and beside clients whose requests are accepted.
    for others in [false, true] {
        let others = others.then(|| Load::start(&proxy, "/api/v2/version"));
        let refused = Load::start(&proxy, REFUSING);
        let mut refusals = 0;
        for probe in 0..100 {
            let (status, document) = readyz(&proxy).await;
            assert_eq!(status, StatusCode::OK, "probe {probe}: {document}");
            let status = proxy.status().await;
            assert_eq!(status["state"], "valid", "{status}");
            refusals += usize::from(status["refused_at"].is_string());
        }
        assert!(refusals > 0, "the refusals are reported as a fact");
        refused.end().await;
        if let Some(others) = others {
            others.end().await;
        }
    }
    assert_eq!(proxy.get("/api/v2/version").await.status, StatusCode::OK);
    assert_eq!(proxy.status().await["refused_at"], Value::Null, "the upstream accepted a later request");
    proxy.stop().await;
}

#[tokio::test]
async fn a_refresh_that_can_be_tried_again_leaves_the_token_ready() {
    for fault in [Fault::throttled(None), Fault::page_expired()] {
        let simulator = Simulator::start(Options::league8()).await.unwrap();
        let proxy = Proxy::before(&simulator).start().await;
        proxy.ready().await;
        simulator.fault(fault.forever());
        assert_eq!(proxy.get(REFUSING).await.status, StatusCode::UNAUTHORIZED);
        let (status, document) = readyz(&proxy).await;
        assert_eq!(status, StatusCode::OK, "{document}");
        let status = proxy.status().await;
        assert_eq!(status["state"], "valid", "{status}");
        let at: jiff::Timestamp = status["refused_at"].as_str().unwrap().parse().unwrap();
        assert_eq!(at.subsec_nanosecond(), 0, "whole seconds");
        proxy.stop().await;
    }
}

#[tokio::test]
async fn a_token_is_dead_if_it_is_refused_and_its_refresh_may_have_revoked_it() {
    // The refresh ends as ambiguous, and then as rejected.
    for (rejected, state) in [(false, "refused"), (true, "needs_login")] {
        let simulator = Simulator::start(Options::league8()).await.unwrap();
        let proxy = Proxy::before(&simulator).start().await;
        proxy.ready().await;
        simulator.revoke(Revocation::All(Kind::Access));
        if rejected {
            simulator.revoke(Revocation::All(Kind::Refresh));
        } else {
            simulator.fault(Fault::call_lost().forever());
        }
        assert_eq!(proxy.get("/api/v2/version").await.status, StatusCode::UNAUTHORIZED);
        let (status, document) = readyz(&proxy).await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{document}");
        assert_eq!(document["state"], state);
        assert!(document["reasons"].to_string().contains("refuse"), "{document}");
        if !rejected {
            // The proxy keeps trying by itself, and says when.
            assert!(proxy.status().await["retry_at"].is_string());
            simulator.clear_faults();
            proxy.wait_for_status("renewed", |status| status["state"] == "valid").await;
            assert_eq!(readyz(&proxy).await.0, StatusCode::OK);
        }
        proxy.stop().await;
    }
}

#[tokio::test]
async fn a_token_that_is_accepted_after_an_ambiguous_refresh_is_not_dead_for_the_sake_of_one_path() {
    let simulator = Simulator::start(Options { rate_limit: None, ..Options::league8() }).await.unwrap();
    let proxy = Proxy::before(&simulator).set("OAUTH__AMBIGUOUS_RETRY", "never").start().await;
    proxy.ready().await;
    simulator.fault(Fault::call_lost().forever());
    assert_eq!(proxy.get(REFUSING).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(readyz(&proxy).await.0, StatusCode::SERVICE_UNAVAILABLE, "nothing shows that the token still works");
    let others = Load::start(&proxy, "/api/v2/version");
    proxy.wait_for_status("accepted", |status| status["refused_at"].is_null()).await;
    let refused = Load::start(&proxy, REFUSING);
    for probe in 0..100 {
        let (status, document) = readyz(&proxy).await;
        assert_eq!(status, StatusCode::OK, "probe {probe}: {document}");
    }
    refused.end().await;
    others.end().await;
    proxy.stop().await;
}

#[tokio::test]
async fn a_refresh_that_takes_longer_than_the_wait_costs_no_request_its_old_token() {
    let latency = simulator::Latency { before_commit: Duration::from_secs(3), ..simulator::Latency::default() };
    let simulator = Simulator::start(Options { latency, ..Options::league8() }).await.unwrap();
    let proxy = Proxy::before(&simulator).set("REFRESH__WAIT", "300ms").start().await;
    proxy.ready().await;
    let calls = simulator.with_ledger(|ledger| ledger.token_calls().len());
    let address = proxy.address();
    let refused = tokio::spawn(async move { Client::http1(address).await.get(REFUSING).await });
    simulator.wait_until(|ledger| ledger.token_calls().len() > calls).await.unwrap();
    let answer = proxy.get("/api/v2/version").await;
    assert_eq!(answer.status, StatusCode::OK, "the old token has not expired: {}", answer.text());
    assert_eq!(refused.await.unwrap().status, StatusCode::UNAUTHORIZED, "the upstream's own answer");
    proxy.stop().await;
}
