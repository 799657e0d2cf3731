use super::*;
use crate::token::live::LiveToken;
use crate::token::{Access, AccessToken, Generation, RefreshOutcome, Trigger};
use http::{Method, StatusCode};
use jiff::Timestamp;

fn scrape(metrics: &Metrics) -> String {
    metrics.render(&View::default())
}

fn has(text: &str, line: &str) {
    assert!(text.lines().any(|l| l == line), "no line `{line}` in:\n{text}");
}

#[test]
fn every_metric_of_the_interface_is_there_with_help_and_type() {
    let metrics = Metrics::new();
    metrics.worker().request(&Method::GET, StatusCode::OK, Source::Upstream, Duration::ZERO);
    metrics.token().store_operation("load", "ok");
    let text = scrape(&metrics);
    for (name, kind) in [
        (REQUESTS, "counter"),
        (REQUEST_DURATION, "histogram"),
        (UPSTREAM_DURATION, "histogram"),
        (REQUESTS_IN_FLIGHT, "gauge"),
        (REPLAYS, "counter"),
        (REFRESHES, "counter"),
        (REFRESH_DURATION, "histogram"),
        (TOKEN_WAIT, "histogram"),
        (TOKEN_EXPIRY, "gauge"),
        (TOKEN_GENERATION, "gauge"),
        (TOKEN_UNPERSISTED, "gauge"),
        (NEEDS_LOGIN, "gauge"),
        (STORE_OPERATIONS, "counter"),
        (UPSTREAM_CONNECTIONS, "gauge"),
        (DOWNSTREAM_CONNECTIONS, "gauge"),
        (BUILD_INFO, "gauge"),
    ] {
        has(&text, &format!("# TYPE {name} {kind}"));
        assert!(text.contains(&format!("# HELP {name} ")), "{name}");
    }
    has(&text, &format!("bearer_proxy_build_info{{version=\"{}\"}} 1", env!("CARGO_PKG_VERSION")));
}

