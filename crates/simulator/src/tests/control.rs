//! The control interface for other processes.

use super::*;

async fn control(simulator: &Simulator, method: Method, target: &str, body: Value) -> Seen {
    send(simulator, Http::One, request(simulator, method, target, &[], body.to_string())).await.unwrap()
}

#[tokio::test]
async fn another_process_can_grant_fault_revoke_and_read() {
    let simulator = Simulator::start(Options::league8()).await.unwrap();
    let grant = control(&simulator, Method::POST, "/_sim/grant", Value::Null).await.json();
    let fault = json!({"on": "token", "at": "before_commit", "act": {"answer": {"status": 502}}, "times": 1});
    assert_eq!(control(&simulator, Method::POST, "/_sim/fault", fault).await.status, 204);
    let token = grant["refresh_token"].as_str().unwrap();
    assert_eq!(refresh(&simulator, token).await.unwrap().status, 502);
    let (access, _) = pair(&refresh(&simulator, token).await.unwrap());
    assert_eq!(get(&simulator, "/api/v2/echo", &access).await.unwrap().status, 200);
    assert_eq!(control(&simulator, Method::POST, "/_sim/revoke", json!({"access": 2})).await.status, 204);
    assert_eq!(get(&simulator, "/api/v2/echo", &access).await.unwrap().status, 401);

    let seen = control(&simulator, Method::GET, "/_sim/ledger", Value::Null).await;
    let ledger = seen.json();
    assert_eq!(ledger["token_calls"].as_array().unwrap().len(), 2);
    assert_eq!(ledger["token_calls"][0]["fault"], "answer 502");
    assert_eq!(ledger["token_calls"][1]["presented"], json!({"refresh": {"serial": 1}}));
    assert_eq!(ledger["requests"][1]["credential"], json!({"revoked": {"token": 2}}));
    for secret in [token, &access, CLIENT_SECRET] {
        assert!(!seen.text().contains(secret), "{}", seen.text());
    }
}

#[tokio::test]
async fn all_tokens_can_be_revoked_at_once() {
    let simulator = Simulator::start(Options::league8()).await.unwrap();
    let grant = simulator.grant();
    assert_eq!(control(&simulator, Method::POST, "/_sim/revoke", json!({"all": "access"})).await.status, 204);
    assert_eq!(get(&simulator, "/api/v2/echo", &grant.access_token).await.unwrap().status, 401);
    let (_, next) = pair(&refresh(&simulator, &grant.refresh_token).await.unwrap());
    assert_eq!(control(&simulator, Method::POST, "/_sim/revoke", json!({"all": "both"})).await.status, 204);
    assert_eq!(refresh(&simulator, &next).await.unwrap().status, 401);
    assert_eq!(control(&simulator, Method::POST, "/_sim/revoke", json!({"access": 99})).await.status, 404);
}

#[tokio::test]
async fn the_clock_can_be_set_and_faults_cleared() {
    let simulator = Simulator::start(Options::league8()).await.unwrap();
    let grant = simulator.grant();
    let year = 31_536_001_000_i64;
    assert_eq!(control(&simulator, Method::POST, "/_sim/clock", json!({"offset_ms": year})).await.status, 204);
    assert_eq!(get(&simulator, "/api/v2/echo", &grant.access_token).await.unwrap().status, 401);
    assert_eq!(control(&simulator, Method::POST, "/_sim/clock", json!({"offset_ms": 0})).await.status, 204);
    let fault = json!({"on": "api", "at": "before_body", "act": "refuse", "times": null});
    control(&simulator, Method::POST, "/_sim/fault", fault).await;
    assert_eq!(get(&simulator, "/api/v2/echo", &grant.access_token).await.unwrap().status, 401);
    assert_eq!(control(&simulator, Method::DELETE, "/_sim/fault", Value::Null).await.status, 204);
    assert_eq!(get(&simulator, "/api/v2/echo", &grant.access_token).await.unwrap().status, 200);
}

#[tokio::test]
async fn a_mistake_is_told_and_changes_nothing() {
    let simulator = Simulator::start(Options::league8()).await.unwrap();
    let seen = control(&simulator, Method::POST, "/_sim/fault", json!({"on": "moon"})).await;
    assert_eq!(seen.status, 400);
    assert!(seen.json()["message"].as_str().unwrap().contains("moon"));
    let impossible = json!({"on": "token", "at": "before_body", "act": {"truncate": 1}});
    assert_eq!(control(&simulator, Method::POST, "/_sim/fault", impossible).await.status, 400);
    assert_eq!(simulator.faults_left(), 0);
    assert_eq!(control(&simulator, Method::POST, "/_sim/nothing", Value::Null).await.status, 404);
}
