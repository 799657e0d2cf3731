//! A restored backup, or a database that lost its last commits, costs no grant while a process holds the live one.
//!
//! The server's ledger shows that no refresh token is presented twice.

use std::sync::Arc;

use http::StatusCode;
use serde_json::Value;
use simulator::{Options, Revocation, Simulator};
use tokio_postgres::NoTls;

use testkit::postgres::Postgres;
use testkit::{Proxy, Setup};

/// The store of one grant. The test reads and writes it without the program.
enum Site {
    File(Setup),
    Postgres { server: Arc<Postgres>, name: &'static str },
}

impl Site {
    /// The stores, each with the setup of a proxy on it.
    fn each(simulator: &Simulator, name: &'static str) -> [(Self, Setup); 2] {
        let server = Postgres::shared();
        let file = Proxy::before(simulator);
        let row = Proxy::before(simulator)
            .unset("STORE__PATH")
            .set("STORE__KIND", "postgres")
            .set("STORE__URL", server.url())
            .set("STORE__NAME", name);
        [(Self::File(file.again()), file), (Self::Postgres { server, name }, row)]
    }

    async fn client(server: &Postgres) -> tokio_postgres::Client {
        let (client, connection) = tokio_postgres::connect(&server.url(), NoTls).await.unwrap();
        tokio::spawn(connection);
        client
    }

    async fn back_up(&self) -> String {
        match self {
            Self::File(setup) => std::fs::read_to_string(setup.store()).unwrap(),
            Self::Postgres { server, name } => {
                let sql = "SELECT document FROM bearer_proxy_grant WHERE name = $1";
                Self::client(server).await.query_one(sql, &[name]).await.unwrap().get(0)
            }
        }
    }

    /// A person restores a file by a rename. A database comes back without its last commits.
    async fn restore(&self, backup: &str) {
        match self {
            Self::File(setup) => {
                let beside = setup.folder().join("backup");
                std::fs::write(&beside, backup).unwrap();
                std::fs::rename(beside, setup.store()).unwrap();
            }
            Self::Postgres { server, name } => {
                let sql = "UPDATE bearer_proxy_grant SET document = $2, revision = revision + 1 WHERE name = $1 \
                           RETURNING pg_notify('bearer_proxy_grant', name)";
                Self::client(server).await.query(sql, &[name, &backup]).await.unwrap();
            }
        }
    }

    async fn document(&self) -> Value {
        serde_json::from_str(&self.back_up().await).unwrap()
    }

