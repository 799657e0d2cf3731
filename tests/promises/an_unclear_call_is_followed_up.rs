//! After a token call with an unknown outcome, the program tries what `oauth.ambiguous_retry` allows and reports the result,
//! however long the current access token lives.

use std::time::Duration;

use http::StatusCode;
use serde_json::Value;
use simulator::{Fault, Kind, Latency, Options, Revocation, Simulator};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use testkit::{Proxy, Setup, output};

fn in_needs_login(status: &Value) -> bool {
    status["state"] == "needs_login"
}

fn calls(simulator: &Simulator) -> usize {
    simulator.with_ledger(|ledger| ledger.token_calls().len())
}

/// The exit code of `status` on the store, and the reason that it prints.
async fn stored_status(setup: &Setup) -> (i32, String) {
    let (exit, text, _) = output(setup.command(&["status", "--json"])).await;
    let status: Value = serde_json::from_str(&text).unwrap();
    (exit.code().unwrap(), status["reason"].as_str().unwrap_or_default().to_owned())
}

#[tokio::test]
async fn until_clear_presents_again_until_the_server_says_what_became_of_it() {
    let simulator = Simulator::start(Options::league8()).await.unwrap();
    let proxy = Proxy::before(&simulator).start().await;
    proxy.ready().await;
    simulator.fault(Fault::call_lost().times(3));
    assert_eq!(proxy.refresh().await.status, StatusCode::SERVICE_UNAVAILABLE);
    proxy.wait_for_status("renewed", |status| status["generation"] == 2).await;
    assert_eq!(calls(&simulator), 5);

    simulator.fault(Fault::answer_lost());
    assert_eq!(proxy.refresh().await.status, StatusCode::SERVICE_UNAVAILABLE);
    let status = proxy.wait_for_status("lost", in_needs_login).await;
    assert!(status["reason"].as_str().unwrap().contains("probably held the successor, and was lost"), "{status}");
    let setup = proxy.stop().await;
    assert_eq!(stored_status(&setup).await, (3, status["reason"].as_str().unwrap().to_owned()));
    assert_eq!(calls(&simulator), 7, "a clear no is final");
}

#[tokio::test]
async fn once_and_never_end_where_they_say_and_say_so() {
    for (retry, presentations) in [("once", 2), ("never", 1)] {
        let simulator = Simulator::start(Options::league8()).await.unwrap();
        let proxy = Proxy::before(&simulator).set("OAUTH__AMBIGUOUS_RETRY", retry).start().await;
        proxy.ready().await;
        let before = calls(&simulator);
        simulator.fault(Fault::call_lost().forever());
        proxy.refresh().await;
        let status = proxy.wait_for_status("given up", in_needs_login).await;
        let reason = status["reason"].as_str().unwrap().to_owned();
        assert!(reason.contains("without a clear answer"), "{retry}: {reason}");
        assert_eq!(status["generation"], 1);
        // The server did not revoke the old access token, so the proxy uses it until it expires.
        assert_eq!(proxy.get("/api/v2/version").await.status, StatusCode::OK);
        let setup = proxy.stop().await;
        assert_eq!(stored_status(&setup).await, (3, reason));
        assert_eq!(calls(&simulator), before + presentations, "{retry}");
    }
}

#[tokio::test]
async fn a_call_that_a_dead_process_made_is_followed_up_by_the_next_one() {
    let latency = Latency { after_commit: Duration::from_millis(300), ..Latency::default() };
    let simulator = Simulator::start(Options { latency, ..Options::league8() }).await.unwrap();
    let proxy = Proxy::before(&simulator).start().await;
    proxy.ready().await;
    proxy.rested().await;
    let admin = proxy.admin_address();
    let mut asking = TcpStream::connect(admin).await.unwrap();
    let request = format!("POST /refresh HTTP/1.1\r\nHost: {admin}\r\nContent-Length: 0\r\n\r\n");
    asking.write_all(request.as_bytes()).await.unwrap();
    simulator.wait_until(|ledger| ledger.committed_calls() == 2).await.unwrap();

    // The stored access token has a year left, but the server has revoked it.
    let proxy = proxy.kill().await.start().await;
    let status = proxy.wait_for_status("lost", in_needs_login).await;
    assert!(status["reason"].as_str().unwrap().contains("probably held the successor, and was lost"), "{status}");
    proxy.stop().await;
}

#[tokio::test]
async fn a_refresh_for_a_refusal_that_failed_is_tried_again_without_another_request() {
    let simulator = Simulator::start(Options::league8()).await.unwrap();
    let proxy = Proxy::before(&simulator).start().await;
    proxy.ready().await;
    simulator.revoke(Revocation::All(Kind::Access));
    simulator.fault(Fault::throttled(Some("1")));
    assert_eq!(proxy.get("/api/v2/version").await.status, StatusCode::UNAUTHORIZED);
    assert!(proxy.status().await["refused_at"].is_string(), "a fact beside the state");
    let renewed = |status: &Value| status["state"] == "valid" && status["generation"] == 2;
    assert_eq!(proxy.wait_for_status("renewed", renewed).await["refused_at"], Value::Null);
    proxy.stop().await;
}
