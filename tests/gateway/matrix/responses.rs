//! Responses pass unchanged, except for the fields of the hop.

use bytes::Bytes;
use http::{Method, Response};

use super::Scene;
use testkit::body::{empty, full, pattern};
use testkit::connection::{Protocol, get, request};
use testkit::origin::values;
use testkit::within;

pub async fn any_status_comes_back(scene: Scene) {
    let mut client = scene.client().await;
    for status in [200, 201, 202, 203, 206, 226, 299, 300, 304, 400, 402, 403, 404, 405, 409, 410, 418, 422, 429, 451]
        .into_iter()
        .chain([500, 501, 502, 503, 504, 507, 599, 999])
    {
        scene.stage.origin.on("/status", move |_| async move {
            let response = Response::builder().status(status).header("x-status", status).header("retry-after", "7");
            Ok(response.body(if status == 304 { empty() } else { full("its own body") }).unwrap())
        });
        let answer = client.ask(get("/status")).await;
        assert_eq!(answer.status.as_u16(), status);
        assert_eq!(answer.text(), if status == 304 { "" } else { "its own body" }, "{status}");
        assert_eq!(answer.field("x-status"), status.to_string());
        assert_eq!(answer.field("retry-after"), "7");
        assert_eq!(answer.field("proxy-status"), "", "{status} is the upstream's");
    }
}

pub async fn responses_without_a_body_end_at_their_head(scene: Scene) {
    let mut record = scene.stage.origin.answer("/bodiless", |seen| {
        let status: u16 = seen.headers["x-wanted"].to_str().unwrap().parse().unwrap();
        let response = Response::builder().status(status).header("etag", "\"e\"");
        // HEAD has the fields of GET (RFC 9110 §9.3.2).
        let response = if seen.method == "HEAD" { response.header("content-length", "12345") } else { response };
        response.body(empty()).unwrap()
    });
    let mut client = scene.client().await;
    for (method, status, length) in [
        (Method::HEAD, 200, Some("12345")),
        (Method::HEAD, 404, Some("12345")),
        (Method::GET, 204, None),
        (Method::DELETE, 204, None),
        (Method::GET, 304, None),
    ] {
        let mut asked = request(method.clone(), "/bodiless", empty());
        asked.headers_mut().insert("x-wanted", status.into());
        let answer = client.ask(asked).await;
        assert_eq!(answer.status.as_u16(), status, "{method} {status}");
        assert_eq!(answer.field("etag"), "\"e\"");
        assert_eq!(
            answer.headers.get("content-length").map(|length| length.to_str().unwrap()),
            length,
            "{method} {status}"
        );
        assert!(answer.body.is_empty());
        assert_eq!(within(record.recv()).await.unwrap().method, method.as_str());
    }
}

pub async fn a_compressed_response_is_untouched(scene: Scene) {
    // The body is not gzip. No intermediary may look at it.
    let body = pattern(5000);
    for encoding in ["gzip", "br", "zstd", "identity", "x-unknown"] {
        let answered = body.clone();
        let mut record = scene.stage.origin.answer("/compressed", move |_| {
            let response = Response::builder().header("content-encoding", encoding).header("vary", "accept-encoding");
            response.header("content-type", "text/plain").body(full(answered.clone())).unwrap()
        });
        let mut asked = get("/compressed");
        asked.headers_mut().insert("accept-encoding", "gzip;q=1.0, br".parse().unwrap());
        let answer = scene.client().await.ask(asked).await;
        assert_eq!(within(record.recv()).await.unwrap().values("accept-encoding"), ["gzip;q=1.0, br"]);
        assert_eq!(answer.field("content-encoding"), encoding);
        assert_eq!(answer.field("vary"), "accept-encoding");
        assert_eq!(answer.body, body);
    }
}

