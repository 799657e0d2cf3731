//! A path loses packets during a token call. An abandoned call is not delivered after the path has recovered.
//!
//! Runs in two network namespaces of its own, which needs root. Without root the test prints `not run`.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test's own code, and why it was not run")]

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsFd;
use std::process::Command;
use std::time::Duration;

use bearer_proxy::config::{AmbiguousRetry, ClientAuth, Outbound, TokenEndpoint, TokenFormat};
use bearer_proxy::token::endpoint::{CallResult, Endpoint, Presented};
use bearer_proxy::token::{RefreshOutcome, RefreshToken};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::time::Instant;

/// Plaintext goes to loopback addresses only, so the pair of interfaces has such addresses.
const CLIENT: &str = "127.77.0.1";
const SERVER: &str = "127.77.0.2";
/// Bounds a test that fails.
const PATIENCE: Duration = Duration::from_secs(20);

/// Two network namespaces, joined by a pair of interfaces. Removed at the end.
struct Namespaces {
    client: String,
    server: String,
}

#[test]
fn bytes_of_an_abandoned_call_are_not_delivered_after_the_path_has_healed() {
    let Some(namespaces) = Namespaces::new() else {
        println!("not run: it needs root and the commands `ip` and `nft`");
        return;
    };
    let listener = namespaces.within(&namespaces.server, || TcpListener::bind((SERVER, 0)).unwrap());
    let address = listener.local_addr().unwrap();

    // The path passes handshakes and drops requests.
    namespaces.nft("add table inet loss");
    namespaces.nft("add chain inet loss in { type filter hook input priority 0 ; }");
    namespaces.nft("add rule inet loss in meta length gt 100 drop");
    let (answer, sockets) = namespaces.within(&namespaces.client, || {
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
    let retried = namespaces.within(&namespaces.client, || call(address, PATIENCE));
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

// === impl Namespaces ===

impl Namespaces {
    /// `None`: this user or this machine can't create them.
    fn new() -> Option<Self> {
        if !rustix::process::geteuid().is_root() || !succeeds("nft", &["--version"]) {
            return None;
        }
        let name = |side: &str| format!("bp-{}-{side}", std::process::id());
        let namespaces = Self { client: name("c"), server: name("s") };
        let Self { client, server } = &namespaces;
        let made = ip(&format!("netns add {client}"))
            && ip(&format!("netns add {server}"))
            && ip(&format!("-n {client} link add bp0 type veth peer name bp0 netns {server}"))
            && [client, server].into_iter().all(|side| {
                let route = "echo 1 >/proc/sys/net/ipv4/conf/bp0/route_localnet";
                succeeds("ip", &["netns", "exec", side, "sh", "-c", route])
            })
            && ip(&format!("-n {client} addr add {CLIENT}/30 dev bp0"))
            && ip(&format!("-n {server} addr add {SERVER}/30 dev bp0"))
            && ip(&format!("-n {client} link set bp0 up"))
            && ip(&format!("-n {server} link set bp0 up"));
        made.then_some(namespaces)
    }

    /// Runs work on a thread within a namespace.
    fn within<T: Send>(&self, name: &str, work: impl FnOnce() -> T + Send) -> T {
        let namespace = std::fs::File::open(format!("/run/netns/{name}")).unwrap();
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
                work()
            });
            thread.join().unwrap()
        })
    }

    fn nft(&self, command: &str) {
        let words: Vec<&str> = ["netns", "exec", &self.server, "nft"].into_iter().chain(command.split(' ')).collect();
        assert!(succeeds("ip", &words), "{command}");
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        ip(&format!("netns del {}", self.client));
        ip(&format!("netns del {}", self.server));
    }
}

fn ip(arguments: &str) -> bool {
    succeeds("ip", &arguments.split(' ').collect::<Vec<_>>())
}

fn succeeds(command: &str, arguments: &[&str]) -> bool {
    Command::new(command).args(arguments).output().is_ok_and(|output| output.status.success())
}
