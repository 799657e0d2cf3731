//! Five processes on one PostgreSQL, or in one cluster, under load. The token is revoked repeatedly, and processes are killed and started.
//!
//! By the ledger of the server, each refresh token is presented once, and again only after its presenter was killed in the call. No client
//! sees a failure, with two exceptions: the clients of a killed process, and requests during the lease of a dead holder. The latter get 503
//! with `Retry-After`, or the refusal of the upstream.
//!
//! `REPLICAS=300` runs for five minutes. `SEED` repeats a run.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{Method, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use simulator::{Act, Fault, Kind, Latency, Options, Revocation, Simulator, Step, TokenCall};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::commands::import;
use crate::pipe::Pipe;
use crate::postgres::Postgres;
use crate::random::Random;
use crate::site::Site;
use crate::support::{Client, Proxy, Setup, request};

const REPLICAS: usize = 5;
/// The number of clients of each replica.
const CLIENTS: usize = 3;
const CALL: Duration = Duration::from_secs(2);
/// The length of a lease: one call and the margin for its writes.
const LEASE: Duration = Duration::from_secs(17);
/// The time for the processes that waited for the lease to make their call and answer their clients.
const AFTER_LEASE: Duration = Duration::from_secs(3);
const WAIT: Duration = Duration::from_secs(3);

/// What the clients received.
#[derive(Default)]
struct Seen {
    answered: u64,
    /// The number of ended requests of each client.
    ended: BTreeMap<usize, u64>,
    /// 503 with `Retry-After`.
    put_off: Vec<Instant>,
    failures: Vec<(Instant, String)>,
}

struct Replicas {
    simulator: Simulator,
    setup: Setup,
    pipe: Pipe,
    random: Random,
    seen: Arc<Mutex<Seen>>,
    processes: Vec<Proxy>,
    /// The address of each replica. `None`: it was killed.
    addresses: Vec<watch::Sender<Option<SocketAddr>>>,
    killed: BTreeSet<u32>,
    /// The logs of killed replicas.
    logs: Vec<String>,
    /// The times during which a dead process holds the lease.
    windows: Vec<(Instant, Instant)>,
    /// The number of grants lost between the server's commit and ours.
    lost: usize,
}

fn seconds() -> Duration {
    Duration::from_secs(std::env::var("REPLICAS").ok().map_or(20, |text| text.parse().unwrap()))
}

#[tokio::test]
async fn five_replicas_present_each_token_once() {
    let server = Postgres::start();
    present_each_token_once(&Site::postgres(&server, "shared")).await;
}

#[tokio::test]
async fn five_replicas_in_a_cluster_present_each_token_once() {
    if let Some(site) = Site::kubernetes().await {
        present_each_token_once(&site).await;
    }
}

async fn present_each_token_once(site: &Site) {
    let mut replicas = Replicas::start(site).await;
    let (stop, stopped) = watch::channel(false);
    let mut clients = JoinSet::new();
    for number in 0..REPLICAS * CLIENTS {
        let replica = replicas.addresses[number % REPLICAS].subscribe();
        clients.spawn(client(number, replica, stopped.clone(), Arc::clone(&replicas.seen)));
    }
    let end = Instant::now() + seconds();
    while Instant::now() < end {
        if replicas.random.below(4) == 0 {
            let victim = replicas.random.below(REPLICAS);
            replicas.kill(victim).await;
        } else {
            replicas.revoke().await;
        }
    }
    replicas.kill_a_holder_in_its_call().await;
    replicas.revoke().await;
    stop.send_replace(true);
    while let Some(client) = clients.join_next().await {
        client.unwrap();
    }
    replicas.judge();
    for process in replicas.processes {
        process.stop().await;
    }
}

// === impl Replicas ===

