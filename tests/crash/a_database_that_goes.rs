//! The database is killed and restarted, or its connections are cut, at each step of a rotation. Each refresh token is presented once,
//! and its successor is stored.

use std::time::Duration;

use futures_util::future::join_all;
use http::StatusCode;
use rustix::process::Signal;
use simulator::{Options, Simulator};

use crate::pipe::{Pipe, stop_at};
use crate::postgres::Postgres;
use crate::site::Site;
use crate::support::Proxy;

/// The steps of the second rotation. The first one brings the first token.
const POINTS: [&str; 13] = [
    "lease changed 2",
    "lease committed 2",
    "leased 2",
    "document changed 3",
    "document committed 3",
    "intended 2",
    "calling 2",
    "called 2",
    "answered 2",
    "document changed 4",
    "document committed 4",
    "committed 2",
    "released 2",
];

/// A process that is suspended at a step.
struct Standing {
    point: &'static str,
    simulator: Simulator,
    proxy: Proxy,
    /// The request for the refresh in which the process is suspended.
    _refreshing: tokio::task::JoinHandle<()>,
}

#[tokio::test]
async fn killed_and_restarted() {
    let mut server = Postgres::start();
    let standing = join_all(POINTS.map(|point| Standing::at(point, &server))).await;
    server.kill();
    go_on(&standing);
    // Longer than the time limit of a store operation.
    tokio::time::sleep(Duration::from_secs(6)).await;
    join_all(standing.iter().map(Standing::serves)).await;
    server.restart();
    join_all(standing.iter().map(Standing::ends_well)).await;
}

#[tokio::test]
async fn killed_and_back_at_once() {
    let mut server = Postgres::start();
    let standing = join_all(POINTS.map(|point| Standing::at(point, &server))).await;
    server.kill();
    server.restart();
    go_on(&standing);
    join_all(standing.iter().map(Standing::ends_well)).await;
}

#[tokio::test]
async fn cut_off() {
    let server = Postgres::start();
    let standing = join_all(POINTS.map(|point| Standing::at(point, &server))).await;
    let (client, connection) = tokio_postgres::connect(&server.url(), tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'bearer-proxy'";
    assert!(client.query(cut, &[]).await.unwrap().len() >= POINTS.len());
    go_on(&standing);
    join_all(standing.iter().map(Standing::ends_well)).await;
}

fn go_on(standing: &[Standing]) {
    for standing in standing {
        standing.proxy.signal(Signal::CONT);
    }
}

// === impl Standing ===

impl Standing {
    async fn at(point: &'static str, server: &Postgres) -> Self {
        let simulator = Simulator::start(Options::league8()).await.unwrap();
        let mut pipe = Pipe::new();
        let setup = Site::postgres(server, point).configure(Proxy::before(&simulator));
        let proxy = stop_at(pipe.report(setup), point).set("OAUTH__REQUEST_TIMEOUT", "5s").start().await;
        proxy.ready().await;
        proxy.rested().await;
        let admin = proxy.admin_address();
        let refreshing = tokio::spawn(async move {
            let mut request = crate::support::request(http::Method::POST, "/refresh");
            request.headers_mut().insert("host", admin.to_string().parse().unwrap());
            // The response depends on the step.
            let _ = crate::support::Client::http1(admin).await.send(request).await;
        });
        pipe.stopped(proxy.pid(), point).await;
        Self { point, simulator, proxy, _refreshing: refreshing }
    }

    /// The token works, whatever happened to the database.
    async fn serves(&self) {
        let answer = self.proxy.get("/api/v2/version").await;
        assert_eq!(answer.status, StatusCode::OK, "{}: {}\n{}", self.point, answer.text(), self.proxy.log().join("\n"));
    }

    async fn ends_well(&self) {
        let done = |status: &serde_json::Value| status["generation"] == 2 && status["persisted"] == true;
        self.proxy.wait_for_status(self.point, done).await;
        self.serves().await;
        let calls = self.simulator.with_ledger(|ledger| ledger.calls_per_refresh_token());
        assert!(calls.values().all(|count| *count == 1), "{}: {calls:?}\n{}", self.point, self.proxy.log().join("\n"));
        assert_eq!(calls.len(), 2, "{}", self.point);
    }
}
