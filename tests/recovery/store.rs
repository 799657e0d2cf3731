//! Faults of the store.

use std::time::{Duration, Instant};

use http::StatusCode;
use simulator::{Options, Simulator};
use testkit::postgres::Postgres;
use testkit::{Disk, Proxy, Trouble};

use crate::{recovered, until, until_stored};

#[tokio::test]
async fn a_backup_is_restored() {
    let simulator = Simulator::start(Options::league8()).await.unwrap();
    let proxy = Proxy::before(&simulator).start().await;
    proxy.ready().await;
    let store = proxy.setup().store();
    let backup = std::fs::read(&store).unwrap();
    assert_eq!(proxy.refresh().await.status, StatusCode::OK);
    let live = std::fs::read(&store).unwrap();
    let copy = store.with_extension("backup");
    std::fs::write(&copy, backup).unwrap();
    std::fs::rename(&copy, &store).unwrap();
    let began = Instant::now();
    testkit::eventually("the live grant is stored again", || std::fs::read(&store).is_ok_and(|now| now == live)).await;
    recovered(
        "An old backup of the grant replaces the document",
        "the live grant is stored again",
        Duration::from_secs(5),
        began.elapsed(),
    );
    proxy.stop().await;
}

#[tokio::test]
async fn a_damaged_document_is_moved_away() {
    let simulator = Simulator::start(Options::league8()).await.unwrap();
    let proxy = Proxy::before(&simulator).start().await;
    proxy.ready().await;
    let store = proxy.setup().store();
    std::fs::write(&store, "damaged").unwrap();
    proxy.wait_for_status("damaged", |status| status["persisted"] == false).await;
    std::fs::rename(&store, store.with_extension("away")).unwrap();
    let began = Instant::now();
    until_stored(&proxy, 1).await;
    recovered(
        "The document is damaged, then moved away",
        "the live grant is stored again",
        Duration::from_secs(5),
        began.elapsed(),
    );
    proxy.stop().await;
}

#[tokio::test]
async fn a_directory_that_cannot_be_written() {
    for (trouble, fault) in [
        (Trouble::Vanishes, "The state directory disappears during a refresh, then returns"),
        (Trouble::CanNotBeWritten, "The state directory is read-only during a refresh, then writable"),
        (Trouble::IsFull, "The disk is full during a refresh, then has space"),
    ] {
        let latency = simulator::Latency { after_commit: Duration::from_millis(500), ..Default::default() };
        let simulator = Simulator::start(Options { latency, ..Options::league8() }).await.unwrap();
        let Some((disk, setup)) = Disk::new(trouble, Proxy::before(&simulator)) else { continue };
        let proxy = setup.start().await;
        proxy.ready().await;
        let calls = simulator.with_ledger(|ledger| ledger.token_calls().len());
        let refreshing = proxy.refresh();
        let failing = async {
            // The intent is stored by then, and the response is under way.
            simulator.wait_until(|ledger| ledger.token_calls().len() > calls).await.unwrap();
            disk.fail(proxy.pid());
        };
        let (refreshed, ()) = tokio::join!(refreshing, failing);
        assert_eq!((refreshed.status, proxy.status().await["persisted"].as_bool()), (StatusCode::OK, Some(false)));
        disk.mend(proxy.pid());
        let began = Instant::now();
        until_stored(&proxy, 2).await;
        recovered(fault, "the new grant is stored", Duration::from_secs(6), began.elapsed());
        proxy.stop().await;
    }
}

#[tokio::test]
async fn a_database_that_is_killed() {
    let mut server = Postgres::start();
    let simulator = Simulator::start(Options::league8()).await.unwrap();
    let proxy = Proxy::before(&simulator)
        .unset("STORE__PATH")
        .set("STORE__KIND", "postgres")
        .set("STORE__URL", server.url())
        .start()
        .await;
    until_stored(&proxy, 1).await;
    server.kill();
    assert_ne!(proxy.refresh().await.status, StatusCode::OK, "no refresh without a stored intent");
    server.restart();
    let began = Instant::now();
    until("a refresh succeeds", async || proxy.refresh().await.status == StatusCode::OK).await;
    until_stored(&proxy, 2).await;
    recovered(
        "PostgreSQL is killed, then started again",
        "a refresh on request succeeds",
        Duration::from_secs(10),
        began.elapsed(),
    );
    proxy.stop().await;
}
