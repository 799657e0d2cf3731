//! A refused token costs a refresh; a response that is about something else costs none.

use http::StatusCode;
use simulator::{Options, Simulator};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use testkit::Proxy;

/// An API whose responses depend on the path alone.
async fn api() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut read = Vec::new();
                while !read.ends_with(b"\r\n\r\n") {
                    if matches!(stream.read_buf(&mut read).await, Ok(0) | Err(_)) {
                        return;
                    }
                }
                let (status, challenge) = match &read[..8] {
                    b"GET /bas" => ("401 Unauthorized", "Basic realm=\"x\""),
                    b"GET /sco" => ("401 Unauthorized", "Bearer error=\"insufficient_scope\", scope=\"a b\""),
                    b"GET /req" => ("401 Unauthorized", "Bearer realm=\"x\", error=\"invalid_request\""),
                    b"GET /not" => ("403 Forbidden", "Bearer error=\"insufficient_scope\""),
                    _ => ("403 Forbidden", "Bearer realm=\"x\", error=\"invalid_token\""),
                };
                let head = format!("HTTP/1.1 {status}\r\nWWW-Authenticate: {challenge}\r\n");
                let end = "Content-Length: 0\r\nConnection: close\r\n\r\n";
                let _ = stream.write_all(format!("{head}{end}").as_bytes()).await;
            });
        }
    });
    url
}

#[tokio::test]
async fn only_a_response_about_the_token_costs_a_refresh() {
    let simulator = Simulator::start(Options::league8()).await.unwrap();
    let proxy = Proxy::before(&simulator)
        .set("UPSTREAM__URL", api().await)
        .set("UPSTREAM__REFUSAL", "401, 403 invalid_token")
        .start()
        .await;
    proxy.ready().await;
    let calls = || simulator.with_ledger(|ledger| ledger.token_calls().len());
    let before = calls();
    for (path, status) in [
        ("/basic", StatusCode::UNAUTHORIZED),
        ("/scope", StatusCode::UNAUTHORIZED),
        ("/request", StatusCode::UNAUTHORIZED),
        ("/not-declared", StatusCode::FORBIDDEN),
    ] {
        assert_eq!(proxy.get(path).await.status, status, "{path}");
        assert_eq!(calls(), before, "{path} cost a refresh token");
    }
    assert_eq!(proxy.get("/azure").await.status, StatusCode::FORBIDDEN);
    assert_eq!(calls(), before + 1, "a declared refusal is followed by a refresh");
}
