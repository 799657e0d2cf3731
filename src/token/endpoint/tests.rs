//! The call against real sockets: its outcome when a server misbehaves. It presents the token exactly once.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::HeaderMap;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::config::{AmbiguousRetry, ClientAuth, TokenFormat};
use crate::token::RefreshOutcome;

mod reset;

const TOKEN: &str = "def502-canary-refresh";
const SECRET: &str = "canary-secret";

/// A server that gives each connection to a script, and counts the connections and the complete requests.
struct Server {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    presented: Arc<AtomicUsize>,
}

/// One connection of a [`Server`].
struct Peer {
    stream: TcpStream,
    presented: Arc<AtomicUsize>,
}

/// A configuration for tests of this module: a form in the body, without a secret.
pub(super) fn config(url: &str) -> TokenEndpoint {
    TokenEndpoint {
        url: Url::parse(url).unwrap(),
        client_id: "7".to_owned(),
        client_secret: None,
        format: TokenFormat::Form,
        client_auth: ClientAuth::Body,
        headers: HeaderMap::new(),
        redirect_uri_on_refresh: None,
        scope: None,
        scope_on_refresh: false,
        parameters: Vec::new(),
        request_timeout: Duration::from_secs(30),
        ambiguous_retry: AmbiguousRetry::Once,
    }
}

impl Server {
    async fn start<F>(script: impl Fn(Peer) -> F + 'static) -> Self
    where
        F: Future<Output = ()> + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (connections, presented) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let server = Self { address, connections: Arc::clone(&connections), presented: Arc::clone(&presented) };
        tokio::task::spawn_local(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                connections.fetch_add(1, Ordering::Relaxed);
                tokio::task::spawn_local(script(Peer { stream, presented: Arc::clone(&presented) }));
            }
        });
        server
    }

    /// Answers each request with these bytes and closes.
    async fn answering(answer: impl Into<Vec<u8>>) -> Self {
        let answer = Arc::new(answer.into());
        Self::start(move |mut peer| {
            let answer = Arc::clone(&answer);
            async move {
                peer.request().await;
                // Fails if the client has stopped reading.
                let _ = peer.stream.write_all(&answer).await;
                let _ = peer.stream.shutdown().await;
            }
        })
        .await
    }

    fn endpoint(&self) -> Endpoint {
        endpoint(self.address)
    }

    fn counts(&self) -> (usize, usize) {
        (self.connections.load(Ordering::Relaxed), self.presented.load(Ordering::Relaxed))
    }
}

impl Peer {
    /// Reads a whole request.
    async fn request(&mut self) -> String {
        let mut read = Vec::new();
        loop {
            assert_ne!(self.stream.read_buf(&mut read).await.unwrap(), 0, "a request that ends early");
            let text = String::from_utf8_lossy(&read);
            let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
            if body.len() == length.parse::<usize>().unwrap() {
                self.presented.fetch_add(1, Ordering::Relaxed);
                return text.into_owned();
            }
        }
    }

    fn reset(self) {
        self.stream.set_zero_linger().unwrap();
    }
}

fn endpoint(address: SocketAddr) -> Endpoint {
    let config =
        TokenEndpoint { client_secret: Some(Secret::new(SECRET)), ..config(&format!("http://{address}/oauth/token")) };
    Endpoint::new(config, &Outbound { ca_file: None, proxy: None }).unwrap()
}

async fn call(endpoint: &Endpoint) -> CallResult {
    let send_by = Instant::now() + Duration::from_secs(60);
    endpoint.call(Presented::RefreshToken(&RefreshToken::parse(TOKEN).unwrap()), send_by).await
}

/// The failure, which holds no secret.
async fn failure(endpoint: &Endpoint) -> RefreshFailure {
    match call(endpoint).await {
        CallResult::Failed(failure) => {
            assert!(!format!("{failure:?}").contains("canary"), "{failure:?}");
            failure
        }
        answer => panic!("{answer:?}"),
    }
}

async fn local(test: impl Future<Output = ()>) {
    tokio::task::LocalSet::new().run_until(test).await;
}

