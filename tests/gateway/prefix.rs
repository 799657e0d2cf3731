//! `upstream.url` with a path: requests stay below the path, and redirects come back without it.

use http::Response;

use testkit::Proxy;
use testkit::body::{empty, full};
use testkit::connection::{Connection, Protocol, connect, get};
use testkit::origin::Origin;
use testkit::raw::Raw;
use testkit::stage::{Stage, before};
use testkit::within;

async fn below(origin: &Origin, prefix: &str) -> Proxy {
    let proxy = before(&format!("{}{prefix}", origin.url())).await.set("UPSTREAM__HTTP", "1").start().await;
    proxy.ready().await;
    proxy
}

#[tokio::test]
async fn no_request_leaves_the_path_of_the_upstream() {
    let origin = Origin::start(Protocol::Http1, None).await;
    let mut record = origin.record("*");
    let proxy = below(&origin, "/api/v2").await;
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let mut client = Connection::over(connect(proxy.address(), None).await, protocol, false).await;
        for target in [
            "/../../admin/users",
            "/..",
            "/./x",
            "/%2e%2e/%2E%2e/admin",
            "/..;/..;x=y/admin",
            "/..%2f..%2Fadmin",
            "/..\\..\\admin",
            "/..%5c..%5Cadmin",
            "/%252e%252e/%252e%252e/admin",
            "/%252e%252e%252fadmin",
        ] {
            if protocol == Protocol::Http1 {
                // A malformed request ends its connection, so each has its own.
                let mut raw = Raw::new(connect(proxy.address(), None).await);
                raw.send(format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n")).await;
                let answer = raw.read_answer().await;
                assert_eq!((answer.status.as_u16(), &*answer.problem()), (400, "bad-request"), "{target}");
            } else {
                let answer = client.ask(get(target)).await;
                assert_eq!((answer.status.as_u16(), &*answer.problem()), (400, "bad-request"), "{target}");
            }
        }
        assert!(record.try_recv().is_err(), "it came through");
        for target in ["/users", "/", "//a//b", "/a%2Fb?next=/../..", "/...", "/.well-known/x", "/a;b=..c"] {
            assert_eq!(client.ask(get(target)).await.status, 200, "{target}");
            assert_eq!(within(record.recv()).await.unwrap().target, format!("/api/v2{target}"));
        }
    }
}

/// The field that the upstream sends, and what the client gets from an upstream without and with a prefix.
#[tokio::test]
async fn a_redirect_to_the_upstream_comes_back_to_the_proxy() {
    for prefix in ["", "/v1"] {
        let origin = Origin::start(Protocol::Http1, None).await;
        let proxy = below(&origin, prefix).await;
        let (host, url) = (origin.host(), origin.url());
        let mut rows = vec![
            (format!("{url}{prefix}/new?a=b#c"), "/new?a=b#c".to_owned()),
            (format!("{}{prefix}/new", url.to_uppercase()), "/new".to_owned()),
            (format!("https://{host}{prefix}/new"), "/new".to_owned()),
            (format!("//{host}{prefix}/new"), "/new".to_owned()),
            (format!("{url}{prefix}"), "/".to_owned()),
            (format!("{url}{prefix}?a"), "/?a".to_owned()),
            (format!("{prefix}/new"), "/new".to_owned()),
        ];
        let mut same: Vec<String> =
            ["https://other.example/v1/new", "//other.example/v1", "new", "../new", "?a", "/login"]
                .map(str::to_owned)
                .to_vec();
        same.push(format!("{url}{prefix}//other.example"));
        same.push(format!("http://localhost{prefix}/new"));
        if !prefix.is_empty() {
            same.extend([format!("{url}/login"), format!("{url}/v10/new"), "/v1/../login".to_owned()]);
        }
        rows.extend(same.into_iter().map(|value| (value.clone(), value)));
        for protocol in [Protocol::Http1, Protocol::Http2] {
            let mut client = Connection::over(connect(proxy.address(), None).await, protocol, false).await;
            for (given, expected) in &rows {
                let said = given.clone();
                origin.on(&format!("{prefix}/old"), move |_| {
                    let response = Response::builder().status(201).header("location", &said);
                    let response = response.header("content-location", &said).body(full("new")).unwrap();
                    async { Ok(response) }
                });
                let answer = client.ask(get("/old")).await;
                assert_eq!(answer.status, 201);
                for field in ["location", "content-location"] {
                    assert_eq!(answer.field(field), expected, "{field}: {given} below {prefix:?}, {protocol:?}");
                }
            }
        }
    }
}

#[tokio::test]
async fn a_client_that_follows_a_redirect_has_a_token_there_too() {
    let stage = Stage::plain(|setup| setup).await;
    let there = format!("{}/there", stage.origin.url());
    stage.origin.on("/here", move |_| {
        let response = Response::builder().status(307).header("location", &there).body(empty()).unwrap();
        async { Ok(response) }
    });
    let mut record = stage.origin.record("/there");
    let mut client = stage.client(Protocol::Http1).await;
    let answer = client.ask(get("/here")).await;
    let there = answer.field("location");
    assert!(there.starts_with('/'), "{there}");
    assert_eq!(client.ask(get(there)).await.status, 200);
    assert_eq!(within(record.recv()).await.unwrap().values("authorization").len(), 1);
}
