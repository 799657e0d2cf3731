//! The admin page's events tell what happened in the running program, and end with its drain.

use http::Method;
use simulator::{Fault, Options, Simulator};
use testkit::Proxy;

use crate::browser::Events;

#[tokio::test]
async fn refreshes_and_problems_are_listed_with_the_check_that_explains_them() {
    let simulator = Simulator::start(Options::league8()).await.unwrap();
    let proxy = Proxy::before(&simulator).start().await;
    proxy.ready().await;
    let mut events = Events::open(proxy.admin_address(), "").await;
    let page = events.page(|page| page["refreshes"].as_array().is_some_and(|refreshes| !refreshes.is_empty())).await;
    assert_eq!((&page["refreshes"][0]["trigger"], &page["refreshes"][0]["outcome"]), (&"startup".into(), &"ok".into()));
    assert_eq!(page["upstream"], simulator.origin());

    proxy.rested().await;
    simulator.fault(Fault::throttled(None));
    assert_eq!(proxy.admin(Method::POST, "/refresh").await.status, 503);
    let page = events.page(|page| !page["problems"][0]["id"].is_null()).await;
    let problem = &page["problems"][0];
    assert_eq!((&problem["id"], &problem["level"]), (&"endpoint-throttles".into(), &"warn".into()));
    assert!(problem["message"].as_str().is_some_and(|text| text.contains("HTTP 429")), "{problem}");
    assert!(problem["doc"].as_str().is_some_and(|doc| doc.ends_with("#endpoint-throttles")), "{problem}");
    // The same document, because both are known at the same time. A retry may have succeeded meanwhile.
    let failed = &page["refreshes"][1];
    assert_eq!((&failed["trigger"], &failed["outcome"]), (&"manual".into(), &"transient".into()));
    assert!(failed["error"].as_str().is_some_and(|error| error.contains("HTTP 429")), "{failed}");
    proxy.stop().await;
}

/// A request is in the next sample.
#[tokio::test]
async fn a_sample_counts_the_requests_of_its_ten_seconds() {
    let simulator = Simulator::start(Options::league8()).await.unwrap();
    let proxy = Proxy::before(&simulator).start().await;
    proxy.ready().await;
    let mut events = Events::open(proxy.admin_address(), "").await;
    for _ in 0..3 {
        assert_eq!(proxy.get("/api/v2/version").await.status, 200);
    }
    assert_eq!(proxy.http1().await.send(testkit::request(Method::TRACE, "/")).await.unwrap().status, 501);
    let sample = loop {
        let (name, event) = events.next().await;
        if name == "sample" {
            break event;
        }
    };
    assert_eq!((&sample["requests"]["2xx"], &sample["requests"]["proxy"]), (&3.into(), &1.into()), "{sample}");
    assert!(sample["p50_ms"].as_f64().is_some_and(|millis| millis > 0.0), "{sample}");
    proxy.stop().await;
}

#[tokio::test]
async fn the_drain_is_the_last_event_of_each_stream() {
    let simulator = Simulator::start(Options::league8()).await.unwrap();
    // Within the delay, the listeners answer.
    let proxy = Proxy::before(&simulator).set("SHUTDOWN__DELAY", "30s").start().await;
    proxy.ready().await;
    let mut events = Events::open(proxy.admin_address(), "").await;
    events.next().await;
    assert_eq!(proxy.admin(Method::POST, "/drain").await.status, 202);
    let rest = events.rest().await;
    let last = rest.trim_end().rsplit("\n\n").next().unwrap();
    assert!(last.starts_with("event: page\n") && last.contains("\"draining\":true"), "{rest}");
    let refused = proxy.admin(Method::GET, "/events").await;
    assert_eq!((refused.status.as_u16(), refused.problem().as_str()), (503, "draining"));
    proxy.kill().await;
}

/// Two replicas on one database.
#[cfg(feature = "postgres")]
#[tokio::test]
async fn a_replica_shows_who_refreshed_the_token() {
    let server = testkit::postgres::Postgres::shared();
    let simulator = Simulator::start(Options::league9()).await.unwrap();
    let stored = |setup: testkit::Setup| {
        setup
            .unset("STORE__PATH")
            .set("STORE__KIND", "postgres")
            .set("STORE__URL", server.url())
            .set("STORE__NAME", "page")
    };
    let one = stored(Proxy::before(&simulator)).start().await;
    one.ready().await;
    let other = stored(Proxy::without_grant(&simulator)).start().await;
    other.ready().await;
    let mut events = Events::open(other.admin_address(), "").await;
    let store = events.page(|_| true).await["store"].clone();
    assert_eq!((&store["kind"], &store["shared"]), (&"postgres".into(), &true.into()));
    let named = |name: &serde_json::Value, proxy: &Proxy| {
        name.as_str().is_some_and(|name| name.ends_with(&format!(", process {}", proxy.pid())))
    };
    assert!(named(&store["this"], &other), "{store}");

    assert_eq!(one.refresh().await.status, 200);
    let is_peers = |page: &serde_json::Value| page["status"]["last_refresh"]["trigger"] == "peer";
    events.page(|page| is_peers(page) && named(&page["store"]["refreshed_by"], &one)).await;
    let mut events = Events::open(one.admin_address(), "").await;
    events.page(|page| named(&page["store"]["refreshed_by"], &one) && page["store"]["holder"].is_null()).await;
    one.stop().await;
    other.stop().await;
}
