//! Clients that try to exhaust memory do not end a gateway with the settings and the memory limit of its manifest.
//!
//! The limit is a memory cgroup (version 1) where the test may create one; elsewhere the test compares resident memory with it.
//! Socket buffers count too, as in a cgroup of version 2.

mod attack;

use std::io::ErrorKind;
use std::time::Duration;

use futures_util::future::join_all;
use http::StatusCode;
use simulator::{Options, Simulator};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::documents_are_true::{environments, memory_limit};
use attack::{Attack, KEY};
use testkit::{Cgroup, PROMPT, Prober, Proxy, Setup, allow_open_files, demand};

/// More than `guard.max_connections` of the manifest: the others wait for their turn in the accept queue.
const CLIENTS: usize = 200;
/// This number ended version 0.1.0 with the settings of its manifest.
const MORE_CLIENTS: usize = 680;
/// A bound for a test that fails, not a measure.
const PATIENCE: Duration = Duration::from_secs(180);
/// A process that has served keeps some freed memory.
const KEPT: u64 = 48 << 20;

#[tokio::test]
async fn refused_keys_over_http2() {
    withstand(Attack::Http2RefusedKeys, MORE_CLIENTS).await;
}

#[tokio::test]
async fn unread_responses_over_http2() {
    withstand(Attack::Http2UnreadResponses, CLIENTS).await;
}

#[tokio::test]
async fn resets_over_http2() {
    withstand(Attack::Http2Resets, CLIENTS).await;
}

#[tokio::test]
async fn slow_uploads_over_http2() {
    withstand(Attack::Http2SlowUploads, CLIENTS).await;
}

#[tokio::test]
async fn refused_keys_over_http1() {
    withstand(Attack::Http1RefusedKeys, CLIENTS).await;
}

#[tokio::test]
async fn unread_responses_over_http1() {
    withstand(Attack::Http1UnreadResponses, CLIENTS).await;
}

#[tokio::test]
async fn incomplete_heads_over_http1() {
    withstand(Attack::Http1IncompleteHeads, CLIENTS).await;
}

#[tokio::test]
async fn slow_uploads_over_http1() {
    withstand(Attack::Http1SlowUploads, CLIENTS).await;
}

/// The process stays alive and below its limit, answers each probe in time, and gives the memory back.
#[allow(clippy::print_stdout, reason = "what was measured")]
async fn withstand(attack: Attack, count: usize) {
    allow_open_files(4096);
    let simulator = Simulator::start(Options::league8()).await.unwrap();
    let (setup, limit) = gateway(Proxy::before(&simulator));
    let cgroup = Cgroup::new(limit);
    let proxy = match &cgroup {
        Some(cgroup) => cgroup.around(setup).start().await,
        None => setup.start().await,
    };
    proxy.ready().await;
    let pid = proxy.pid();
    let before = Memory::of(pid).resident;
    let prober = Prober::start(proxy.probes_address(), pid, "/livez");

    let mut clients = JoinSet::new();
    for _ in 0..count {
        clients.spawn(attack.begin(proxy.address()));
    }
    settled(pid).await;
    let (memory, sockets) = cgroup.as_ref().map_or_else(|| (Memory::of(pid).peak, 0), Cgroup::peak);
    println!("{attack:?}: {} MiB, and {} MiB in sockets, of {}", memory >> 20, sockets >> 20, limit >> 20);
    assert!(memory + sockets <= limit, "{attack:?}: {memory} and {sockets} bytes, of {limit}");

    drop(clients);
    let calm = async {
        while Memory::of(pid).resident > before + KEPT {
            // A worker returns freed memory while it serves requests. Connections that are open together reach each worker.
            let answers = join_all((0..16).map(|_| proxy.get("/refused"))).await;
            assert!(answers.iter().all(|answer| answer.status == StatusCode::FORBIDDEN), "{answers:?}");
        }
    };
    timeout(PATIENCE, calm).await.unwrap_or_else(|_| {
        panic!("{attack:?}: {} MiB, {} before", Memory::of(pid).resident >> 20, before >> 20);
    });
    let probes = prober.end();
    let late = probes.iter().find(|probe| !matches!(probe, Ok((200, time)) if *time <= PROMPT));
    assert!(late.is_none(), "{attack:?}: {late:?} of {} probes", probes.len());
    proxy.stop().await;
}

/// Applies the limits of the gateway's manifest, and returns its memory limit. `MANIFEST` names another manifest.
fn gateway(mut setup: Setup) -> (Setup, u64) {
    let path = std::env::var("MANIFEST")
        .unwrap_or_else(|_| concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/kubernetes/gateway.yaml").to_owned());
    let manifest = std::fs::read_to_string(path).unwrap();
    let limits = ["GUARD__MAX_CONNECTIONS", "UPSTREAM__MAX_IN_FLIGHT", "UPSTREAM__REPLAY_BUDGET"];
    for (name, value) in environments(&manifest).into_iter().flat_map(|(_, variables)| variables) {
        let name = name.trim_start_matches("BEARER_PROXY_");
        if limits.contains(&name) {
            setup = setup.set(name, value);
        }
    }
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, KEY.as_bytes());
    let digest: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    let setup = setup
        .set("GUARD__CLIENT_KEYS", digest)
        .set("GUARD__ALLOW", "* /api/**")
        .set("PROBES__LISTEN", "127.0.0.1:0")
        .set("LOG__REQUESTS", "none");
    (setup, u64::try_from(memory_limit(&manifest).unwrap()).unwrap())
}

/// Waits until the program has nothing left to do. Probes alone take a few hundredths of its time.
async fn settled(pid: u32) {
    let second = Duration::from_secs(1);
    let end = Instant::now() + PATIENCE;
    let mut before = demand(pid);
    while Instant::now() < end {
        sleep(second).await;
        let now = demand(pid);
        if now.saturating_sub(before) < second / 4 {
            return;
        }
        before = now;
    }
}

/// Memory of a process, in bytes (`proc_pid_status(5)`).
struct Memory {
    resident: u64,
    peak: u64,
}

impl Memory {
    fn of(pid: u32) -> Self {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"));
        let status = status.unwrap_or_else(|error| {
            assert_eq!(error.kind(), ErrorKind::NotFound);
            String::new()
        });
        let field = |name: &str| -> u64 {
            let value = status.lines().find_map(|line| line.strip_prefix(name)).expect("the process was killed");
            value.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
        };
        Self { resident: field("VmRSS:"), peak: field("VmHWM:") }
    }
}
