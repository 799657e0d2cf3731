//! The proxy never sends an expired token. It answers 503 with `Retry-After`, and recovers by itself.

use std::time::Duration;

use http::StatusCode;
use simulator::{Fault, Options, Simulator};

use testkit::Proxy;

#[tokio::test]
async fn an_expired_token_is_never_sent() {
    let options = Options { access_lifetime: Duration::from_secs(6), rate_limit: None, ..Options::league8() };
    let simulator = Simulator::start(options).await.unwrap();
    let proxy = Proxy::before(&simulator).set("REFRESH__WAIT", "200ms").start().await;
    proxy.ready().await;
    assert_eq!(proxy.get("/api/v2/version").await.status, StatusCode::OK);
    // The endpoint is down for longer than the token lives.
    simulator.fault(Fault::throttled(None).forever());

    let mut client = proxy.http1().await;
    let (good, refused) = client.get_until_refused("/api/v2/version").await;
    assert!(good > 0, "while the token lived, its failing refresh harmed nobody");
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE, "{}", refused.text());
    assert_eq!(refused.problem(), "token-unavailable");
    let seconds: u64 = refused.headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=300).contains(&seconds), "{seconds}");
    assert_eq!(refused.headers["proxy-status"], "bearer-proxy; error=proxy_internal_error");
    let requests = simulator.with_ledger(|ledger| ledger.requests_seen());
    for _ in 0..3 {
        assert_eq!(client.get("/api/v2/version").await.status, StatusCode::SERVICE_UNAVAILABLE);
    }
    assert_eq!(simulator.with_ledger(|ledger| ledger.requests_seen()), requests, "nothing was forwarded");
    // A request that was sent in time may have arrived after the expiry.
    let on_the_way = Duration::from_millis(250);
    assert_eq!(simulator.with_ledger(|ledger| ledger.expired_seen(on_the_way).len()), 0);
    assert_eq!(proxy.status().await["state"], "expired");

    simulator.clear_faults();
    assert_eq!(proxy.refresh().await.status, StatusCode::OK);
    assert_eq!(client.get("/api/v2/version").await.status, StatusCode::OK);
    proxy.stop().await;
}
