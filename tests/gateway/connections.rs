//! A response says correctly whether its HTTP/1 connection stays open.

use std::time::Duration;

use http::Response;
use http_body_util::BodyExt;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncReadExt;

use testkit::body::{empty, fed, full};
use testkit::connection::{Protocol, connect, get};
use testkit::raw::Raw;
use testkit::stage::Stage;
use testkit::{eventually, within};

const ASKED_AGAIN: &str = "GET /again HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

/// Whether the connection serves another request after the rest of the first.
async fn goes_on(raw: &mut Raw, rest: &str) -> bool {
    raw.send(format!("{rest}{ASKED_AGAIN}")).await;
    within(raw.try_read_head()).await.is_some_and(|head| head.starts_with("HTTP/1.1 200 "))
}

fn closes(head: &str) -> bool {
    head.to_ascii_lowercase().contains("\r\nconnection: close\r\n")
}

async fn stage() -> Stage {
    let stage = Stage::plain(|setup| setup.set("GUARD__MAX_BODY_SIZE", "1MiB")).await;
    stage.origin.on("/again", |_| async { Ok(Response::new(empty())) });
    // The upstream answers before it reads the body.
    stage.origin.on("/early", |_| async { Ok(Response::builder().status(413).body(full("no")).unwrap()) });
    stage
}

#[tokio::test]
async fn an_early_answer_says_whether_the_connection_stays_open() {
    let stage = stage().await;
    let head =
        |method: &str, path: &str, more: &str| format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n{more}\r\n");
    // The bytes with the head, the bytes after the response, and whether the connection stays open.
    for (sent, rest, expected, what) in [
        (head("POST", "/early", "Content-Length: 100000\r\n"), "", false, "an upload that goes on"),
        (head("TRACE", "/", "Expect: 100-continue\r\nContent-Length: 4\r\n"), "", false, "refused instead of 100"),
        (head("TRACE", "/", "Content-Length: 100000\r\n"), "", false, "refused within a long body"),
        (head("TRACE", "/", "Content-Length: 4\r\n") + "b", "", false, "a short body that does not come"),
        (head("POST", "/", "Content-Length: 2000000\r\n"), "", false, "too large"),
        (head("TRACE", "/", "Content-Length: 4\r\n") + "body", "", true, "refused with a short body"),
        (
            head("TRACE", "/", "Transfer-Encoding: chunked\r\n") + "4\r\nbody\r\n0\r\n\r\n",
            "",
            true,
            "refused, in chunks",
        ),
        (head("TRACE", "/", ""), "", true, "refused without a body"),
    ] {
        let mut raw = stage.raw().await;
        raw.send(&sent).await;
        let head = raw.read_head().await;
        let status: u16 = head[9..12].parse().unwrap();
        assert!([413, 501].contains(&status), "{what}: {head}");
        let length = head.to_ascii_lowercase();
        let length = length.split("content-length: ").nth(1).unwrap().split('\r').next().unwrap().parse().unwrap();
        raw.read_exact(length).await;
        assert_eq!(closes(&head), !expected, "{what}: {head}");
        assert_eq!(goes_on(&mut raw, rest).await, expected, "{what}");
    }
}

#[tokio::test]
async fn a_success_that_comes_early_reads_on() {
    let stage = stage().await;
    stage.origin.on("/echo", |arrived| async move {
        Ok(Response::new(arrived.request.into_body().map_err(Into::into).boxed_unsync()))
    });
    let mut raw = stage.raw().await;
    raw.send("POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 8\r\n\r\nonce").await;
    let head = raw.read_head().await;
    assert!(head.starts_with("HTTP/1.1 200 ") && !closes(&head), "{head}");
    raw.send("more").await;
    raw.read_exact(8).await;
    assert!(goes_on(&mut raw, "").await);
}

#[tokio::test]
async fn a_short_body_that_comes_right_behind_its_head_costs_no_connection() {
    let stage = stage().await;
    let mut raw = stage.raw().await;
    raw.send("TRACE / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\n").await;
    raw.send("body").await;
    let answer = raw.read_answer().await;
    assert_eq!((answer.status.as_u16(), answer.field("connection")), (501, ""));
    assert!(goes_on(&mut raw, "").await);
}

#[tokio::test]
async fn http_1_0_is_told_that_a_response_of_unknown_length_ends_its_connection() {
    let stage = Stage::plain(|setup| setup).await;
    stage.origin.on("/known", |_| async { Ok(Response::new(full("known"))) });
    stage.origin.on("/unknown", |_| async {
        let (feed, body) = fed();
        tokio::spawn(async move { feed.send("unknown").await });
        Ok(Response::new(body))
    });
    for (path, keeps) in [("/known", true), ("/unknown", false)] {
        let mut raw = stage.raw().await;
        raw.send(format!("GET {path} HTTP/1.0\r\nHost: localhost\r\nConnection: keep-alive\r\n\r\n")).await;
        let head = raw.read_head().await.to_ascii_lowercase();
        assert!(head.starts_with("http/1.0 200 "), "{head}");
        assert_eq!(head.contains("connection: keep-alive\r\n"), keeps, "{head}");
        if !keeps {
            assert!(closes(&head), "{head}");
            assert_eq!(raw.read_to_end().await, "unknown");
        }
    }
    // The same applies to a connection that ends for another reason.
    let mut raw = stage.raw().await;
    raw.send("OPTIONS * HTTP/1.0\r\nHost: localhost\r\nConnection: keep-alive\r\n\r\n").await;
    let head = raw.read_head().await;
    assert!(closes(&head) && !head.to_ascii_lowercase().contains("keep-alive"), "{head}");
    // A client that does not ask for keep-alive gets no such field.
    let mut raw = stage.raw().await;
    raw.send("HEAD /unknown HTTP/1.0\r\nHost: localhost\r\n\r\n").await;
    assert!(!raw.read_head().await.to_ascii_lowercase().contains("keep-alive"));
}