impl Replicas {
    async fn start(site: &Site) -> Self {
        let latency = Latency { before_commit: Duration::from_millis(10), after_commit: Duration::from_millis(10) };
        let simulator = Simulator::start(Options { latency, rate_limit: None, ..Options::league8() }).await.unwrap();
        let mut pipe = Pipe::new();
        let setup = site.configure(Proxy::before(&simulator));
        let setup = pipe
            .report(setup)
            .set("OAUTH__REQUEST_TIMEOUT", format!("{}s", CALL.as_secs()))
            .set("REFRESH__WAIT", format!("{}s", WAIT.as_secs()))
            .set("REFRESH__MAX_PER_HOUR", 100_000);
        let (mut processes, mut addresses) = (Vec::new(), Vec::new());
        for _ in 0..REPLICAS {
            let process = setup.again().start().await;
            process.ready().await;
            addresses.push(watch::Sender::new(Some(process.address())));
            processes.push(process);
        }
        assert_eq!(pipe.all().iter().filter(|(_, step)| step == "called").count(), 1, "one brought the token to all");
        let random = Random::new("replicas");
        let ended = (0..REPLICAS * CLIENTS).map(|client| (client, 0)).collect();
        let seen = Arc::new(Mutex::new(Seen { ended, ..Seen::default() }));
        let (killed, logs, windows) = (BTreeSet::new(), Vec::new(), Vec::new());
        Self { simulator, setup, pipe, random, seen, processes, addresses, killed, logs, windows, lost: 0 }
    }

    /// Revokes the token. A refusal then brings the next one to all.
    async fn revoke(&mut self) {
        self.simulator.revoke(Revocation::All(Kind::Access));
        self.settle().await;
        tokio::time::sleep(self.random.duration(Duration::from_millis(300))).await;
    }

    /// Kills a replica and starts it again.
    async fn kill(&mut self, victim: usize) {
        // Sometimes just after a revocation, and so possibly in a rotation.
        if self.random.coin() {
            self.simulator.revoke(Revocation::All(Kind::Access));
            tokio::time::sleep(self.random.duration(Duration::from_millis(60))).await;
        }
        self.replace(victim).await;
        self.settle().await;
    }

    /// Kills the holder after its call has arrived and before the server commits. This must not lose the grant.
    async fn kill_a_holder_in_its_call(&mut self) {
        self.simulator.fault(Fault::token(Step::BeforeCommit, Act::Hang));
        let calls = self.simulator.with_ledger(|ledger| ledger.token_calls().len());
        self.simulator.revoke(Revocation::All(Kind::Access));
        self.simulator.wait_until(|ledger| ledger.token_calls().len() > calls).await.unwrap();
        let (holder, _) = self.pipe.all().iter().rfind(|(_, step)| step == "calling").unwrap().clone();
        let victim = self.processes.iter().position(|process| process.pid() == holder).unwrap();
        let windows = self.windows.len();
        self.replace(victim).await;
        assert_eq!(self.windows.len(), windows + 1, "it died with its lease");
        self.settle().await;
    }

    async fn replace(&mut self, victim: usize) {
        self.addresses[victim].send_replace(None);
        let process = self.processes.remove(victim);
        let pid = process.pid();
        self.logs.extend(process.log());
        let _ = process.kill().await;
        let began = Instant::now();
        assert!(self.killed.insert(pid), "a process number came twice");
        if holds_the_lease(self.pipe.steps(pid)) {
            // Requests from shortly before waited for the lease too.
            self.windows.push((began - WAIT, began + LEASE + AFTER_LEASE));
        }
        let process = self.setup.again().start().await;
        self.addresses[victim].send_replace(Some(process.address()));
        self.processes.insert(victim, process);
    }

