//! The program is killed at every step of a rotation, and at random moments.
//!
//! Only a response that was not written yet is lost. The program reports the loss, and a new grant repairs it while the proxy runs.
//!
//! `KILLS=2000` runs the whole matrix. `SEED` repeats a run.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use futures_util::future::{Either, join_all, select};
use http::StatusCode;
use rustix::process::Signal;
use serde_json::{Value, json};
use simulator::{Latency, Options, Simulator};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::commands::{import, run};
use crate::judge::{Found, Judge};
use crate::pipe::{Pipe, split, stop_at};
use crate::postgres::Postgres;
use crate::random::Random;
use crate::site::Site;
use crate::support::{Proxy, Setup};
use crate::tally::{IN_A_ROTATION, IN_A_START, Tally};

/// How the program dies.
#[derive(Clone, Copy, Debug)]
enum Death {
    /// At this point of a rotation.
    At(&'static str),
    /// This long after a rotation began.
    Later(Duration),
    /// This long after the process started.
    Young(Duration),
}

/// How a person supplies a new grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Given {
    /// The whole response of the server.
    Pair,
    /// A refresh token alone, which the running proxy presents.
    Bare,
    /// A refresh token alone, which `import` presents, because the proxy is suspended meanwhile.
    BareToASuspendedProxy,
}

/// One grant in one store, and one process after the other.
struct Lane {
    site: Site,
    simulator: Simulator,
    pipe: Pipe,
    setup: Setup,
    judge: Judge,
    /// The end of the lease of the last dead process.
    leased_until: Instant,
    /// Nobody has taken that lease over yet.
    is_leased: bool,
    /// The last dead process noted that the grant needs a login, so the next one presents nothing.
    rests: bool,
}

const FILE: [&str; 14] = [
    "leased",
    "written",
    "flushed",
    "renamed",
    "intended",
    "calling",
    "called",
    "answered",
    "written 2",
    "flushed 2",
    "renamed 2",
    "committed",
    "released",
    "published",
];

const POSTGRES: [&str; 14] = [
    "lease changed",
    "lease committed",
    "leased",
    "document changed",
    "document committed",
    "intended",
    "calling",
    "called",
    "answered",
    "document changed 2",
    "document committed 2",
    "committed",
    "released",
    "published",
];

const KUBERNETES: [&str; 14] = [
    "lease sending",
    "lease stored",
    "leased",
    "document sending",
    "document stored",
    "intended",
    "calling",
    "called",
    "answered",
    "document sending 2",
    "document stored 2",
    "committed",
    "released",
    "published",
];

/// The file store has written the result and has not renamed it.
const WRITTEN: [&str; 2] = ["written 2", "flushed 2"];

/// A refused rotation reaches neither a commit nor a publication.
const OF_SUCCESS: [&str; 2] = ["committed", "published"];

/// A rotation and the start of a process take less time. A random death can happen at every moment of them.
const ROTATION: Duration = Duration::from_millis(60);
const START: Duration = Duration::from_millis(80);

/// `oauth.request_timeout`, and the length of a lease with it.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
const LEASE: Duration = REQUEST_TIMEOUT.saturating_add(Duration::from_secs(15));

/// The time for a start of the program on a busy machine.
const IMPORT: Duration = Duration::from_secs(10);

/// "Within a second" on a busy machine.
const SOON: Duration = Duration::from_secs(3);

/// The number of kills. Half of them happen in each store; in the cluster too, if there is one.
fn kills() -> usize {
    std::env::var("KILLS").ok().map_or(100, |text| text.parse().unwrap())
}

#[tokio::test]
async fn with_the_file_store() {
    // The locks of a process end with it, so the next one waits for nothing. More lanes would only wait for the processor.
    let lanes = (0..4).map(|_| Site::File).collect();
    let tally = matrix("file", &FILE, lanes, kills().div_ceil(2)).await;
    for point in WRITTEN {
        assert_eq!(tally.at(point).1, 0, "a grant was lost at {point} although its successor was written");
    }
    let (moments, lost) = (tally.at_any_moment(), tally.after_the_answer);
    assert!(lost * 50 <= moments.max(50), "{lost} of {moments} kills lost a grant whose answer had arrived: over 2 %");
}

#[tokio::test]
async fn with_postgresql() {
    // The lease of a dead process must run out. With many grants, other processes die meanwhile.
    let server = Postgres::start();
    let kills = kills().div_ceil(2);
    let lanes = (0..kills.min(50)).map(|lane| Site::postgres(&server, lane));
    matrix("postgres", &POSTGRES, lanes.collect(), kills).await;
}

#[tokio::test]
async fn with_kubernetes() {
    let kills = kills().div_ceil(2);
    let mut lanes = Vec::new();
    while lanes.len() < kills.min(50) {
        let Some(site) = Site::kubernetes().await else { return };
        lanes.push(site);
    }
    matrix("kubernetes", &KUBERNETES, lanes, kills).await;
}