fn http(status: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

#[tokio::test]
async fn a_token_is_issued_over_one_connection_by_one_request() {
    local(async {
        let body = r#"{"token_type":"Bearer","expires_in":60,"access_token":"new","refresh_token":"next"}"#;
        let server = Server::answering(http("200 OK", body)).await;
        match call(&server.endpoint()).await {
            CallResult::Issued(Issued { access, refresh, lifetime }) => {
                assert_eq!(access.secret().expose(), "new");
                assert_eq!(refresh, RefreshToken::parse("next").ok());
                assert_eq!(lifetime, Some(Duration::from_secs(60)));
            }
            answer => panic!("{answer:?}"),
        }
        assert_eq!(server.counts(), (1, 1));
    })
    .await;
}

#[tokio::test]
async fn the_request_on_the_wire_is_whole_and_in_origin_form() {
    local(async {
        let (tell, told) = tokio::sync::oneshot::channel();
        let tell = std::cell::Cell::new(Some(tell));
        let server = Server::start(move |mut peer| {
            let tell = tell.take();
            async move { tell.unwrap().send(peer.request().await).unwrap() }
        })
        .await;
        failure(&server.endpoint()).await;
        let request = told.await.unwrap();
        let (head, body) = request.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("POST /oauth/token HTTP/1.1\r\n"), "{head}");
        assert_eq!(head.matches(&format!("\r\nhost: {}", server.address)).count(), 1, "{head}");
        assert_eq!(head.matches("content-length").count(), 1, "{head}");
        assert_eq!(body, format!("grant_type=refresh_token&refresh_token={TOKEN}&client_id=7&client_secret={SECRET}"));
    })
    .await;
}

#[tokio::test]
async fn without_a_connection_nothing_is_lost() {
    // Bound and closed, so nothing listens on this address.
    let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let failure = failure(&endpoint(address)).await;
    assert_eq!((failure.outcome, failure.error.as_str()), (RefreshOutcome::Transient, "connection refused"));
}

#[tokio::test]
async fn a_failed_tls_handshake_presents_nothing() {
    local(async {
        let plain = Server::start(|mut peer| async move {
            peer.stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        })
        .await;
        let config = config(&format!("https://{}/oauth/token", plain.address));
        let endpoint = Endpoint::new(config, &Outbound { ca_file: None, proxy: None }).unwrap();
        assert_eq!(failure(&endpoint).await.outcome, RefreshOutcome::Transient);
        assert_eq!(plain.counts(), (1, 0));
    })
    .await;
}

#[tokio::test]
async fn a_connection_lost_after_the_request_left_is_ambiguous() {
    local(async {
        let unread = Server::start(|peer| async move {
            // The request has arrived, and the server does not read it.
            peer.stream.peek(&mut [0]).await.unwrap();
            peer.reset();
        })
        .await;
        let reset = Server::start(|mut peer| async move {
            peer.request().await;
            peer.reset();
        })
        .await;
        let closed = Server::answering("").await;
        let half_head = Server::answering("HTTP/1.1 200 OK\r\nContent-Ty").await;
        let not_http = Server::answering("SSH-2.0-OpenSSH_9.9\r\n").await;
        for (name, server, presented) in [
            ("unread", unread, 0),
            ("reset", reset, 1),
            ("closed", closed, 1),
            ("half head", half_head, 1),
            ("not HTTP", not_http, 1),
        ] {
            let failure = failure(&server.endpoint()).await;
            assert_eq!(failure.outcome, RefreshOutcome::Ambiguous, "{name}: {failure:?}");
            assert!(failure.error.starts_with("sent, but not answered: "), "{name}: {failure:?}");
            assert_eq!(server.counts(), (1, presented), "{name}");
        }
    })
    .await;
}