    /// Waits until all replicas have the newest token. After a loss, it supplies a new grant.
    async fn settle(&mut self) {
        let until = Instant::now() + LEASE + 4 * AFTER_LEASE;
        loop {
            let mut generations = BTreeSet::new();
            let mut settled = true;
            for process in &self.processes {
                let status = process.status().await;
                generations.insert(status["generation"].as_u64().unwrap());
                settled &= status["state"] == "valid";
                if status["state"] == "needs_login" {
                    self.recover(&status).await;
                    settled = false;
                    break;
                }
            }
            if settled && generations.len() == 1 && self.is_alive() {
                break;
            }
            assert!(Instant::now() < until, "not settled: {generations:?}\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        // A replay with the newest token must not find that token revoked too, because a second refusal starts a cooldown.
        let before = self.seen.lock().unwrap().ended.clone();
        while self.seen.lock().unwrap().ended.iter().any(|(client, ended)| before.get(client) == Some(ended)) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Whether the server accepts the newest access token, so that a revocation was noticed.
    fn is_alive(&self) -> bool {
        self.simulator.with_ledger(|ledger| {
            let newest = ledger.issued().last().unwrap().access;
            ledger.requests().next_back().is_some_and(
                |request| matches!(request.credential, simulator::Credential::Live { token } if token == newest),
            )
        })
    }

    async fn recover(&mut self, status: &Value) {
        let reason = status["reason"].as_str().unwrap();
        assert!(reason.contains("probably held the successor, and was lost"), "{reason}");
        self.lost += 1;
        let grant = self.simulator.grant();
        let answer = serde_json::json!({"access_token": grant.access_token, "refresh_token": grant.refresh_token});
        import(&self.setup, &answer.to_string()).await;
        // The refusals end when all replicas have adopted the new grant.
        let (_, end) = self.windows.last_mut().expect("nothing is lost unless a process dies with its lease");
        *end = (*end).max(Instant::now() + AFTER_LEASE);
    }

    /// Whether this step was the last one that a killed process reported.
    fn died_at(&self, pid: u32, place: usize, steps: &[(u32, String)]) -> bool {
        self.killed.contains(&pid) && !steps[place + 1..].iter().any(|(later, _)| *later == pid)
    }

    /// The logs of all replicas, without the requests.
    fn log(&self) -> String {
        let all = self.logs.iter().cloned().chain(self.processes.iter().flat_map(Proxy::log));
        let mut all: Vec<String> = all.filter(|line| !line.contains("proxy::observe")).collect();
        // Each line begins with the time.
        all.sort();
        all.join("\n")
    }

    fn judge(&mut self) {
        let steps = self.pipe.all().to_vec();
        let seen = self.seen.lock().unwrap();
        let calls = self.simulator.with_ledger(|ledger| ledger.token_calls().to_vec());
        let mut arrived = calls.iter();
        let mut presented: BTreeMap<u64, u32> = BTreeMap::new();
        let mut committed = BTreeSet::new();
        let mut calling: BTreeMap<u32, u64> = BTreeMap::new();
        let mut again = 0;
        for (place, (pid, step)) in steps.iter().enumerate() {
            let arrives = match step.as_str() {
                "called" => true,
                // Killed while sending. The call has arrived if the next two calls have the same token.
                "calling" if self.died_at(*pid, place, &steps) => {
                    let mut next = arrived.clone().map(TokenCall::refresh_token);
                    next.next() == next.next().filter(Option::is_some)
                }
                "committed" => {
                    committed.insert(calling.remove(pid).unwrap());
                    false
                }
                _ => false,
            };
            if !arrives {
                continue;
            }
            let call = arrived.next().expect("each call arrives");
            let serial = call.refresh_token().unwrap();
            let last = &steps[place.saturating_sub(60)..=place];
            let tell = || format!("{call:?} by {pid}: {last:?}\n{}", self.log());
            assert!(!committed.contains(&serial), "presented after its successor was committed: {}", tell());
            if let Some(earlier) = presented.insert(serial, *pid) {
                again += 1;
                let killed = self.killed.contains(&earlier) && calling.contains_key(&earlier);
                assert!(killed, "presented twice, and {earlier} was not killed in the call: {}", tell());
            }
            calling.insert(*pid, serial);
        }
        assert_eq!(arrived.count(), 0, "calls that nobody reported");
        let answered = self.simulator.with_ledger(|ledger| ledger.answered_calls_per_refresh_token());
        let twice = answered.values().filter(|count| **count > 1).count();
        assert!(twice <= self.lost, "{twice} refresh tokens had two answers");

        let outside = |at: &Instant| !self.windows.iter().any(|(from, to)| (from..=to).contains(&at));
        let failures: Vec<_> = seen.failures.iter().filter(|(at, _)| self.lost == 0 || outside(at)).collect();
        assert!(
            failures.is_empty(),
            "{} failures, {:?} to {:?}, outside of {:?}; {} lost\n{}",
            failures.len(),
            failures.first(),
            failures.last(),
            self.windows,
            self.lost,
            self.log()
        );
        let unexplained = seen.put_off.iter().filter(|at| outside(at)).count();
        assert_eq!(unexplained, 0, "503 or 401 while no dead process held the lease");
        eprintln!(
            "{REPLICAS} replicas, {} killed: {} requests answered; {} refresh tokens, {again} presented again after their \
             presenter was killed in the call; {} times 503 with Retry-After while a dead holder's lease ran out ({} times); {} \
             grants lost between the server's commit and ours",
            self.killed.len(),
            seen.answered,
            presented.len(),
            seen.put_off.len(),
            self.windows.len(),
            self.lost
        );
    }
}

fn holds_the_lease(steps: &[String]) -> bool {
    let last = |names: &[&str]| steps.iter().rposition(|step| names.contains(&step.as_str()));
    let taken = ["lease changed", "lease committed", "lease sending", "lease stored", "leased"];
    match (last(&taken), last(&["released"])) {
        (Some(leased), Some(released)) => leased > released,
        (leased, _) => leased.is_some(),
    }
}

/// Sends one request after the other to a replica and to its replacements.
async fn client(
    number: usize,
    mut replica: watch::Receiver<Option<SocketAddr>>,
    stop: watch::Receiver<bool>,
    seen: Arc<Mutex<Seen>>,
) {
    while !*stop.borrow() {
        let Some(address) = *replica.borrow_and_update() else {
            replica.changed().await.unwrap();
            continue;
        };
        let error = match converse(number, address, &stop, &seen).await {
            Ok(()) => return,
            Err(error) => error,
        };
        // A broken connection is a failure, unless its replica was killed.
        let mut seen = seen.lock().unwrap();
        *seen.ended.entry(number).or_default() += 1;
        if *replica.borrow() == Some(address) {
            seen.failures.push((Instant::now(), error));
        }
    }
}

async fn converse(
    number: usize,
    address: SocketAddr,
    stop: &watch::Receiver<bool>,
    seen: &Mutex<Seen>,
) -> Result<(), String> {
    let stream = TcpStream::connect(address).await.map_err(|error| error.to_string())?;
    let (sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    tokio::spawn(connection);
    let mut client = Client::Http1(sender);
    while !*stop.borrow() {
        let answer = client.send(request(Method::GET, "/api/v2/version")).await.map_err(|error| error.to_string())?;
        {
            let mut seen = seen.lock().unwrap();
            *seen.ended.entry(number).or_default() += 1;
            match answer.status {
                StatusCode::OK => seen.answered += 1,
                StatusCode::SERVICE_UNAVAILABLE if answer.headers.contains_key("retry-after") => {
                    seen.put_off.push(Instant::now());
                }
                // After `refresh.wait`, the proxy sends the old token and passes the upstream's response on.
                StatusCode::UNAUTHORIZED => seen.put_off.push(Instant::now()),
                status => seen.failures.push((Instant::now(), format!("{address}: {status}: {}", answer.text()))),
            }
        }
        // Limits the load: the test needs many clients, not fast ones.
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}
