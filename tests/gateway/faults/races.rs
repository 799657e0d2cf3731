//! A connection that ends while the proxy sends a request on it. The client notices only if repeating the request is not safe.

use http::Method;

use super::{client, start};
use testkit::body::{empty, full};
use testkit::connection::{get, request};
use testkit::raw::Raw;
use testkit::wire::Wire;

/// Answers `/ok`. For `/race` on a used connection, and always for `/never`, it closes or resets the connection instead.
async fn wire(reset: bool) -> Wire {
    Wire::start(move |stream, number, log| async move {
        if reset {
            stream.set_zero_linger().unwrap();
        }
        let mut raw = Raw::new(Box::new(stream));
        let mut used = false;
        while let Some(head) = raw.try_read_head().await {
            log.note(&head);
            if head.contains("/never") || (head.contains("/race") && used) {
                return;
            }
            used = true;
            let body = number.to_string();
            raw.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())).await;
        }
    })
    .await
}

#[tokio::test]
async fn a_safe_request_that_met_the_end_of_an_idle_connection_is_sent_again_once() {
    for reset in [false, true] {
        let wire = wire(reset).await;
        let proxy = start(&wire.url(), |setup| setup).await;
        let mut client = client(&proxy).await;
        for method in [Method::GET, Method::HEAD, Method::OPTIONS] {
            let before = client.ask(get("/ok")).await.text();
            let answer = client.ask(request(method.clone(), "/race", empty())).await;
            assert_eq!(answer.status, 200, "{method}");
            assert_ne!(answer.text(), before, "by another connection");
            assert_eq!(wire.log().count(&format!("{method} /race")), 2);
        }
        // Every connection ends. The proxy repeats the request once.
        client.ask(get("/ok")).await;
        let answer = client.ask(get("/never")).await;
        assert_eq!((answer.status.as_u16(), answer.problem().as_str()), (502, "upstream-broken"));
        assert_eq!(wire.log().count("GET /never "), 2);
        // On a new connection, the upstream answers.
        assert_eq!(client.ask(get("/never/again")).await.status, 502);
        assert_eq!(wire.log().count("GET /never/again "), 1);
        let replays = proxy.metric(r#"bearer_proxy_replays_total{outcome="ok",reason="connection"}"#).await;
        assert_eq!(replays, 3.0);
    }
}

#[tokio::test]
async fn an_unsafe_request_that_met_it_is_not_and_the_client_is_told() {
    for reset in [false, true] {
        let wire = wire(reset).await;
        let proxy = start(&wire.url(), |setup| setup).await;
        let mut client = client(&proxy).await;
        for method in ["POST", "PATCH", "PUT", "DELETE", "PROPFIND"] {
            client.ask(get("/ok")).await;
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            let answer = client.ask(request(method.clone(), "/race", full("body"))).await;
            assert_eq!((answer.status.as_u16(), answer.problem().as_str()), (502, "upstream-broken"), "{method}");
            assert_eq!(answer.field("proxy-status"), "bearer-proxy; error=http_response_incomplete");
            assert_eq!(wire.log().count(&format!("{method} /race")), 1, "it may have been processed");
        }
    }
}
