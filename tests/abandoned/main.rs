//! A path loses packets during a token call. An abandoned call is not delivered after the path has recovered.
//!
//! Runs in two network namespaces of its own, which needs root. Without root the test prints `not run`.

#![allow(clippy::unwrap_used, reason = "a test that meets the unexpected has failed")]

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use bearer_proxy::internals::config::{AmbiguousRetry, ClientAuth, Outbound, TokenEndpoint, TokenFormat};
use bearer_proxy::internals::token::endpoint::{CallResult, Endpoint, Presented};
use bearer_proxy::internals::token::{RefreshOutcome, RefreshToken};
use testkit::Namespaces;
use tokio::time::Instant;

/// Bounds a test that fails.
const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn bytes_of_an_abandoned_call_are_not_delivered_after_the_path_has_healed() {
    let Some(namespaces) = Namespaces::new() else { return };
    let listener = Namespaces::within(&namespaces.server, || TcpListener::bind((Namespaces::SERVER, 0)).unwrap());
    let address = listener.local_addr().unwrap();

    // The path passes handshakes and drops requests.
    namespaces.nft("add table inet loss");
    namespaces.nft("add chain inet loss in { type filter hook input priority 0 ; }");
    namespaces.nft("add rule inet loss in meta length gt 100 drop");
    let (answer, sockets) = Namespaces::within(&namespaces.client, || {
        let answer = call(address, Duration::from_secs(2));
        (answer, std::fs::read_to_string("/proc/thread-self/net/tcp").unwrap())
    });
    let CallResult::Failed(failure) = answer else { panic!("{answer:?}") };
    assert_eq!(failure.outcome, RefreshOutcome::Ambiguous, "{failure:?}");
    assert_eq!(sockets.lines().count(), 1, "the kernel still has what it would deliver:\n{sockets}");
    namespaces.nft("delete table inet loss");

    let (mut abandoned, _) = listener.accept().unwrap();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut read = vec![0; 4096];
        let length = stream.read(&mut read).unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n{\"access_token\":\"a\"}").unwrap();
        String::from_utf8_lossy(&read[..length]).into_owned()
    });
    let retried = Namespaces::within(&namespaces.client, || call(address, PATIENCE));
    assert!(matches!(retried, CallResult::Issued(_)), "{retried:?}");
    assert!(server.join().unwrap().starts_with("POST /token"));
    abandoned.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(abandoned.read(&mut [0; 1]).unwrap_err().kind(), ErrorKind::ConnectionReset);
}

/// Makes one call in the namespace of this thread.
fn call(address: SocketAddr, request_timeout: Duration) -> CallResult {
    let config = TokenEndpoint {
        url: format!("http://{address}/token").parse().unwrap(),
        client_id: "7".into(),
        client_secret: None,
        format: TokenFormat::Form,
        client_auth: ClientAuth::Body,
        headers: http::HeaderMap::new(),
        redirect_uri_on_refresh: None,
        scope: None,
        scope_on_refresh: false,
        parameters: Vec::new(),
        request_timeout,
        ambiguous_retry: AmbiguousRetry::Once,
    };
    let endpoint = Endpoint::new(config, &Outbound { ca_file: None, proxy: None }).unwrap();
    let token = RefreshToken::parse("refresh").unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { endpoint.call(Presented::RefreshToken(&token), Instant::now() + PATIENCE).await })
}