pub async fn a_part_of_a_file_is_passed_on(scene: Scene) {
    let mut record = scene.stage.origin.answer("/part", |_| {
        let response = Response::builder().status(206).header("content-range", "bytes 2-4/10");
        response.header("accept-ranges", "bytes").body(full("cde")).unwrap()
    });
    let mut asked = get("/part");
    asked.headers_mut().insert("range", "bytes=2-4".parse().unwrap());
    asked.headers_mut().insert("if-range", "\"e\"".parse().unwrap());
    let answer = scene.client().await.ask(asked).await;
    let seen = within(record.recv()).await.unwrap();
    assert_eq!((seen.values("range"), seen.values("if-range")), (vec!["bytes=2-4".into()], vec!["\"e\"".into()]));
    assert_eq!((answer.status.as_u16(), answer.body), (206, Bytes::from_static(b"cde")));
    assert_eq!(values(&answer.headers, "content-range"), ["bytes 2-4/10"]);
    assert_eq!(values(&answer.headers, "accept-ranges"), ["bytes"]);
}

pub async fn redirects_pass_through(scene: Scene) {
    let mut client = scene.client().await;
    for (status, location) in [
        (301, "/elsewhere"),
        (302, "https://other.example/x?y=z#f"),
        (303, "/logins"),
        (307, "//other.example/login"),
        (308, "relative?x"),
    ] {
        let before = scene.stage.origin.connections();
        scene.stage.origin.on("/moved", move |_| async move {
            Ok(Response::builder().status(status).header("location", location).body(full("moved")).unwrap())
        });
        let answer = client.ask(request(Method::POST, "/moved", full("x"))).await;
        assert_eq!((answer.status.as_u16(), answer.field("location")), (status, location));
        assert_eq!(answer.text(), "moved");
        assert!(scene.stage.origin.connections() <= before + 1);
    }
}

pub async fn cookies_do_not_come_back(scene: Scene) {
    scene.stage.origin.on("/cookies", |_| async move {
        let response = Response::builder().header("set-cookie", "a=1").header("set-cookie", "b=2; Secure");
        Ok(response.header("x-kept", "1").body(empty()).unwrap())
    });
    let answer = scene.client().await.ask(get("/cookies")).await;
    assert_eq!(values(&answer.headers, "set-cookie"), Vec::<String>::new());
    assert_eq!(answer.field("x-kept"), "1");
}

pub async fn the_hops_own_fields_do_not_come_back(scene: Scene) {
    // HTTP/2 upstreams can't send them.
    let http1 = scene.stage.up == Protocol::Http1;
    scene.stage.origin.on("/hop", move |_| async move {
        let mut response = Response::builder()
            .header("x-repeated", "2")
            .header("x-repeated", "1")
            .header("via", "1.1 before")
            .header("www-authenticate", "Basic realm=\"a\"")
            .header("www-authenticate", "Bearer")
            .header("link", "</a>; rel=preload")
            .header("cache-control", "private, max-age=5")
            .header("date", "Tue, 15 Nov 1994 08:12:31 GMT")
            .header("server", "upstream/1")
            .header("alt-svc", "h3=\":443\"; ma=3600")
            .header("proxy-authenticate", "Basic");
        if http1 {
            response = response
                .header("connection", "x-named")
                .header("x-named", "1")
                .header("keep-alive", "timeout=75")
                .header("proxy-connection", "keep-alive")
                .header("upgrade", "h3");
        }
        Ok(response.body(empty()).unwrap())
    });
    let answer = scene.client().await.ask(get("/hop")).await;
    for gone in ["connection", "x-named", "keep-alive", "proxy-connection", "upgrade", "proxy-authenticate", "alt-svc"]
    {
        assert_eq!(values(&answer.headers, gone), Vec::<String>::new(), "{gone}");
    }
    assert_eq!(values(&answer.headers, "x-repeated"), ["2", "1"]);
    assert_eq!(values(&answer.headers, "www-authenticate"), ["Basic realm=\"a\"", "Bearer"]);
    for (name, value) in [
        ("link", "</a>; rel=preload"),
        ("cache-control", "private, max-age=5"),
        ("date", "Tue, 15 Nov 1994 08:12:31 GMT"),
        ("server", "upstream/1"),
        ("via", "1.1 before"),
    ] {
        assert_eq!(values(&answer.headers, name), [value]);
    }
}
