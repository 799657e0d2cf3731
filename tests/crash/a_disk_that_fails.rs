//! The disk of the file store fails in a write, a flush of the file, or a flush of its directory. If it fails before the call, no token
//! is spent. If it fails after the call, no token is presented twice, and the grant is stored once the disk works again.

use std::fs;

use http::StatusCode;
use rustix::process::Signal;
use serde_json::json;
use simulator::{Options, Simulator};

use crate::pipe::{Pipe, stop_at};
use crate::support::{Proxy, Setup};

const OPERATIONS: [&str; 3] = ["write", "flush", "flush folder"];

fn failing(setup: Setup, pipe: &Pipe) -> Setup {
    setup.raw("FAULT_POINT_FAIL", pipe.failing().display())
}

#[tokio::test]
async fn before_the_call() {
    for operation in OPERATIONS {
        let simulator = Simulator::start(Options::league8()).await.unwrap();
        let pipe = Pipe::new();
        let proxy = failing(Proxy::before(&simulator), &pipe).start().await;
        proxy.ready().await;
        fs::write(pipe.failing(), operation).unwrap();
        let refreshed = proxy.refresh().await;
        assert_eq!(refreshed.status, StatusCode::SERVICE_UNAVAILABLE, "{operation}");
        assert!(refreshed.text().contains("put off, nothing was sent"), "{}", refreshed.text());
        assert_eq!(simulator.with_ledger(|ledger| ledger.token_calls().len()), 1, "{operation}");
        assert_eq!(proxy.get("/api/v2/version").await.status, StatusCode::OK);

        fs::remove_file(pipe.failing()).unwrap();
        proxy.wait_for_status("renewed", |status| status["generation"] == 2).await;
        assert_eq!(simulator.with_ledger(|ledger| ledger.token_calls().len()), 2, "{operation}");
        proxy.stop().await;
    }
}

#[tokio::test]
async fn after_the_call() {
    for operation in OPERATIONS {
        let simulator = Simulator::start(Options::league8()).await.unwrap();
        let mut pipe = Pipe::new();
        let setup = failing(stop_at(pipe.report(Proxy::before(&simulator)), "answered 2"), &pipe);
        let proxy = setup.start().await;
        proxy.ready().await;
        let broken = async {
            pipe.stopped(proxy.pid(), "answered 2").await;
            fs::write(pipe.failing(), operation).unwrap();
            proxy.signal(Signal::CONT);
        };
        let (refreshed, ()) = tokio::join!(proxy.refresh(), broken);
        assert_eq!(refreshed.status, StatusCode::OK, "{operation}: {}", refreshed.text());
        let status = proxy.status().await;
        assert_eq!((&status["generation"], &status["persisted"]), (&json!(2), &json!(false)), "{operation}");
        assert_eq!(proxy.get("/api/v2/version").await.status, StatusCode::OK);

        fs::remove_file(pipe.failing()).unwrap();
        proxy.wait_for_status("stored", |status| status["persisted"] == true).await;
        let proxy = proxy.kill().await.start().await;
        assert_eq!(proxy.refresh().await.status, StatusCode::OK);
        assert!(simulator.with_ledger(|ledger| ledger.reused_after_delivery().is_empty()), "{operation}");
        assert_eq!(simulator.with_ledger(|ledger| ledger.token_calls().len()), 3, "{operation}");
        proxy.stop().await;
    }
}
