//! A task that panics is noticed at once, counted, and started again with its state. If it can't be started again, the program ends in
//! order with exit code 70.

use std::fs;
use std::path::{Path, PathBuf};

use http::{Method, StatusCode};
use rustix::process::Signal;
use serde_json::json;
use simulator::{Options, Simulator};

use crate::pipe::Pipe;
use crate::support::{Proxy, Setup};

/// The file that names the step at which a task panics.
fn panics(setup: Setup) -> (Setup, PathBuf) {
    let file = setup.folder().join("panic");
    (setup.raw("FAULT_POINT_PANIC", file.display()), file)
}

async fn restarts(proxy: &Proxy, task: &str) -> f64 {
    proxy.metric(&format!(r#"bearer_proxy_task_restarts_total{{task="{task}"}}"#)).await
}

/// Waits until the panic has happened, which removes the file.
async fn happened(file: &Path) {
    let gone = async {
        while file.exists() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), gone).await.expect("nothing panicked");
}

async fn ready(proxy: &Proxy) -> bool {
    proxy.admin(Method::GET, "/readyz").await.status == StatusCode::OK
}

#[tokio::test]
async fn a_refresher_that_dies_goes_on_refreshing() {
    let simulator = Simulator::start(Options::league8()).await.unwrap();
    let (setup, panic) = panics(Proxy::before(&simulator));
    let proxy = setup.start().await;
    proxy.ready().await;
    for generation in 2..=4 {
        fs::write(&panic, "refresher").unwrap();
        // A refused request wakes the loop. Any command would.
        assert_eq!(proxy.get("/api/v2/always-401").await.status, StatusCode::UNAUTHORIZED);
        happened(&panic).await;
        assert!(ready(&proxy).await);
        proxy.refresh().await;
        proxy.wait_for_status("renewed", |status| status["generation"].as_u64() >= Some(generation)).await;
    }
    assert!(restarts(&proxy, "refresher").await >= 3.0);
    assert_eq!(proxy.get("/api/v2/version").await.status, StatusCode::OK);
    assert!(simulator.with_ledger(|ledger| ledger.reused_after_delivery().is_empty()));
    proxy.stop().await;
}

#[tokio::test]
async fn a_task_that_dies_after_the_answer_loses_no_successor() {
    // The rotation dies before its commit. The refresher dies with the new pair, before it answers its waiters.
    for (step, task) in [("answered", "rotation"), ("published", "refresher")] {
        let simulator = Simulator::start(Options::league8()).await.unwrap();
        let (setup, panic) = panics(Proxy::before(&simulator));
        let proxy = setup.start().await;
        proxy.ready().await;
        fs::write(&panic, step).unwrap();
        assert_eq!(proxy.refresh().await.status, StatusCode::OK, "{step}");
        assert!(!panic.exists(), "{step}");
        let status = proxy.wait_for_status("stored", |status| status["persisted"] == true).await;
        assert_eq!(status["generation"], 2, "{step}: {status}");
        assert_eq!(restarts(&proxy, task).await, 1.0, "{step}");
        assert!(ready(&proxy).await);
        // The next process presents the successor.
        let proxy = proxy.stop().await.start().await;
        assert_eq!(proxy.refresh().await.status, StatusCode::OK, "{step}");
        assert_eq!(simulator.with_ledger(|ledger| ledger.token_calls().len()), 3, "{step}");
        assert!(simulator.with_ledger(|ledger| ledger.reused_after_delivery().is_empty()), "{step}");
        proxy.stop().await;
    }
}

#[tokio::test]
async fn a_refresher_that_dies_keeps_what_it_could_not_store() {
    let simulator = Simulator::start(Options::league8()).await.unwrap();
    let pipe = Pipe::new();
    let (setup, panic) = panics(Proxy::before(&simulator));
    let setup = crate::pipe::stop_at(pipe.report(setup), "answered 2");
    let proxy = setup.raw("FAULT_POINT_FAIL", pipe.failing().display()).start().await;
    let mut pipe = pipe;
    proxy.ready().await;
    let broken = async {
        pipe.stopped(proxy.pid(), "answered 2").await;
        fs::write(pipe.failing(), "write").unwrap();
        proxy.signal(Signal::CONT);
    };
    let (refreshed, ()) = tokio::join!(proxy.refresh(), broken);
    assert_eq!(refreshed.status, StatusCode::OK, "{}", refreshed.text());
    assert_eq!(proxy.status().await["persisted"], json!(false));

    fs::write(&panic, "refresher").unwrap();
    happened(&panic).await;
    let status = proxy.status().await;
    assert_eq!((&status["generation"], &status["persisted"]), (&json!(2), &json!(false)));
    fs::remove_file(pipe.failing()).unwrap();
    proxy.wait_for_status("stored", |status| status["persisted"] == true).await;
    assert_eq!(proxy.refresh().await.status, StatusCode::OK);
    assert!(simulator.with_ledger(|ledger| ledger.reused_after_delivery().is_empty()));
    proxy.stop().await;
}

#[tokio::test]
async fn a_listener_that_dies_goes_on_answering() {
    let simulator = Simulator::start(Options::league8()).await.unwrap();
    let (setup, panic) = panics(Proxy::before(&simulator));
    let proxy = setup.start().await;
    proxy.ready().await;
    fs::write(&panic, "admin").unwrap();
    // The task dies before or after this connection.
    assert!(ready(&proxy).await);
    assert!(ready(&proxy).await);
    assert_eq!(restarts(&proxy, "admin").await, 1.0);
    fs::write(&panic, "accept").unwrap();
    for _ in 0..3 {
        assert_eq!(proxy.get("/api/v2/version").await.status, StatusCode::OK);
    }
    assert_eq!(restarts(&proxy, "accept").await, 1.0);
    proxy.stop().await;
}

#[tokio::test]
async fn a_reload_that_dies_ends_no_program() {
    let simulator = Simulator::start(Options::league8()).await.unwrap();
    let (setup, panic) = panics(Proxy::before(&simulator));
    let proxy = setup.start().await;
    proxy.ready().await;
    fs::write(&panic, "reload").unwrap();
    proxy.signal(Signal::HUP);
    happened(&panic).await;
    proxy.signal(Signal::HUP);
    proxy.wait_for_log("the next reload", |line| line.to_string().contains("was read again")).await;
    assert_eq!(restarts(&proxy, "reload").await, 1.0);
    proxy.stop().await;
}

#[tokio::test]
async fn a_task_that_can_not_be_started_again_ends_the_program_with_70() {
    for task in ["refresher", "worker"] {
        let simulator = Simulator::start(Options::league8()).await.unwrap();
        let (setup, panic) = panics(Proxy::before(&simulator));
        let mut proxy = setup.start().await;
        proxy.ready().await;
        fs::write(&panic, format!("{task} always")).unwrap();
        // Wakes the refresher, and each worker.
        let clients: Vec<_> = (0..8)
            .map(|_| {
                let address = proxy.address();
                tokio::spawn(async move {
                    let Ok(mut stream) = tokio::net::TcpStream::connect(address).await else { return };
                    let request = "GET /api/v2/always-401 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
                    let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, request.as_bytes()).await;
                    let _ = tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut Vec::new()).await;
                })
            })
            .collect();
        assert_eq!(proxy.ended().await.code(), Some(70), "{task}:\n{}", proxy.log().join("\n"));
        let said = format!("\"{task}\"");
        assert!(proxy.log().iter().any(|line| line.contains("could not be restarted") && line.contains(&said)));
        for client in clients {
            client.await.unwrap();
        }
        // Nothing was lost.
        let proxy = proxy.setup().again().raw("FAULT_POINT_PANIC", "").start().await;
        proxy.ready().await;
        assert_eq!(proxy.refresh().await.status, StatusCode::OK);
        assert!(simulator.with_ledger(|ledger| ledger.reused_after_delivery().is_empty()), "{task}");
        proxy.stop().await;
    }
}
