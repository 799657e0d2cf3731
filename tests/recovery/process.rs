//! Faults of the process and of the machine that it runs on.

use std::time::{Duration, Instant};

use http::StatusCode;
use rustix::process::Signal;
use simulator::{Options, Simulator};
use testkit::{Client, Proxy, allow_open_files};
use tokio::net::TcpStream;
use tokio::time::sleep;

use crate::{PATH, recovered, until, until_answered, until_stored};

#[tokio::test]
async fn a_killed_process() {
    let simulator = Simulator::start(Options::league8()).await.unwrap();
    let proxy = Proxy::before(&simulator).start().await;
    proxy.ready().await;
    let setup = proxy.kill().await;
    let began = Instant::now();
    let proxy = setup.start().await;
    until_answered(&proxy).await;
    recovered(
        "The process is killed and started again",
        "a request is answered",
        Duration::from_secs(2),
        began.elapsed(),
    );
    assert_eq!(simulator.with_ledger(|ledger| ledger.token_calls().len()), 1, "a restart spends no token");
    proxy.stop().await;
}

/// As on a laptop that sleeps: the token expires meanwhile.
#[tokio::test]
async fn a_suspended_process() {
    let life = Duration::from_secs(6);
    let simulator = Simulator::start(Options { access_lifetime: life, ..Options::league8() }).await.unwrap();
    let proxy = Proxy::before(&simulator).start().await;
    proxy.ready().await;
    proxy.signal(Signal::STOP);
    sleep(life + Duration::from_secs(1)).await;
    proxy.signal(Signal::CONT);
    let began = Instant::now();
    until_answered(&proxy).await;
    recovered(
        "The process is suspended until the access token has expired",
        "a request is answered with a new token",
        Duration::from_secs(5),
        began.elapsed(),
    );
    assert_eq!(simulator.with_ledger(|ledger| ledger.expired_seen_total()), 0);
    proxy.stop().await;
}

#[tokio::test]
async fn a_configuration_with_a_missing_file() {
    let simulator = Simulator::start(Options::league8()).await.unwrap();
    let setup = Proxy::before(&simulator).unset("OAUTH__CLIENT_SECRET");
    let folder = setup.folder().to_owned();
    let (file, missing) = (folder.join("proxy.toml"), folder.join("missing"));
    let secret = folder.join("secret");
    std::fs::write(&secret, simulator::CLIENT_SECRET).unwrap();
    let text = |secret: &std::path::Path, path: &str| {
        format!("[oauth]\nclient_secret_file = \"{}\"\n[guard]\nallow = [\"GET {path}\"]\n", secret.display())
    };
    std::fs::write(&file, text(&secret, "/none")).unwrap();
    let proxy = setup.set("CONFIG", file.display()).start().await;
    proxy.ready().await;
    std::fs::write(&file, text(&missing, PATH)).unwrap();
    until("the configuration is refused", async || proxy.log().iter().any(|line| line.contains("missing"))).await;
    std::fs::write(&missing, simulator::CLIENT_SECRET).unwrap();
    let began = Instant::now();
    until_answered(&proxy).await;
    recovered(
        "A configuration names a file that is missing, then the file appears",
        "the configuration takes effect",
        Duration::from_secs(5),
        began.elapsed(),
    );
    proxy.stop().await;
}

#[tokio::test]
async fn clients_that_occupy_all_connections() {
    allow_open_files(2048);
    let simulator = Simulator::start(Options::league8()).await.unwrap();
    let proxy = Proxy::before(&simulator).set("GUARD__MAX_CONNECTIONS", 100).start().await;
    proxy.ready().await;
    let mut clients = Vec::new();
    for _ in 0..200 {
        clients.push(TcpStream::connect(proxy.address()).await.unwrap());
    }
    let waiting = Client::http1(proxy.address());
    drop(clients);
    let began = Instant::now();
    let mut client = waiting.await;
    assert_eq!(client.get(PATH).await.status, StatusCode::OK);
    recovered(
        "Idle clients occupy all connections, then leave",
        "a request is answered",
        Duration::from_secs(1),
        began.elapsed(),
    );
    until_stored(&proxy, 1).await;
    proxy.stop().await;
}
