//! A refused token causes a refresh. A response about something else causes none.

use http::StatusCode;
use simulator::{Options, Simulator};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use testkit::{Proxy, Setup};

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

/// A proxy before this API.
async fn proxy(simulator: &Simulator, configure: impl FnOnce(Setup) -> Setup) -> Proxy {
    let proxy = configure(Proxy::before(simulator).set("UPSTREAM__URL", api().await)).start().await;
    proxy.ready().await;
    proxy
}

fn calls(simulator: &Simulator) -> usize {
    simulator.with_ledger(|ledger| ledger.token_calls().len())
}

#[tokio::test]
async fn a_401_about_something_else_costs_no_refresh() {
    let simulator = Simulator::start(Options::league8()).await.unwrap();
    let proxy = proxy(&simulator, |setup| setup).await;
    let before = calls(&simulator);
    for path in ["/basic", "/scope", "/request"] {
        assert_eq!(proxy.get(path).await.status, StatusCode::UNAUTHORIZED, "{path}");
        assert_eq!(calls(&simulator), before, "{path} cost a refresh token");
    }
    proxy.stop().await;
}

#[tokio::test]
async fn a_declared_refusal_is_followed_by_a_refresh() {
    let simulator = Simulator::start(Options::league8()).await.unwrap();
    let proxy = proxy(&simulator, |setup| setup.set("UPSTREAM__REFUSAL", "401, 403 invalid_token")).await;
    let before = calls(&simulator);
    assert_eq!(proxy.get("/not-declared").await.status, StatusCode::FORBIDDEN);
    assert_eq!(calls(&simulator), before, "another Bearer error cost a refresh token");
    assert_eq!(proxy.get("/azure").await.status, StatusCode::FORBIDDEN);
    assert_eq!(calls(&simulator), before + 1);
    proxy.stop().await;
}
