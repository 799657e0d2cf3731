//! Clients that try to exhaust memory do not end a proxy with the settings and the memory limit of the sidecar's manifest.
//!
//! The limit is a memory cgroup (version 1) where one can be made; else only resident memory is compared with it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use http::{Method, StatusCode};
use simulator::{Options, Simulator};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

use testkit::{Proxy, Setup};

const LIMIT: u64 = 256 << 20;
const KEY: &str = "0123456789abcdef0123456789abcdef";
/// More than `guard.max_connections`: further ones wait in the accept queue.
const CLIENTS: usize = 80;
/// A second is promised; the rest is for a machine that is busy.
const SOON: Duration = Duration::from_secs(5);

#[derive(Clone, Copy, Debug)]
enum Attack {
    /// HTTP/2: no window, 255 requests without a key, then half a header block.
    Http2RefusedKeys,
    /// The same, with a key and refused by the allow-list.
    Http2Unread,
    Http2Resets,
    Http1Unread,
    Http1IncompleteHeads,
    SlowUploads,
}

/// A memory cgroup, removed when dropped.
struct Cgroup(PathBuf);

impl Cgroup {
    fn new() -> Option<Self> {
        let path = PathBuf::from(format!("/sys/fs/cgroup/memory/bearer-proxy-test-{}", std::process::id()));
        std::fs::create_dir(&path).ok()?;
        let cgroup = Self(path);
        std::fs::write(cgroup.0.join("memory.limit_in_bytes"), LIMIT.to_string()).ok()?;
        Some(cgroup)
    }

    fn around(&self, setup: Setup) -> Setup {
        let enter = format!(r#"echo $$ > {}/cgroup.procs; exec "$0" "$@""#, self.0.display());
        setup.under(&["bash", "-c", &enter])
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(&self.0);
    }
}

#[tokio::test]
async fn attacks_stay_within_the_memory_limit() {
    let simulator = Simulator::start(Options::league8()).await.unwrap();
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, KEY.as_bytes());
    let digest: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    let setup = Proxy::before(&simulator)
        .set("GUARD__CLIENT_KEYS", digest)
        .set("GUARD__ALLOW", "* /api/**")
        .set("GUARD__MAX_CONNECTIONS", 64)
        .set("UPSTREAM__MAX_IN_FLIGHT", 16)
        .set("UPSTREAM__REPLAY_BUDGET", "16MiB")
        .set("LOG__REQUESTS", "none");
    let cgroup = Cgroup::new();
    if cgroup.is_none() {
        println!("not run in a memory cgroup: none can be made here");
    }
    let proxy = match &cgroup {
        Some(cgroup) => cgroup.around(setup).start().await,
        None => setup.start().await,
    };
    proxy.ready().await;
    let before = resident(proxy.pid());
    use Attack::{Http1IncompleteHeads, Http1Unread, Http2RefusedKeys, Http2Resets, Http2Unread, SlowUploads};
    for attack in [Http2RefusedKeys, Http2Unread, Http2Resets, Http1Unread, Http1IncompleteHeads, SlowUploads] {
        let mut held = Vec::new();
        for _ in 0..CLIENTS {
            let sent = timeout(Duration::from_millis(100), attack.begin(proxy.address())).await;
            held.extend(sent.ok().and_then(Result::ok));
        }
        for _ in 0..3 {
            let livez = timeout(SOON, proxy.admin(Method::GET, "/livez")).await;
            assert_eq!(livez.map(|answer| answer.status).ok(), Some(StatusCode::OK), "{attack:?}");
        }
        let used = resident(proxy.pid());
        assert!(used <= LIMIT, "{attack:?}: {used} bytes");
        println!("{attack:?}: {} MiB", used >> 20);
    }
    let settled = async {
        while resident(proxy.pid()) > before + (32 << 20) {
            proxy.status().await;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(Duration::from_secs(30), settled).await.expect("memory returns to its earlier level");
    proxy.stop().await;
}

/// In bytes.
fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the process is alive");
    let value = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    value.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

impl Attack {
    /// What one client sends. It keeps its connection, and reads nothing.
    async fn begin(self, address: SocketAddr) -> std::io::Result<TcpStream> {
        let mut stream = TcpStream::connect(address).await?;
        let bytes = match self {
            Self::Http2RefusedKeys => http2("wrong", false),
            Self::Http2Unread => http2(KEY, false),
            Self::Http2Resets => http2(KEY, true),
            Self::Http1Unread => {
                format!("TRACE / HTTP/1.1\r\nHost: localhost\r\nX-Proxy-Key: {KEY}\r\n\r\n").repeat(2000).into_bytes()
            }
            Self::Http1IncompleteHeads => format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(120_000)).into_bytes(),
            Self::SlowUploads => {
                let head = format!("POST /api/v2/echo HTTP/1.1\r\nHost: localhost\r\nX-Proxy-Key: {KEY}\r\n");
                format!("{head}Content-Length: 10000000\r\n\r\n{}", "x".repeat(200_000)).into_bytes()
            }
        };
        stream.write_all(&bytes).await?;
        Ok(stream)
    }
}

/// 255 requests of a client with no window, each reset if so told, then a header block that does not end.
fn http2(key: &str, reset: bool) -> Vec<u8> {
    fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
    }
    fn literal(name: &str, value: &str) -> Vec<u8> {
        let size = |text: &str| u8::try_from(text.len()).unwrap();
        [&[0, size(name)], name.as_bytes(), &[size(value)], value.as_bytes()].concat()
    }
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    // SETTINGS_INITIAL_WINDOW_SIZE = 0
    bytes.extend(frame(4, 0, 0, &[0, 4, 0, 0, 0, 0]));
    // GET, http, /
    let block = [vec![0x82, 0x86, 0x84], literal(":authority", "localhost"), literal("x-proxy-key", key)].concat();
    for number in 0..255 {
        let stream = 2 * number + 1;
        bytes.extend(frame(1, 5, stream, &block));
        if reset {
            bytes.extend(frame(3, 0, stream, &8u32.to_be_bytes()));
        }
    }
    bytes.extend(frame(1, 0, 511, &literal("x", &"x".repeat(100)).repeat(150)));
    bytes
}