#[tokio::test]
async fn a_head_may_have_many_fields() {
    let stage = Stage::plain(|setup| setup).await;
    let mut record = stage.origin.answer("/many", |_| {
        let mut response = Response::builder();
        for number in 0..900 {
            response = response.header(format!("x-{number}"), "y");
        }
        response.body(full("many")).unwrap()
    });
    let fields: String = (0..900).map(|number| format!("x-{number}: y\r\n")).collect();
    let mut raw = Raw::new(connect(stage.proxy.address(), None).await);
    raw.send(format!("GET /many HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n")).await;
    let head = raw.read_head().await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert_eq!(head.matches("\r\nx-").count(), 900);
    let seen = within(record.recv()).await.unwrap();
    assert_eq!(seen.headers.keys().filter(|name| name.as_str().starts_with("x-")).count(), 900);
    // More fields than any client needs.
    stage.origin.on("/more", |_| {
        let mut response = Response::builder();
        for number in 0..1100 {
            response = response.header(format!("x-{number}"), "y");
        }
        async move { Ok(response.body(empty()).unwrap()) }
    });
    let answer = stage.client(Protocol::Http1).await.ask(get("/more")).await;
    assert_eq!((answer.status.as_u16(), &*answer.problem()), (502, "upstream-broken"), "{}", answer.text());
    assert!(answer.field("proxy-status").ends_with("error=http_response_header_section_size"));
}

#[tokio::test]
async fn tunnels_are_counted_and_named_where_they_take_all_places() {
    let stage =
        Stage::plain(|setup| setup.set("UPSTREAM__MAX_IN_FLIGHT", "2").set("UPSTREAM__QUEUE_TIMEOUT", "10ms")).await;
    stage.origin.on("/tunnel", |mut arrived| async move {
        let upgrade = hyper::upgrade::on(&mut arrived.request);
        tokio::spawn(async move {
            let mut held = TokioIo::new(upgrade.await.unwrap());
            // Until the client leaves.
            let _ = held.read_to_end(&mut Vec::new()).await;
        });
        let response = Response::builder().status(101).header("connection", "upgrade").header("upgrade", "echo");
        Ok(response.body(empty()).unwrap())
    });
    assert_eq!(stage.proxy.metric("bearer_proxy_tunnels").await, 0.0);
    let mut tunnels = Vec::new();
    for _ in 0..2 {
        let mut raw = stage.raw().await;
        raw.send("GET /tunnel HTTP/1.1\r\nHost: localhost\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n").await;
        assert!(raw.read_head().await.starts_with("HTTP/1.1 101 "));
        tunnels.push(raw);
    }
    assert_eq!(stage.proxy.metric("bearer_proxy_tunnels").await, 2.0);
    let answer = stage.client(Protocol::Http1).await.ask(get("/")).await;
    assert_eq!((answer.status.as_u16(), &*answer.problem()), (503, "overloaded"));
    assert!(answer.text().contains("0 requests and 2 tunnels"), "{}", answer.text());
    drop(tunnels);
    within(async {
        while stage.proxy.metric("bearer_proxy_tunnels").await > 0.0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_target_that_the_library_does_not_take_is_answered_counted_and_logged() {
    let stage = Stage::plain(|setup| setup).await;
    let mut record = stage.origin.record("*");
    let mut count = 0.0;
    let series = "bearer_proxy_requests_total{code=\"400\",method=\"GET\",source=\"proxy\"}";
    for target in [&b"/users/<id>"[..], b"/a`b", b"/?q=\"quoted\"", b"/?q=<b>", b"/caf\xe9", b"http://localhost/<a>"] {
        let shown = target.escape_ascii();
        let mut raw = stage.raw().await;
        raw.send([b"GET ", target, b" HTTP/1.1\r\nHost: localhost\r\n\r\n"].concat()).await;
        let answer = raw.read_answer().await;
        assert_eq!((answer.status.as_u16(), &*answer.problem()), (400, "bad-request"), "{shown}");
        assert!(answer.text().contains("percent-encoded"), "{shown}: {}", answer.text());
        assert_eq!(answer.field("connection"), "close");
        assert_eq!(raw.read_to_end().await, "", "{shown}");
        count += 1.0;
        assert_eq!(stage.proxy.metric(series).await, count, "{shown}");
    }
    eventually("logged", || stage.proxy.log().iter().filter(|line| line.contains("percent-encoded")).count() == 6)
        .await;
    let log = stage.proxy.log().join("\n");
    assert!(log.contains("\"path\":\"/users/\"") && !log.contains("quoted"), "{log}");
    assert!(record.try_recv().is_err(), "it came through");
    // A target that the library accepts passes unchanged, encoded or not.
    let mut raw = stage.raw().await;
    raw.send("GET /{\"a\":1}|^?q=`b`%3Cc%3E HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert!(raw.read_head().await.starts_with("HTTP/1.1 200 "));
    assert_eq!(within(record.recv()).await.unwrap().target, "/{\"a\":1}|^?q=`b`%3Cc%3E");
}
