//! Several processes on one store need a new token at the same moment. One call is made, and all get its token.

use std::time::Duration;

use futures_util::future::join_all;
use http::StatusCode;
use simulator::{Kind, Options, Revocation, Simulator};

use crate::postgres::Postgres;
use crate::site::Site;
use crate::support::Proxy;

const OWNERS: usize = 4;
const ROUNDS: usize = 10;

#[tokio::test]
async fn on_the_file_store() {
    race(Site::File).await;
}

#[tokio::test]
async fn on_postgresql() {
    let server = Postgres::start();
    race(Site::postgres(&server, "race")).await;
}

#[tokio::test]
async fn on_kubernetes() {
    if let Some(site) = Site::kubernetes().await {
        race(site).await;
    }
}

async fn race(site: Site) {
    let life = Duration::from_secs(4);
    let options = Options { access_lifetime: life, rate_limit: None, ..Options::league8() };
    let simulator = Simulator::start(options).await.unwrap();
    let calls = || simulator.with_ledger(|ledger| ledger.token_calls().len());
    let setup = site.configure(Proxy::before(&simulator)).set("REFRESH__MAX_PER_HOUR", 1000);

    // Nothing is stored yet, and all have the same initial token.
    let owners = join_all((0..OWNERS).map(|_| setup.again().start())).await;
    join_all(owners.iter().map(Proxy::ready)).await;
    assert_eq!(calls(), 1);
    join_all(owners.into_iter().map(Proxy::kill)).await;

    // Waits until the stored token has expired. No event announces that.
    tokio::time::sleep(life).await;
    simulator.reconfigure(|options| options.access_lifetime = Duration::from_secs(3600));
    let before = calls();
    let owners = join_all((0..OWNERS).map(|_| setup.again().start())).await;
    join_all(owners.iter().map(Proxy::ready)).await;
    assert_eq!(calls(), before + 1);

    // The token is revoked under all of them.
    for round in 1..=ROUNDS {
        simulator.revoke(Revocation::All(Kind::Access));
        let answers = join_all(owners.iter().map(|owner| owner.get("/api/v2/version"))).await;
        for (answer, owner) in answers.iter().zip(&owners) {
            assert_eq!(answer.status, StatusCode::OK, "{}\n{}", answer.text(), owner.log().join("\n"));
        }
        assert_eq!(calls(), before + 1 + round);
    }
    assert!(simulator.with_ledger(|ledger| ledger.calls_per_refresh_token().values().all(|count| *count == 1)));
    join_all(owners.into_iter().map(Proxy::stop)).await;
}
