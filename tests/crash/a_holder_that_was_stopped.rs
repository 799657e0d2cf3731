//! A process is suspended in a token call for longer than its lease. If no other record was stored meanwhile, its late result is
//! committed, because it may hold the only live successor. Otherwise, it writes nothing.

use std::time::Duration;

use futures_util::future::join_all;
use http::StatusCode;
use rustix::process::Signal;
use serde_json::{Value, json};
use simulator::{Latency, Options, Reuse, Simulator};
use testkit::kubernetes::Cluster;

use crate::commands::import;
use crate::pipe::{Pipe, stop_at};
use crate::postgres::Postgres;
use crate::site::Site;
use crate::support::{Answer, Proxy, Setup};

/// What happens while the holder is suspended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meanwhile {
    Nothing,
    /// A peer takes the lease over and presents the token again. The server refuses it.
    PeerRefused,
    /// The same, and the server accepts it again.
    PeerGranted,
    /// A person stores another grant.
    Imported,
    /// The holder has not sent its call yet. A peer sends one.
    PeerInstead,
}

struct Stopped {
    site: Site,
    simulator: Simulator,
    setup: Setup,
    holder: Proxy,
    refreshing: tokio::task::JoinHandle<Answer>,
}

/// The length of a lease: one call and the margin for its writes.
const CALL: Duration = Duration::from_secs(1);
const LEASE: Duration = Duration::from_secs(16);
const ALL: [Meanwhile; 5] =
    [Meanwhile::Nothing, Meanwhile::PeerRefused, Meanwhile::PeerGranted, Meanwhile::Imported, Meanwhile::PeerInstead];

#[tokio::test]
async fn of_the_file_store() {
    join_all(ALL.map(|meanwhile| story(Site::File, meanwhile))).await;
}

#[tokio::test]
async fn of_postgresql() {
    let server = Postgres::start();
    join_all(ALL.map(|meanwhile| story(Site::postgres(&server, format!("{meanwhile:?}")), meanwhile))).await;
}

#[tokio::test]
async fn of_kubernetes() {
    let Some(cluster) = Cluster::shared().await else { return };
    join_all(ALL.map(|meanwhile| async move { story(Site::in_cluster(cluster).await, meanwhile).await })).await;
}

/// A process that waits for the lease has presented nothing. A shutdown does not make it begin.
#[tokio::test]
async fn is_not_waited_for_by_a_peer_that_is_told_to_stop() {
    let stopped = Stopped::new(Site::File, Meanwhile::Nothing).await;
    let mut peer = stopped.setup.again().start().await;
    let began = tokio::time::Instant::now();
    peer.signal(Signal::TERM);
    assert!(peer.ended().await.success());
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    assert!(peer.log().iter().any(|line| line.contains("a refresh is in flight")), "{:#?}", peer.log());
    stopped.the_late_answer_counts(2).await.stop().await;
}

async fn story(site: Site, meanwhile: Meanwhile) {
    let stopped = Stopped::new(site, meanwhile).await;
    let _simulator = stopped.simulator.clone();
    match meanwhile {
        Meanwhile::Nothing => {
            tokio::time::sleep(LEASE + Duration::from_secs(1)).await;
            stopped.the_late_answer_counts(2).await.stop().await;
        }
        Meanwhile::PeerRefused => {
            let peer = stopped.setup.again().start().await;
            let status = peer.wait_for_status("refused", |status| status["state"] == "needs_login").await;
            assert!(status["reason"].as_str().unwrap().contains("probably held the successor"), "{status}");
            let holder = stopped.the_late_answer_counts(3).await;
            // The peer continues with it.
            peer.wait_for_status("valid", |status| status["state"] == "valid").await;
            let answer = peer.get("/api/v2/version").await;
            assert_eq!(answer.status, StatusCode::OK, "{}\n{}", answer.text(), peer.log().join("\n"));
            holder.stop().await;
            peer.stop().await;
        }
        Meanwhile::PeerGranted | Meanwhile::PeerInstead => {
            let peer = stopped.setup.again().start().await;
            peer.wait_for_status("renewed", |status| status["generation"] == 2).await;
            let calls = if meanwhile == Meanwhile::PeerInstead { 2 } else { 3 };
            stopped.the_late_answer_writes_nothing(calls).await.stop().await;
            peer.stop().await;
        }
        Meanwhile::Imported => {
            let grant = stopped.simulator.grant();
            let answer = json!({"access_token": grant.access_token, "refresh_token": grant.refresh_token});
            import(&stopped.setup, &answer.to_string()).await;
            stopped.the_late_answer_writes_nothing(2).await.stop().await;
        }
    }
}