#[tokio::test]
async fn an_answer_that_stops_half_way_is_ambiguous() {
    local(async {
        let answers = [
            "HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{\"access_token\":\"ey",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n14\r\n{\"access_token\":\"",
            "HTTP/1.0 200 OK\r\n\r\n{\"access_token\":\"ey",
            "HTTP/1.1 400 Bad Request\r\nContent-Length: 500\r\n\r\n{\"error\":\"invalid_gr",
        ];
        for answer in answers {
            let server = Server::answering(answer).await;
            let failure = failure(&server.endpoint()).await;
            assert_eq!(failure.outcome, RefreshOutcome::Ambiguous, "{answer}: {failure:?}");
            assert_eq!(server.counts(), (1, 1), "{answer}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_server_that_says_nothing_is_given_up_as_ambiguous() {
    local(async {
        // The clock is paused from here, so the thirty seconds pass at once.
        let silent = Server::start(|mut peer| async move {
            peer.request().await;
            tokio::time::pause();
            std::future::pending::<()>().await;
            drop(peer);
        })
        .await;
        let failure = failure(&silent.endpoint()).await;
        assert_eq!(failure.outcome, RefreshOutcome::Ambiguous);
        assert_eq!(failure.error, "sent, but not answered: no answer in time");
        assert_eq!(silent.counts(), (1, 1));
    })
    .await;
}

#[tokio::test]
async fn a_server_that_stalls_in_its_answer_is_given_up_as_ambiguous() {
    local(async {
        let stalled = Server::start(|mut peer| async move {
            peer.request().await;
            peer.stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{").await.unwrap();
            tokio::time::pause();
            std::future::pending::<()>().await;
            drop(peer);
        })
        .await;
        assert_eq!(failure(&stalled.endpoint()).await.outcome, RefreshOutcome::Ambiguous);
        assert_eq!(stalled.counts(), (1, 1));
    })
    .await;
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    local(async {
        let target = Server::answering(http("200 OK", r#"{"access_token":"x"}"#)).await;
        for status in ["301 Moved Permanently", "302 Found", "307 Temporary Redirect", "308 Permanent Redirect"] {
            let location = format!("http://{}/oauth/token", target.address);
            let server = Server::answering(format!(
                "HTTP/1.1 {status}\r\nLocation: {location}?refresh_token={TOKEN}\r\nContent-Length: 0\r\n\r\n"
            ))
            .await;
            let failure = failure(&server.endpoint()).await;
            assert_eq!(failure.outcome, RefreshOutcome::Misconfigured, "{status}");
            assert!(failure.error.contains(&location), "{status}: {failure:?}");
            assert_eq!((server.counts(), target.counts()), ((1, 1), (0, 0)), "{status}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_refusal_that_quotes_the_request_is_told_without_the_quote() {
    local(async {
        let body = format!(r#"{{"error":"invalid_grant","error_description":"{TOKEN} of client with {SECRET}"}}"#);
        let server = Server::answering(http("400 Bad Request", &body)).await;
        let failure = failure(&server.endpoint()).await;
        assert_eq!(failure.outcome, RefreshOutcome::Rejected);
        assert_eq!(failure.error, "HTTP 400: invalid_grant: *** of client with ***; a new login is needed");
        assert_eq!(server.counts(), (1, 1));
    })
    .await;
}

#[tokio::test]
async fn an_answer_is_read_up_to_sixteen_mebibytes() {
    local(async {
        let token = r#"{"access_token":"x","#;
        let rows = [(16 << 20, None), ((16 << 20) + 1, Some(RefreshOutcome::Ambiguous))];
        for (size, expected) in rows {
            let padding = " ".repeat(size - token.len() - 1);
            let server = Server::answering(http("200 OK", &format!("{token}{padding}}}"))).await;
            match call(&server.endpoint()).await {
                CallResult::Issued(_) => assert_eq!(expected, None),
                CallResult::Failed(failure) => {
                    assert_eq!(Some(failure.outcome), expected, "{failure:?}");
                    assert!(failure.error.contains("larger than 16777216 bytes"), "{failure:?}");
                }
                CallResult::SuccessorOnly(succeeded) => panic!("{succeeded:?}"),
            }
        }
    })
    .await;
}

#[tokio::test]
async fn an_informational_answer_is_not_the_answer() {
    local(async {
        let answer = format!("HTTP/1.1 103 Early Hints\r\n\r\n{}", http("200 OK", r#"{"access_token":"x"}"#));
        let server = Server::answering(answer).await;
        assert!(matches!(call(&server.endpoint()).await, CallResult::Issued(_)));
    })
    .await;
}

#[test]
fn a_call_can_be_spawned() {
    fn is_send(_: &impl Send) {}
    let endpoint = endpoint(([127, 0, 0, 1], 1).into());
    is_send(&endpoint.call(Presented::ClientCredentials, Instant::now()));
}