async fn matrix(store: &str, points: &[&'static str], sites: Vec<Site>, kills: usize) -> Tally {
    let began = Instant::now();
    let mut random = Random::new(&format!("{kills} kills, {store} store"));
    let mut deaths: Vec<Death> = (0..kills)
        .map(|number| match number % 4 {
            place @ (0 | 1) => Death::At(points[(number / 4 * 2 + place) % points.len()]),
            2 => Death::Later(random.duration(ROTATION)),
            _ => Death::Young(random.duration(START)),
        })
        .collect();
    random.shuffle(&mut deaths);
    let (deaths, tally, random) = (RefCell::new(deaths), RefCell::new(Tally::default()), RefCell::new(random));
    join_all(sites.into_iter().map(|site| async {
        let mut lane = Lane::new(site).await;
        loop {
            let Some(death) = deaths.borrow_mut().pop() else { break };
            if lane.rests || lane.judge.lost() && (!death.meets_a_refusal() || random.borrow_mut().coin()) {
                let given = Given::ALL[random.borrow_mut().below(Given::ALL.len())];
                let took = lane.recover(given).await;
                tally.borrow_mut().recovery(took);
            }
            let was_lost = lane.judge.lost();
            let (found, was_answered) = lane.die(death).await;
            tally.borrow_mut().death(death.name(), !was_lost && found == Found::Spent, was_answered);
        }
        if lane.judge.lost() {
            let took = lane.recover(Given::Bare).await;
            tally.borrow_mut().recovery(took);
        }
        lane.end().await;
    }))
    .await;
    let tally = tally.into_inner();
    eprintln!("{store} store, {kills} kills in {:.0?}: {tally}", began.elapsed());
    assert_eq!(tally.count(), (u32::try_from(kills).unwrap(), tally.recovered), "each loss was recovered from, once");
    tally
}

// === impl Given ===

impl Given {
    const ALL: [Self; 3] = [Self::Pair, Self::Bare, Self::BareToASuspendedProxy];
}

// === impl Death ===

impl Death {
    fn name(self) -> &'static str {
        match self {
            Self::At(point) => point,
            Self::Later(_) => IN_A_ROTATION,
            Self::Young(_) => IN_A_START,
        }
    }

    /// Whether the process reaches this point although the refresh token is spent.
    fn meets_a_refusal(self) -> bool {
        !matches!(self, Self::At(point) if OF_SUCCESS.contains(&split(point).0))
    }
}

// === impl Lane ===

impl Lane {
    async fn new(site: Site) -> Self {
        let latency = Latency { before_commit: Duration::from_millis(4), after_commit: Duration::from_millis(4) };
        let simulator = Simulator::start(Options { latency, rate_limit: None, ..Options::league8() }).await.unwrap();
        let grant = simulator.grant();
        let pipe = Pipe::new();
        let setup = Proxy::without_grant(&simulator)
            .set("OAUTH__REFRESH_TOKEN", grant.refresh_token)
            .set("OAUTH__REQUEST_TIMEOUT", format!("{}s", REQUEST_TIMEOUT.as_secs()))
            // Longer than the lease of a dead holder.
            .set("REFRESH__WAIT", "60s");
        let judge = Judge::new(simulator.clone(), grant.refresh);
        Self {
            setup: site.configure(setup),
            judge,
            site,
            simulator,
            pipe,
            leased_until: Instant::now(),
            is_leased: false,
            rests: false,
        }
    }

    /// Also returns whether the response to its last call had arrived.
    async fn die(&mut self, death: Death) -> (Found, bool) {
        let setup = self.pipe.report(self.setup.again());
        let pid = match death {
            Death::At(point) => self.stop_and_kill(stop_at(setup, point), point).await,
            Death::Later(after) => self.kill_in_a_rotation(setup, after).await,
            Death::Young(after) => {
                let process = setup.spawn();
                let pid = process.pid();
                tokio::time::sleep(after).await;
                process.kill().await;
                pid
            }
        };
        let steps = self.pipe.take(pid);
        if let Death::At(point) = death {
            assert_eq!(
                steps.last().map(String::as_str),
                Some(split(point).0),
                "it did not stand still there: {steps:?}"
            );
        }
        // A lock of the file store ends with its process. A lease in a database or a cluster must run out.
        let times = |step: &str| steps.iter().filter(|reached| *reached == step).count();
        if times("lease changed") + times("lease sending") > times("released") {
            self.leased_until = Instant::now() + LEASE;
            self.is_leased = true;
        } else if times("released") > 0 {
            self.is_leased = false;
        }
        let document = self.site.document(&self.setup).await;
        self.rests = document.as_ref().is_some_and(|document| document["needs_login"].is_string());
        let last = steps.iter().rfind(|step| ["called", "answered"].contains(&step.as_str()));
        (self.judge.after(&steps, document).await, last.is_some_and(|step| step == "answered"))
    }

