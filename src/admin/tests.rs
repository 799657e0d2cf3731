mod events;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::client::{Client, ClientError};
use super::*;
use crate::config::{AdminConfig, ListenAddress};
use crate::secret::Secret;
use crate::supervise::Died;
use crate::token::live::{LiveToken, View};
use crate::token::{Access, AccessToken, Generation};

const CANARY: &str = "canary-access-token";
const SOON: Duration = Duration::from_secs(10);

/// A listener with a grant that does not change.
struct Running {
    address: SocketAddr,
    drain: watch::Receiver<bool>,
    stop: watch::Sender<bool>,
    task: JoinHandle<Result<(), Died>>,
}

fn valid() -> View {
    let now = Timestamp::now();
    let access = Access {
        token: AccessToken::parse(CANARY).unwrap(),
        obtained_at: now,
        expires_at: Some(now + SignedDuration::from_hours(1)),
    };
    let token = Some(LiveToken::new(Generation(3), &access).unwrap().into());
    View { token, generation: Generation(3), ..View::default() }
}

fn admin(view: View, refuse: Option<&'static str>, key: Option<&str>) -> (Arc<Admin>, watch::Receiver<bool>) {
    let (drain, drained) = watch::channel(false);
    let tokens = Tokens::scripted(view, refuse);
    (Arc::new(Admin::new(tokens, Metrics::new(), drain, Settings::of_tests(key), Problems::default())), drained)
}

async fn start(scope: Scope, view: View, refuse: Option<&'static str>, key: Option<&str>) -> Running {
    let (admin, drain) = admin(view, refuse, key);
    serve(scope, admin, drain)
}

fn serve(scope: Scope, admin: Arc<Admin>, drain: watch::Receiver<bool>) -> Running {
    let listener = Listener::bind(&ListenAddress::Tcp(([127, 0, 0, 1], 0).into()), scope).unwrap();
    let ListenAddress::Tcp(address) = *listener.address() else { panic!("not TCP") };
    let (stop, stopped) = watch::channel(false);
    let task = tokio::spawn(listener.serve(admin, stopped));
    Running { address, drain, stop, task }
}

/// Sends a request head unchanged. Returns status, head and body. The connection ends with the response.
async fn raw(address: SocketAddr, request: &str) -> (u16, String, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head[9..12].parse().unwrap(), head.to_ascii_lowercase(), body.to_owned())
}

async fn ask(address: SocketAddr, line: &str, fields: &str) -> (u16, String, String) {
    raw(address, &format!("{line} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{fields}\r\n")).await
}

fn json(body: &str) -> Value {
    serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {body}"))
}