#[test]
fn series_that_alerts_compare_exist_before_anything_happens() {
    let text = scrape(&Metrics::new());
    has(&text, r#"bearer_proxy_token_refreshes_total{outcome="misconfigured",trigger="scheduled"} 0"#);
    has(&text, r#"bearer_proxy_replays_total{outcome="refused_again",reason="token_refused"} 0"#);
    has(&text, r#"bearer_proxy_upstream_connections{protocol="h2"} 0"#);
    assert_eq!(text.matches("bearer_proxy_token_refreshes_total{").count(), 25);
    assert_eq!(text.matches("bearer_proxy_replays_total{").count(), 10);
}

#[test]
fn restarts_are_counted_by_task() {
    let metrics = Metrics::new();
    metrics.restarts().count(Task::Refresher);
    for _ in 0..5 {
        metrics.task_restart(Task::Admin);
    }
    let text = scrape(&metrics);
    for line in [r#"{task="refresher"} 1"#, r#"{task="admin"} 5"#, r#"{task="accept"} 0"#] {
        has(&text, &format!("bearer_proxy_task_restarts_total{line}"));
    }
}

#[test]
fn workers_are_added_up() {
    let metrics = Metrics::new();
    let elsewhere = metrics.clone();
    std::thread::spawn(move || {
        let worker = elsewhere.worker();
        worker.request(&Method::GET, StatusCode::OK, Source::Upstream, Duration::from_millis(2));
        worker.replay(ReplayReason::TokenRefused, ReplayOutcome::Ok);
    })
    .join()
    .unwrap();
    let worker = metrics.worker();
    worker.request(&Method::GET, StatusCode::OK, Source::Upstream, Duration::from_secs(400));
    worker.request(&Method::GET, StatusCode::OK, Source::Proxy, Duration::from_millis(1));
    worker.replay(ReplayReason::TokenRefused, ReplayOutcome::Ok);

    let text = scrape(&metrics);
    has(&text, r#"bearer_proxy_requests_total{code="200",method="GET",source="upstream"} 2"#);
    has(&text, r#"bearer_proxy_requests_total{code="200",method="GET",source="proxy"} 1"#);
    has(&text, r#"bearer_proxy_replays_total{outcome="ok",reason="token_refused"} 2"#);
    has(&text, r#"bearer_proxy_request_duration_seconds_bucket{le="0.001"} 1"#);
    has(&text, r#"bearer_proxy_request_duration_seconds_bucket{le="0.0025"} 2"#);
    has(&text, r#"bearer_proxy_request_duration_seconds_bucket{le="300"} 2"#);
    has(&text, r#"bearer_proxy_request_duration_seconds_bucket{le="+Inf"} 3"#);
    has(&text, "bearer_proxy_request_duration_seconds_count 3");
    has(&text, "bearer_proxy_request_duration_seconds_sum 400.003");
}

#[test]
fn an_invented_method_makes_no_series_of_its_own() {
    let metrics = Metrics::new();
    let worker = metrics.worker();
    for method in ["BREW", "get", "X\u{7e}1"] {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        worker.request(&method, StatusCode::BAD_GATEWAY, Source::Proxy, Duration::ZERO);
    }
    let propfind = Method::from_bytes(b"PROPFIND").unwrap();
    worker.request(&propfind, StatusCode::OK, Source::Upstream, Duration::ZERO);
    let text = scrape(&metrics);
    has(&text, r#"bearer_proxy_requests_total{code="502",method="other",source="proxy"} 3"#);
    has(&text, r#"bearer_proxy_requests_total{code="200",method="PROPFIND",source="upstream"} 1"#);
}

#[test]
fn what_is_in_flight_is_counted_until_it_ends() {
    let metrics = Metrics::new();
    let (one, two) = (metrics.worker(), metrics.worker());
    let requests = (one.in_flight(), two.in_flight(), one.in_flight());
    drop(requests.0);
    let text = scrape(&metrics);
    has(&text, "bearer_proxy_requests_in_flight 2");

    drop((requests.1, requests.2));
    let text = scrape(&metrics);
    has(&text, "bearer_proxy_requests_in_flight 0");
    has(&text, r#"bearer_proxy_upstream_connections{protocol="http/1.1"} 0"#);
    has(&text, "bearer_proxy_downstream_connections 0");
    for state in ["used", "limit"] {
        let series = format!(r#"bearer_proxy_file_descriptors{{state="{state}"}} "#);
        assert!(text.contains(&series), "no {series} in:\n{text}");
    }
}

#[test]
fn the_grant_is_read_at_the_scrape() {
    let metrics = Metrics::new();
    let text = scrape(&metrics);
    has(&text, "bearer_proxy_token_expiry_timestamp_seconds 0");
    has(&text, "bearer_proxy_token_generation 0");
    has(&text, "bearer_proxy_needs_login 0");

    let view = |expires_at| {
        let now = Timestamp::UNIX_EPOCH;
        let access = Access { token: AccessToken::parse("canary").unwrap(), obtained_at: now, expires_at };
        let token = Some(LiveToken::new(Generation(7), &access).unwrap().into());
        View { token, unpersisted: true, needs_login: Some("log in".into()), ..View::default() }
    };
    let text = metrics.render(&view(Some(Timestamp::from_second(1_800_000_000).unwrap())));
    has(&text, "bearer_proxy_token_expiry_timestamp_seconds 1800000000");
    has(&text, "bearer_proxy_token_generation 7");
    has(&text, "bearer_proxy_token_unpersisted 1");
    has(&text, "bearer_proxy_needs_login 1");
    assert!(!text.contains("canary"));
    // A token without a known end never looks as if it were about to expire.
    assert!(!metrics.render(&view(None)).contains(TOKEN_EXPIRY));
}

#[test]
fn refreshes_and_store_operations_are_counted_by_their_labels() {
    let metrics = Metrics::new();
    metrics.token().refresh(Trigger::Rejected, RefreshOutcome::Ambiguous, Duration::from_millis(70));
    metrics.token().store_operation("write", "unavailable");
    let text = scrape(&metrics);
    has(&text, r#"bearer_proxy_token_refreshes_total{outcome="ambiguous",trigger="rejected"} 1"#);
    has(&text, r#"bearer_proxy_token_refresh_duration_seconds_bucket{le="0.1"} 1"#);
    has(&text, r#"bearer_proxy_store_operations_total{operation="write",outcome="unavailable"} 1"#);
}
