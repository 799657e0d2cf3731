//! Messages name the fault and the fix.

use http::Method;
use serde_json::Value;
use simulator::{Options, Simulator};

use testkit::{Proxy, request};

#[tokio::test]
async fn config_prints_the_warnings_that_serve_logs() {
    let simulator = Simulator::start(Options::league8()).await.unwrap();
    // This grant does not use the key.
    let setup = Proxy::before(&simulator).set("OAUTH__ACCESS_TOKEN", "canary-static-token");
    let (code, out, err) = setup.run(&["config"]).await;
    assert_eq!(code, 0, "{err}");
    assert!(err.contains("warning:") && err.contains("oauth.access_token"), "{err}");
    assert!(!out.contains("canary") && !err.contains("canary"), "{out}{err}");

    let proxy = setup.start().await;
    let is_warning = |line: &Value| {
        line["check"] == "config-unused-key" && line["detail"].as_str().unwrap().contains("oauth.access_token")
    };
    proxy.wait_for_log("the same warning", is_warning).await;
}

#[tokio::test]
async fn a_request_for_another_host_or_a_connect_learns_the_right_use() {
    let simulator = Simulator::start(Options::league8()).await.unwrap();
    let proxy = Proxy::before(&simulator).start().await;
    let mut foreign = request(Method::GET, "/api/v2/countries");
    foreign.headers_mut().insert("host", "other.example".parse().unwrap());
    let foreign = proxy.http1().await.send(foreign).await.unwrap();
    assert_eq!(foreign.status, 421);
    assert!(foreign.text().contains("add the name to guard.hosts"), "{}", foreign.text());
    let trace = proxy.http1().await.send(request(Method::TRACE, "/")).await.unwrap();
    assert_eq!(trace.status, 501);
    assert!(trace.text().contains("base URL"), "{}", trace.text());
}

#[tokio::test]
async fn the_times_of_the_status_have_whole_seconds() {
    let simulator = Simulator::start(Options::league8()).await.unwrap();
    let proxy = Proxy::before(&simulator).start().await;
    proxy.ready().await;
    let running = proxy.status().await;
    let setup = proxy.stop().await;
    let (code, stored, err) = setup.run(&["status", "--json"]).await;
    assert_eq!(code, 0, "{err}");
    for status in [running, serde_json::from_str(&stored).unwrap()] {
        let times =
            [&status["obtained_at"], &status["expires_at"], &status["refresh_at"], &status["last_refresh"]["at"]];
        for time in times {
            let time = time.as_str().unwrap();
            assert!(time.len() == "2026-11-22T02:00:00Z".len() && time.ends_with('Z'), "{time}");
        }
    }
}