// === impl Stopped ===

impl Stopped {
    /// A holder that is suspended in its second call.
    async fn new(site: Site, meanwhile: Meanwhile) -> Self {
        let reuse = match meanwhile {
            Meanwhile::PeerGranted => Reuse::Leeway(Duration::from_secs(3600)),
            _ => Reuse::Refuse,
        };
        let latency = Latency { after_commit: Duration::from_millis(300), ..Latency::default() };
        let simulator = Simulator::start(Options { latency, reuse, ..Options::league8() }).await.unwrap();
        let setup =
            site.configure(Proxy::before(&simulator)).set("OAUTH__REQUEST_TIMEOUT", format!("{}s", CALL.as_secs()));
        let mut pipe = Pipe::new();
        let first = pipe.report(setup.again());
        // `intended` comes once in the first rotation, which brings the first token, and once in the second.
        let first = if meanwhile == Meanwhile::PeerInstead { stop_at(first, "intended 2") } else { first };
        let holder = first.start().await;
        holder.ready().await;
        holder.rested().await;
        let admin = holder.admin_address();
        let refreshing = tokio::spawn(async move {
            let mut request = crate::support::request(http::Method::POST, "/refresh");
            request.headers_mut().insert("host", admin.to_string().parse().unwrap());
            crate::support::Client::http1(admin).await.send(request).await.unwrap()
        });
        if meanwhile == Meanwhile::PeerInstead {
            pipe.stopped(holder.pid(), "intended 2").await;
        } else {
            simulator.wait_until(|ledger| ledger.committed_calls() == 2).await.unwrap();
            holder.signal(Signal::STOP);
        }
        Self { site, simulator, setup, holder, refreshing }
    }

    /// Continues the holder, whose result is committed. `calls`: the number of all calls.
    async fn the_late_answer_counts(self, calls: usize) -> Proxy {
        let (_, after, holder) = self.go_on(calls).await;
        assert_eq!(
            (&after["generation"], &after["intent"], &after["needs_login"]),
            (&json!(2), &Value::Null, &Value::Null)
        );
        holder
    }

    /// Continues the holder, whose result or call no longer counts.
    async fn the_late_answer_writes_nothing(self, calls: usize) -> Proxy {
        let (before, after, holder) = self.go_on(calls).await;
        assert_eq!(before, after);
        holder
    }

    /// The document before and after.
    async fn go_on(self, calls: usize) -> (Value, Value, Proxy) {
        let Self { site, simulator, setup, holder, refreshing } = self;
        let before = site.document(&setup).await.unwrap();
        holder.signal(Signal::CONT);
        let refreshed = refreshing.await.unwrap();
        assert_eq!(refreshed.status, StatusCode::OK, "{}\n{}", refreshed.text(), holder.log().join("\n"));
        let status = holder.status().await;
        assert_eq!((&status["generation"], &status["persisted"]), (&json!(2), &json!(true)), "{status}");
        assert_eq!(simulator.with_ledger(|ledger| ledger.token_calls().len()), calls);
        assert_eq!(holder.get("/api/v2/version").await.status, StatusCode::OK, "{}", holder.log().join("\n"));
        // The server accepts the stored refresh token.
        let after = site.document(&setup).await.unwrap();
        assert_eq!(holder.refresh().await.status, StatusCode::OK);
        assert_eq!(simulator.with_ledger(|ledger| ledger.token_calls().len()), calls + 1);
        (before, after, holder)
    }
}