    /// Waits until the store holds this generation.
    async fn holds(&self, proxy: &Proxy, generation: u64) {
        let wanted = |status: &Value| status["generation"] == generation && status["persisted"] == true;
        loop {
            proxy.wait_for_status("stored", wanted).await;
            if self.document().await["generation"] == generation {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }
}

fn presented_at_most(simulator: &Simulator) -> Option<usize> {
    simulator.with_ledger(|ledger| ledger.calls_per_refresh_token().into_values().max())
}

async fn refresh(proxy: &Proxy) {
    let answer = proxy.refresh().await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
}

/// The program stores the live grant again, and it works.
async fn recovers(site: &Site, proxy: &Proxy, simulator: &Simulator, generation: u64) {
    site.holds(proxy, generation).await;
    refresh(proxy).await;
    assert_eq!(proxy.get("/api/v2/version").await.status, StatusCode::OK);
    assert_eq!(presented_at_most(simulator), Some(1));
}

#[tokio::test]
async fn restored_after_a_restart() {
    let simulator = Simulator::start(Options::league8()).await.unwrap();
    for (site, setup) in Site::each(&simulator, "restart") {
        let proxy = setup.start().await;
        proxy.ready().await;
        let backup = site.back_up().await;
        refresh(&proxy).await;
        // After the restart, no process has seen the token of the backup.
        let proxy = proxy.stop().await.start().await;
        proxy.ready().await;
        site.restore(&backup).await;
        recovers(&site, &proxy, &simulator, 2).await;
        proxy.stop().await;
    }
}

#[tokio::test]
async fn older_than_many_refreshes() {
    let simulator = Simulator::start(Options { rate_limit: None, ..Options::league8() }).await.unwrap();
    for (site, setup) in Site::each(&simulator, "many") {
        let proxy = setup.start().await;
        proxy.ready().await;
        let backup = site.back_up().await;
        for _ in 0..17 {
            refresh(&proxy).await;
        }
        site.restore(&backup).await;
        recovers(&site, &proxy, &simulator, 18).await;
        proxy.stop().await;
    }
}

#[tokio::test]
async fn of_any_age_at_any_time() {
    let simulator = Simulator::start(Options { rate_limit: None, ..Options::league8() }).await.unwrap();
    for (site, setup) in Site::each(&simulator, "any") {
        let mut proxy = setup.start().await;
        proxy.ready().await;
        let (mut backups, mut generation) = (vec![site.back_up().await], 1);
        for round in 0..12 {
            // Every second one follows without a pause, so the refresh can be at any step.
            if round % 2 == 0 {
                refresh(&proxy).await;
            } else {
                let backup = backups[round * 7 % backups.len()].clone();
                let (answer, ()) = tokio::join!(proxy.refresh(), site.restore(&backup));
                if answer.status != StatusCode::OK {
                    site.holds(&proxy, generation).await;
                    refresh(&proxy).await;
                }
            }
            generation += 1;
            site.holds(&proxy, generation).await;
            backups.push(site.back_up().await);
            if round % 3 == 0 {
                proxy = proxy.stop().await.start().await;
                proxy.ready().await;
            }
            site.restore(&backups[round * 5 % (backups.len() - 1)]).await;
            site.holds(&proxy, generation).await;
        }
        recovers(&site, &proxy, &simulator, generation).await;
        proxy.stop().await;
    }
}

#[tokio::test]
async fn from_before_an_import() {
    let simulator = Simulator::start(Options::league8()).await.unwrap();
    for (site, setup) in Site::each(&simulator, "import") {
        let proxy = setup.start().await;
        proxy.ready().await;
        refresh(&proxy).await;
        let backup = site.back_up().await;
        let (code, _, err) = proxy.commands().import(&[], &simulator.grant().refresh_token).await;
        assert_eq!(code, 0, "{err}");
        site.holds(&proxy, 3).await;
        site.restore(&backup).await;
        recovers(&site, &proxy, &simulator, 3).await;
        proxy.stop().await;
    }
}

#[tokio::test]
async fn a_restored_grant_is_tried_once_the_present_one_was_refused() {
    let simulator = Simulator::start(Options::league8()).await.unwrap();
    for (site, setup) in Site::each(&simulator, "refused") {
        let proxy = setup.start().await;
        proxy.ready().await;
        let backup: Value = serde_json::from_str(&site.back_up().await).unwrap();
        refresh(&proxy).await;
        let present = site.document().await["refresh_token"].as_str().unwrap().to_owned();
        simulator.revoke(Revocation::Refresh(simulator.serial(&present).unwrap()));
        assert_eq!(proxy.refresh().await.status, StatusCode::SERVICE_UNAVAILABLE);
        proxy.wait_for_status("over", |status| status["state"] == "needs_login").await;
        // The restored token is spent. The grant still needs a login, for another reason.
        site.restore(&backup.to_string()).await;
        proxy.wait_for_log("the try", |line| line["message"].as_str().unwrap().contains("it is tried")).await;
        site.holds(&proxy, 2).await;
        // The restored token is live, and becomes the grant.
        let mut lives = backup.clone();
        lives["refresh_token"] = simulator.grant().refresh_token.into();
        proxy.wait_for_status("over again", |status| status["state"] == "needs_login").await;
        site.restore(&lives.to_string()).await;
        site.holds(&proxy, 3).await;
        proxy.ready().await;
        assert_eq!(proxy.get("/api/v2/version").await.status, StatusCode::OK);
        proxy.stop().await;
    }
}
