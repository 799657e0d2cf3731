//! Five replicas under load, while tokens are revoked and everything below them fails.
//!
//! By the ledger of the server, a refresh token is presented again only after a replica was killed. While the token is valid, no fault of
//! the cluster causes a failed request. `CHAOS=720` runs for 12 minutes, so that tokens of the service account expire meanwhile.

use std::time::Duration;

use futures_util::future::join_all;
use http::Method;
use rustix::process::Signal;
use serde_json::json;
use simulator::{Kind, Latency, Options, Revocation, Simulator};
use testkit::Proxy;
use testkit::random::Random;
use tokio::time::Instant;

use crate::fleet::{Fleet, LEASE, TOKEN};
use crate::load::Load;

const REPLICAS: usize = 5;

struct Chaos {
    fleet: Fleet,
    random: Random,
    loads: Vec<Load>,
    killed: usize,
    /// Grants that were lost between the server's commit and ours.
    lost: usize,
    answered: u64,
    /// Responses other than 200 during a revocation, a kill or a suspension.
    put_off: usize,
    /// The slowest return of a deleted or replaced Secret.
    slowest: Duration,
}

fn seconds() -> Duration {
    Duration::from_secs(std::env::var("CHAOS").ok().map_or(60, |text| text.parse().unwrap()))
}

#[tokio::test]
async fn no_token_is_presented_twice_whatever_fails() {
    let latency = Latency { before_commit: Duration::from_millis(10), after_commit: Duration::from_millis(10) };
    let simulator = Simulator::start(Options { latency, rate_limit: None, ..Options::league8() }).await.unwrap();
    let Some(fleet) = Fleet::start(simulator, REPLICAS).await else { return };
    let loads = fleet.replicas.iter().map(|replica| Load::on(replica.address())).collect();
    let random = Random::new("chaos");
    let mut chaos =
        Chaos { fleet, random, loads, killed: 0, lost: 0, answered: 0, put_off: 0, slowest: Duration::ZERO };
    let (began, mut renewed, mut round) = (Instant::now(), Instant::now(), 0);
    while began.elapsed() < seconds() || round < STEPS {
        chaos.step(round % STEPS).await;
        if renewed.elapsed() > TOKEN / 3 {
            chaos.fleet.cluster.renew_token(&chaos.fleet.account, TOKEN).await;
            renewed = Instant::now();
        }
        round += 1;
    }
    chaos.judge(began.elapsed()).await;
}

const STEPS: usize = 9;

// === impl Chaos ===

impl Chaos {
    async fn step(&mut self, step: usize) {
        match step {
            0 | 4 => self.revoke().await,
            1 => self.kill().await,
            2 => self.suspend().await,
            3 => {
                self.calm("the API server was suspended", async |fleet| {
                    fleet.cluster.signal_api_server(Signal::STOP);
                    tokio::time::sleep(Duration::from_secs(6)).await;
                    fleet.cluster.signal_api_server(Signal::CONT);
                })
                .await
            }
            5 => {
                self.calm("the API server was killed, and all watches with it", async |fleet| {
                    fleet.cluster.kill_api_server();
                    fleet.cluster.start_api_server();
                    fleet.cluster.ready().await;
                })
                .await
            }
            6 => {
                self.calm("etcd was killed", async |fleet| {
                    fleet.cluster.kill_etcd();
                    fleet.cluster.start_etcd();
                    fleet.cluster.ready().await;
                })
                .await
            }
            7 => self.lose_the_secret(false).await,
            _ => self.lose_the_secret(true).await,
        }
    }

    fn revoke_all(&self) {
        self.fleet.simulator.revoke(Revocation::All(Kind::Access));
    }

    /// Revokes the token under all replicas. One of them refreshes it.
    async fn revoke(&mut self) {
        self.fleet.settle().await;
        self.revoke_all();
        self.fleet.settle().await;
        self.tolerate();
    }