    async fn stop_and_kill(&mut self, setup: Setup, point: &'static str) -> u32 {
        let mut process = setup.spawn();
        let pid = process.pid();
        let stopped = pin!(self.pipe.stopped(pid, point));
        // A rotation at the start, for example after an ambiguous call, may reach the point before the process listens.
        let asking = match select(stopped, pin!(process.addresses())).await {
            Either::Left(_) => None,
            Either::Right(((_, admin), stopped)) => {
                let asking = ask_for_a_refresh(admin);
                stopped.await;
                Some(asking)
            }
        };
        process.kill().await;
        drop(asking);
        pid
    }

    async fn kill_in_a_rotation(&mut self, setup: Setup, after: Duration) -> u32 {
        let proxy = setup.start().await;
        let pid = proxy.pid();
        if !self.judge.lost() {
            assert_eq!(proxy.get("/api/v2/version").await.status, StatusCode::OK, "{}", proxy.log().join("\n"));
        }
        let _asking = ask_for_a_refresh(proxy.admin_address());
        self.pipe.reached(pid, "leased", 1).await;
        tokio::time::sleep(after).await;
        proxy.kill().await;
        pid
    }

    /// The program and its commands report the loss. A new grant repairs it while the proxy runs. Returns how long that took.
    async fn recover(&mut self, new_grant: Given) -> Duration {
        let begin = self.pipe.all().len();
        let proxy = self.pipe.report(self.setup.again()).start().await;
        let status = proxy.wait_for_status("needs a login", |status| status["state"] == "needs_login").await;
        let reason = status["reason"].as_str().unwrap().to_owned();
        assert!(reason.contains("that answer probably held the successor, and was lost"), "{reason}");
        let beside = self.setup.again().set("ADMIN__LISTEN", proxy.admin_address());
        let (exit, said, _) = run(&beside, &["status", "--json"], "").await;
        let said: Value = serde_json::from_str(&said).unwrap();
        assert_eq!((exit, &said["state"], &said["reason"]), (3, &json!("needs_login"), &json!(reason)));

        let grant = self.simulator.grant();
        let answer = json!({
            "access_token": grant.access_token, "refresh_token": grant.refresh_token, "token_type": "Bearer", "expires_in": 3600
        });
        let input = if new_grant == Given::Pair { answer.to_string() } else { grant.refresh_token };
        // It waits for the lease of a dead holder, as for a refresh in flight.
        let waits = match self.site.waits_from_sight() {
            true if self.is_leased => LEASE,
            true => Duration::ZERO,
            false => self.leased_until.saturating_duration_since(Instant::now()),
        };
        let given = Instant::now();
        if new_grant == Given::BareToASuspendedProxy {
            proxy.signal(Signal::STOP);
        }
        // If the proxy is slow, `import` presents the refresh token itself. So its steps are reported too.
        import(&self.pipe.report(self.setup.again()), &input).await;
        proxy.signal(Signal::CONT);
        let began = Instant::now();
        assert!(began - given < waits + IMPORT, "the import took {:?}, and had to wait for {waits:?}", began - given);
        let before = status["generation"].as_u64().unwrap();
        let renewed = |status: &Value| status["state"] == "valid" && status["generation"].as_u64().unwrap() > before;
        proxy.wait_for_status("valid again", renewed).await;
        let took = began.elapsed();
        assert!(took < SOON, "{took:?} after the import");
        assert_eq!(proxy.get("/api/v2/version").await.status, StatusCode::OK);
        self.judge.given(grant.refresh);
        self.rests = false;
        proxy.stop().await;
        let steps = self.pipe.take_since(begin);
        assert_eq!(self.judge.after(&steps, self.site.document(&self.setup).await).await, Found::Living);
        took
    }

    /// At the end, the grant works and rotates.
    async fn end(mut self) {
        let proxy = self.pipe.report(self.setup.again()).start().await;
        let pid = proxy.pid();
        assert_eq!(proxy.get("/api/v2/version").await.status, StatusCode::OK);
        let refreshed = proxy.refresh().await;
        assert_eq!(refreshed.status, StatusCode::OK, "{}", refreshed.text());
        proxy.stop().await;
        let steps = self.pipe.take(pid);
        assert_eq!(self.judge.after(&steps, self.site.document(&self.setup).await).await, Found::Living);
    }
}

/// Requests a refresh until one was made or has failed. Within a second of the last refresh, none is made. Ends when dropped.
pub struct Asking(tokio::task::JoinHandle<()>);

impl Drop for Asking {
    fn drop(&mut self) {
        self.0.abort();
    }
}

pub fn ask_for_a_refresh(admin: SocketAddr) -> Asking {
    let request = format!("POST /refresh HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
    Asking(tokio::spawn(async move {
        let ask = || async {
            let mut stream = TcpStream::connect(admin).await?;
            stream.write_all(request.as_bytes()).await?;
            let mut answer = String::new();
            tokio::io::AsyncReadExt::read_to_string(&mut stream, &mut answer).await?;
            Ok::<_, std::io::Error>(answer)
        };
        // The process may have been suspended already.
        while let Ok(answer) = ask().await
            && answer.starts_with("HTTP/1.1 200")
            && !answer.contains(r#""trigger":"manual""#)
        {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }))
}