#[tokio::test]
async fn every_path_answers_and_no_answer_holds_the_token() {
    let running = start(Scope::Admin, valid(), None, None).await;
    for (line, status, content_type, has) in [
        ("GET /livez", 200, "application/json", r#"{"status":"alive"}"#),
        ("GET /livez?verbose", 200, "application/json", "alive"),
        ("GET /readyz", 200, "application/json", r#"{"ready":true,"state":"valid","reasons":[]}"#),
        ("GET /status", 200, "application/json", r#""generation":3"#),
        ("GET /config", 200, "application/json", r#"{"key":"oauth.client_secret","value":"***","source":"environment"#),
        ("GET /metrics", 200, "text/plain; version=0.0.4; charset=utf-8", "bearer_proxy_token_generation 3"),
        ("POST /refresh", 200, "application/json", r#""state":"valid""#),
        ("POST /drain", 202, "application/json", r#"{"draining":true}"#),
        ("GET /nothing", 404, "application/problem+json", "urn:bearer-proxy:not-found"),
        ("GET /assets/nothing", 404, "application/problem+json", "urn:bearer-proxy:not-found"),
        ("GET /status/", 404, "application/problem+json", "not-found"),
        ("GET /Status", 404, "application/problem+json", "not-found"),
        ("GET /refresh", 405, "application/problem+json", "urn:bearer-proxy:method-not-allowed"),
        ("DELETE /status", 405, "application/problem+json", "method-not-allowed"),
        ("OPTIONS /drain", 405, "application/problem+json", "method-not-allowed"),
    ] {
        let (got, head, body) = ask(running.address, line, "").await;
        assert_eq!(got, status, "{line}: {head}\n{body}");
        assert!(head.contains(&format!("content-type: {content_type}\r\n")), "{line}: {head}");
        assert!(head.contains("cache-control: no-store\r\n"), "{line}: {head}");
        assert!(head.contains("x-content-type-options: nosniff\r\n"), "{line}: {head}");
        assert!(body.contains(has), "{line}: {body}");
        assert!(!body.contains(CANARY) && !head.contains(CANARY), "{line}: {body}");
    }
    assert!(*running.drain.borrow());
}

#[tokio::test]
async fn a_wrong_method_is_told_the_right_ones() {
    let running = start(Scope::Admin, valid(), None, None).await;
    assert!(ask(running.address, "GET /drain", "").await.1.contains("allow: post"));
    assert!(ask(running.address, "POST /metrics", "").await.1.contains("allow: get, head"));
    assert!(!*running.drain.borrow());
}

/// A link preview must not use up a login.
#[tokio::test]
async fn a_redirect_is_not_taken_from_head() {
    let running = start(Scope::Admin, valid(), None, None).await;
    let (status, head, _) = ask(running.address, "HEAD /callback?code=c&state=s", "").await;
    assert_eq!(status, 405);
    assert!(head.contains("allow: get\r\n"), "{head}");
    assert_eq!(ask(running.address, "GET /callback?code=c&state=s", "").await.0, 400);
}

#[tokio::test]
async fn head_is_answered_as_get_without_the_body() {
    let running = start(Scope::Admin, valid(), None, None).await;
    let (status, head, body) = ask(running.address, "HEAD /livez", "").await;
    assert_eq!((status, body.as_str()), (200, ""));
    assert!(head.contains("content-length: 18"), "{head}");
}

/// The shell has no data.
#[tokio::test]
async fn the_page_needs_no_key_and_may_be_opened_from_anywhere() {
    let running = start(Scope::Admin, valid(), None, Some("key")).await;
    let foreign = "Sec-Fetch-Site: cross-site\r\nReferer: https://evil.example/\r\n";
    let (status, head, body) = ask(running.address, "GET /", foreign).await;
    assert_eq!(status, 200, "{head}");
    assert!(body.starts_with("<!doctype html>"), "{body}");
    for field in [
        "content-type: text/html; charset=utf-8\r\n",
        "content-security-policy: default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; \
         frame-ancestors 'none'; base-uri 'none'; form-action 'none'\r\n",
        "x-frame-options: deny\r\n",
        "referrer-policy: no-referrer\r\n",
    ] {
        assert!(head.contains(field), "{field} {head}");
    }
    assert_eq!(ask(running.address, "GET /?code=c", "").await.0, 200);
    assert_eq!(ask(running.address, "POST /", "Authorization: Bearer key\r\n").await.0, 405);
}

#[tokio::test]
async fn a_status_document_has_every_field_of_the_interface() {
    let running = start(Scope::Admin, valid(), None, None).await;
    let (_, _, body) = ask(running.address, "GET /status", "").await;
    let status = json(&body);
    for field in [
        "state",
        "grant",
        "profile",
        "generation",
        "obtained_at",
        "expires_at",
        "refresh_at",
        "last_refresh",
        "persisted",
        "store",
        "draining",
        "version",
    ] {
        assert!(status.get(field).is_some(), "{field}: {body}");
    }
    assert!(status["refresh_at"].is_null());
}

#[tokio::test]
async fn foreign_hosts_and_pages_reach_nothing() {
    let running = start(Scope::Admin, valid(), None, None).await;
    let (status, _, body) =
        raw(running.address, "GET /status HTTP/1.1\r\nHost: rebound.example\r\nConnection: close\r\n\r\n").await;
    assert_eq!((status, json(&body)["type"].as_str()), (421, Some("urn:bearer-proxy:misdirected-request")));
    let (status, _, body) = raw(running.address, "GET /livez HTTP/1.1\r\nConnection: close\r\n\r\n").await;
    assert_eq!((status, json(&body)["type"].as_str()), (400, Some("urn:bearer-proxy:bad-request")));
    let own = format!("GET http://{}/livez HTTP/1.1\r\nHost: {0}\r\nConnection: close\r\n\r\n", running.address);
    assert_eq!(raw(running.address, &own).await.0, 200);

    for fields in ["Origin: https://evil.example\r\n", "Origin: null\r\n", "Sec-Fetch-Site: cross-site\r\n"] {
        let (status, _, body) = ask(running.address, "POST /drain", fields).await;
        assert_eq!((status, json(&body)["type"].as_str()), (403, Some("urn:bearer-proxy:foreign-origin")), "{fields}");
    }
    assert!(!*running.drain.borrow());
    assert_eq!(ask(running.address, "POST /drain", "Origin: http://localhost\r\n").await.0, 202);
}

#[tokio::test]
async fn with_a_key_every_request_needs_it() {
    let (admin, drain) = admin(valid(), None, Some("first-key"));
    let listener = Listener::bind(&ListenAddress::Tcp(([127, 0, 0, 1], 0).into()), Scope::Admin).unwrap();
    let ListenAddress::Tcp(address) = *listener.address() else { panic!("not TCP") };
    let (_stop, stopped) = watch::channel(false);
    tokio::spawn(listener.serve(Arc::clone(&admin), stopped));

    for line in
        ["GET /livez", "GET /readyz", "GET /status", "GET /metrics", "POST /refresh", "POST /drain", "GET /nothing"]
    {
        let (status, head, body) = ask(address, line, "Authorization: Bearer wrong\r\n").await;
        assert_eq!(status, 401, "{line}");
        assert!(head.contains("www-authenticate: bearer realm="), "{head}");
        assert_eq!(json(&body)["type"], "urn:bearer-proxy:admin-key-required");
    }
    assert!(!*drain.borrow());
    assert_eq!(ask(address, "GET /livez", "Authorization: Bearer first-key\r\n").await.0, 200);

    admin.reconfigure(Settings::of_tests(Some("second-key")));
    assert_eq!(ask(address, "GET /livez", "Authorization: Bearer first-key\r\n").await.0, 401);
    assert_eq!(ask(address, "GET /livez", "Authorization: Bearer second-key\r\n").await.0, 200);
}

#[tokio::test]
async fn probes_answer_three_paths_to_whoever_asks() {
    let running = start(Scope::Probes, View::default(), None, Some("key")).await;
    for (line, expected) in [
        ("GET /livez", 200),
        ("GET /readyz", 503),
        ("GET /metrics", 200),
        ("HEAD /readyz", 503),
        ("POST /livez", 405),
        ("GET /status", 404),
        ("POST /refresh", 404),
        ("POST /drain", 404),
        ("GET /", 404),
    ] {
        let request = format!("{line} HTTP/1.1\r\nHost: 10.1.2.3:8081\r\nConnection: close\r\n\r\n");
        assert_eq!(raw(running.address, &request).await.0, expected, "{line}");
    }
    assert_eq!(raw(running.address, "GET /livez HTTP/1.0\r\n\r\n").await.0, 200);
    assert!(!*running.drain.borrow());
}

#[tokio::test]
async fn what_is_not_ready_says_why() {
    let view = View { draining: true, unpersisted: true, ..valid() };
    let running = start(Scope::Probes, view, None, None).await;
    let (status, _, body) = ask(running.address, "GET /readyz", "").await;
    assert_eq!(status, 503);
    let reasons = ["the proxy is draining", "a rotated token is in memory only, because the store has not accepted it"];
    assert_eq!(json(&body), serde_json::json!({"ready": false, "state": "valid", "reasons": reasons}));
}

#[tokio::test]
async fn a_refresh_that_fails_says_why_and_how_the_grant_stands() {
    let view = View { needs_login: Some("refused".into()), ..View::default() };
    let running = start(Scope::Admin, view, Some("log in again"), None).await;
    let (status, head, body) = ask(running.address, "POST /refresh", "").await;
    assert_eq!(status, 503);
    assert!(head.contains("content-type: application/problem+json"), "{head}");
    let problem = json(&body);
    assert_eq!(problem["type"], "urn:bearer-proxy:refresh-failed");
    assert_eq!(problem["status"], 503);
    assert_eq!(problem["detail"], "log in again");
    assert_eq!(problem["needs_login"], true);
    assert_eq!(problem["grant"]["state"], "needs_login");
}

#[tokio::test]
async fn an_endless_head_and_an_unread_body_end_the_connection() {
    let running = start(Scope::Admin, valid(), None, None).await;
    let (status, _, _) = ask(running.address, "GET /livez", &format!("X: {}\r\n", "x".repeat(20_000))).await;
    assert_eq!(status, 431);
    // The response does not wait for a body that never arrives.
    let (status, _, _) = ask(running.address, "POST /refresh", "Content-Length: 1000000\r\n").await;
    assert_eq!(status, 200);
}

#[tokio::test(start_paused = true)]
async fn a_head_that_does_not_come_frees_its_connection() {
    let running = start(Scope::Admin, valid(), None, None).await;
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    stream.write_all(b"GET /livez HTTP/1.1\r\nHost: lo").await.unwrap();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.unwrap();
    assert_eq!(rest, b"");
}

#[tokio::test]
async fn stopping_ends_idle_connections_and_closes_the_port() {
    let running = start(Scope::Admin, valid(), None, None).await;
    let mut idle = TcpStream::connect(running.address).await.unwrap();
    idle.write_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let mut first = [0; 12];
    idle.read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");

    running.stop.send(true).unwrap();
    running.task.await.unwrap().unwrap();
    let mut rest = Vec::new();
    idle.read_to_end(&mut rest).await.unwrap();
    assert!(TcpStream::connect(running.address).await.is_err());
}

#[tokio::test]
async fn the_client_asks_over_tcp_with_the_key() {
    let running = start(Scope::Admin, valid(), None, Some("key")).await;
    let listen = ListenAddress::Tcp(running.address);
    let client = |key: Option<&str>| Client::new(&AdminConfig { listen: listen.clone(), key: key.map(Secret::new) });
    let answer = client(Some("key")).get("/status", SOON).await.unwrap();
    assert_eq!(
        (answer.status, json(std::str::from_utf8(&answer.body).unwrap())["generation"].clone()),
        (StatusCode::OK, 3.into())
    );
    assert_eq!(client(None).post("/refresh", SOON).await.unwrap().status, StatusCode::UNAUTHORIZED);
    assert!(matches!(client(Some("a\nb")).get("/status", SOON).await, Err(ClientError::Key)));
}

#[tokio::test]
async fn a_unix_socket_serves_the_client_and_its_file_goes_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("admin.sock");
    // The socket of a killed process.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let address = ListenAddress::Unix(path.clone());
    let listener = Listener::bind(&address, Scope::Admin).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o660);
    // A socket in use is not touched.
    let second = Listener::bind(&address, Scope::Admin).unwrap_err();
    assert!(second.to_string().starts_with("admin.listen: cannot listen on unix:/"), "{second}");

    let (admin, drain) = admin(valid(), None, None);
    let (stop, stopped) = watch::channel(false);
    let task = tokio::spawn(listener.serve(admin, stopped));
    let client = Client::new(&AdminConfig { listen: address, key: None });
    assert_eq!(client.get("/livez", SOON).await.unwrap().status, StatusCode::OK);
    assert_eq!(client.post("/drain", SOON).await.unwrap().status, StatusCode::ACCEPTED);
    assert!(*drain.borrow());

    stop.send(true).unwrap();
    task.await.unwrap().unwrap();
    assert!(!path.exists());
    assert!(matches!(client.get("/livez", SOON).await, Err(ClientError::NotRunning { .. })));
}

#[tokio::test]
async fn a_file_that_is_no_socket_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("grant.json");
    std::fs::write(&path, "precious").unwrap();
    assert!(Listener::bind(&ListenAddress::Unix(path.clone()), Scope::Admin).is_err());
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
}

#[tokio::test(start_paused = true)]
async fn the_client_gives_up_on_a_listener_that_does_not_answer() {
    let mute = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let listen = ListenAddress::Tcp(mute.local_addr().unwrap());
    let error = Client::new(&AdminConfig { listen, key: None }).get("/status", SOON).await.unwrap_err();
    assert!(matches!(error, ClientError::Timeout { .. }), "{error}");
}