    /// Kills a replica around a revocation, and starts another one.
    async fn kill(&mut self) {
        let victim = self.random.below(REPLICAS);
        self.revoke_all();
        tokio::time::sleep(self.random.duration(Duration::from_millis(100))).await;
        self.fleet.replicas.remove(victim).kill().await;
        drop(self.loads.remove(victim));
        self.killed += 1;
        let replica = self.fleet.setup.again().start().await;
        self.loads.insert(victim, Load::on(replica.address()));
        self.fleet.replicas.insert(victim, replica);
        if self.fleet.settle_or_lose().await.is_none() {
            // The victim died between the server's commit and ours. A person supplies a new grant.
            self.lost += 1;
            let grant = self.fleet.simulator.grant();
            let answer = json!({ "access_token": grant.access_token, "refresh_token": grant.refresh_token });
            let (exit, _, error) = self.fleet.setup.import(&[], &answer.to_string()).await;
            assert_eq!(exit, 0, "{error}");
            let adopted = join_all(self.fleet.replicas.iter().map(Proxy::ready));
            adopted.await;
            self.fleet.settle().await;
        }
        self.tolerate();
    }

    /// Suspends a replica for longer than a lease, while the others refresh.
    async fn suspend(&mut self) {
        self.fleet.settle().await;
        let victim = self.random.below(REPLICAS);
        self.fleet.replicas[victim].signal(Signal::STOP);
        self.revoke_all();
        tokio::time::sleep(LEASE + Duration::from_secs(1)).await;
        self.fleet.replicas[victim].signal(Signal::CONT);
        self.fleet.settle().await;
        self.tolerate();
    }

    /// A fault of the cluster while the token is valid. No request fails.
    async fn calm(&mut self, what: &str, fault: impl AsyncFnOnce(&Fleet)) {
        self.fleet.settle().await;
        self.tolerate();
        fault(&self.fleet).await;
        self.demand(what);
        self.fleet.settle().await;
        self.demand(what);
    }

    /// The Secret is deleted, or restored from an old copy. A replica that holds the live grant stores it again.
    async fn lose_the_secret(&mut self, restored: bool) {
        let old = self.fleet.cluster.must(Method::GET, &self.fleet.secret(), None).await["data"].clone();
        self.revoke().await;
        let generation = self.fleet.settle().await;
        self.tolerate();
        let cluster = &self.fleet.cluster;
        if restored {
            cluster.must(Method::PATCH, &self.fleet.secret(), Some(&json!({ "data": old }))).await;
        } else {
            cluster.must(Method::DELETE, &self.fleet.secret(), None).await;
        }
        self.slowest = self.slowest.max(self.fleet.until_stored(generation).await);
        self.demand("the Secret was lost");
        assert_eq!(self.fleet.settle().await, generation, "it cost a refresh");
    }

    fn tolerate(&mut self) {
        for seen in self.loads.iter().map(Load::take) {
            self.answered += seen.answered;
            self.put_off += seen.failed.len();
        }
    }

    fn demand(&mut self, what: &str) {
        for seen in self.loads.iter().map(Load::take) {
            self.answered += seen.answered;
            assert!(seen.failed.is_empty(), "{what}: {:?}\n{}", seen.failed, self.fleet.log());
        }
    }

    async fn judge(mut self, took: Duration) {
        self.fleet.settle().await;
        self.tolerate();
        let (calls, answered) = self
            .fleet
            .simulator
            .with_ledger(|ledger| (ledger.calls_per_refresh_token(), ledger.answered_calls_per_refresh_token()));
        let again = calls.values().filter(|count| **count > 1).count();
        let twice = answered.values().filter(|count| **count > 1).count();
        eprintln!(
            "{REPLICAS} replicas for {took:.0?}: {} refresh tokens, {again} presented again after a kill ({} kills, {} grants lost); \
             {twice} answered twice; {} requests answered, {} put off during a revocation; a lost Secret was back within {:.0?}",
            calls.len(),
            self.killed,
            self.lost,
            self.answered,
            self.put_off,
            self.slowest
        );
        assert!(
            again <= self.killed,
            "{again} refresh tokens were presented twice, and {} replicas killed",
            self.killed
        );
        assert!(twice <= self.lost, "two answers for one refresh token");
        for request in self.fleet.cluster.audited(&self.fleet.account) {
            let verb = request["verb"].as_str().unwrap();
            let named = request["objectRef"]["name"] == "bearer-proxy" || verb == "create" || verb == "watch";
            assert!(named && ["get", "watch", "patch", "create"].contains(&verb), "beyond the Role: {request}");
        }
    }
}
