//! Probes, the admin listener, token calls and the store keep file descriptors, however many clients connect.

use http::{Method, StatusCode};
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit, setrlimit};
use simulator::{Options, Simulator};
use tokio::net::TcpStream;

use testkit::{Proxy, Setup, request};

/// Starts the program with this hard and soft limit of open files.
fn limited(setup: Setup, limit: &str) -> Setup {
    setup.under(&["bash", "-c", &format!(r#"{limit}; exec "$0" "$@""#)])
}

fn warnings(proxy: &Proxy, of: &str) -> usize {
    proxy.log().iter().filter(|line| line.contains("\"WARN\"") && line.contains(of)).count()
}

#[tokio::test]
async fn idle_clients_leave_descriptors_for_all_else() {
    // This process needs one for each client too.
    let own = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: own.maximum, ..own }).unwrap();
    let simulator = Simulator::start(Options::league8()).await.unwrap();
    let setup = Proxy::before(&simulator).set("PROBES__LISTEN", "127.0.0.1:0");
    let proxy = limited(setup, "ulimit -n 1024").start().await;
    proxy.ready().await;
    assert_eq!(warnings(&proxy, "guard.max_connections is 4096"), 1, "{}", proxy.log().join("\n"));

    let mut first = proxy.http1().await;
    assert_eq!(first.get("/api/v2/version").await.status, StatusCode::OK);
    let mut clients = Vec::new();
    for _ in 0..1100 {
        clients.push(TcpStream::connect(proxy.address()).await.unwrap());
    }
    for path in ["/livez", "/readyz", "/metrics", "/status"] {
        assert_eq!(proxy.admin(Method::GET, path).await.status, StatusCode::OK, "{path}");
    }
    assert_eq!(proxy.refresh().await.status, StatusCode::OK);
    let stored = proxy.setup().document();
    assert_eq!(stored["generation"], 2, "the refresh was stored");
    let (code, _, err) = proxy.commands().run(&["status"]).await;
    assert_eq!(code, 0, "{err}");
    assert_eq!(first.get("/api/v2/version").await.status, StatusCode::OK, "the upstream has its share");
    assert_eq!(proxy.metric(r#"bearer_proxy_file_descriptors{state="limit"}"#).await, 1024.0);
    let used = proxy.metric(r#"bearer_proxy_file_descriptors{state="used"}"#).await;
    assert!((300.0..700.0).contains(&used), "{used}: clients have their share, and no more");
    assert_eq!(warnings(&proxy, "; raise the limit of open files"), 0);
    drop(clients);
    proxy.stop().await;
}

#[tokio::test]
async fn the_soft_limit_is_raised_to_the_hard_one() {
    let simulator = Simulator::start(Options::league8()).await.unwrap();
    let setup = Proxy::before(&simulator).set("GUARD__MAX_CONNECTIONS", 300);
    let proxy = limited(setup, "ulimit -Sn 256; ulimit -Hn 1024").start().await;
    assert_eq!(proxy.metric(r#"bearer_proxy_file_descriptors{state="limit"}"#).await, 1024.0);
    assert_eq!(warnings(&proxy, "guard.max_connections"), 0, "{}", proxy.log().join("\n"));
    proxy.stop().await;
}

#[tokio::test]
async fn a_request_that_gets_no_descriptor_is_told_so() {
    let simulator = Simulator::start(Options::league8()).await.unwrap();
    let proxy = Proxy::before(&simulator).start().await;
    proxy.ready().await;
    let mut client = proxy.http1().await;
    assert_eq!(client.send(request(Method::TRACE, "/")).await.unwrap().status, StatusCode::NOT_IMPLEMENTED);
    let mut idle = proxy.http1().await;
    assert_eq!(idle.send(request(Method::TRACE, "/")).await.unwrap().status, StatusCode::NOT_IMPLEMENTED);

    let pid = Pid::from_raw(i32::try_from(proxy.pid()).unwrap());
    let none = Rlimit { current: Some(3), maximum: getrlimit(Resource::Nofile).maximum };
    let before = prlimit(pid, Resource::Nofile, none).unwrap();
    for _ in 0..3 {
        let answer = client.get("/api/v2/version").await;
        assert_eq!((answer.status, &*answer.problem()), (StatusCode::SERVICE_UNAVAILABLE, "overloaded"));
        assert!(answer.text().contains("file descriptor"), "{}", answer.text());
        let status = answer.headers["proxy-status"].to_str().unwrap();
        assert!(status.ends_with("error=connection_limit_reached"), "{status}");
        assert_eq!(answer.headers["retry-after"], "1");
    }
    prlimit(pid, Resource::Nofile, before).unwrap();
    assert_eq!(client.get("/api/v2/version").await.status, StatusCode::OK);
    // The log arrives later than the responses.
    let is_warning = |line: &serde_json::Value| {
        line["message"].as_str().is_some_and(|message| message.contains("; raise the limit of open files"))
    };
    proxy.wait_for_log("a warning", is_warning).await;
    assert_eq!(warnings(&proxy, "; raise the limit of open files"), 1, "{}", proxy.log().join("\n"));
    proxy.stop().await;
}
