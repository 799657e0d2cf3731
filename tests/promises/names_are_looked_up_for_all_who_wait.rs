//! Name servers that lose packets, answer for one address family only, or never answer.

use std::time::Duration;

use futures_util::future::join_all;
use http::StatusCode;
use simulator::{Options, Simulator};

use testkit::names::{Kind, NameServer, Names, Question, Reply, can_be_mounted};
use testkit::{Client, Proxy, Setup};

const PATH: &str = "/api/v2/version";

/// A proxy whose upstream is the name `localhost`, which only the name server knows.
async fn before(simulator: &Simulator, server: &NameServer, options: &str) -> (Setup, Names) {
    let names = Names::new("", &server.resolv_conf(options));
    let upstream = format!("http://localhost:{}", simulator.address().port());
    (names.seen_by(Proxy::before(simulator).set("UPSTREAM__URL", upstream)), names)
}

#[tokio::test]
async fn an_answer_for_one_address_family_is_enough() {
    if !can_be_mounted() {
        return;
    }
    let simulator = Simulator::start(Options::league8()).await.unwrap();
    let server = NameServer::start(|_, question| match question.kind {
        Kind::A => Reply::Loopback,
        Kind::Aaaa => Reply::Silence,
    })
    .await;
    let (setup, _names) = before(&simulator, &server, "timeout:5").await;
    let proxy = setup.start().await;
    let answer = proxy.get(PATH).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    proxy.stop().await;
}

/// The first packet of each question is lost. The client leaves before the second.
#[tokio::test]
async fn a_late_answer_serves_those_who_wait_by_then() {
    if !can_be_mounted() {
        return;
    }
    let simulator = Simulator::start(Options::league8()).await.unwrap();
    let server = NameServer::start(|before: &[Question], question| match question.kind {
        Kind::A if before.contains(question) => Reply::Loopback,
        Kind::A => Reply::Silence,
        Kind::Aaaa => Reply::NoAddress,
    })
    .await;
    let (setup, _names) = before(&simulator, &server, "timeout:1 attempts:5").await;
    let proxy = setup.set("UPSTREAM__CONNECT_TIMEOUT", "400ms").start().await;
    proxy.ready().await;
    let mut failures = 0;
    loop {
        let answer = proxy.get(PATH).await;
        if answer.status == StatusCode::OK {
            break;
        }
        assert_eq!(answer.status, StatusCode::GATEWAY_TIMEOUT, "{}", answer.text());
        failures += 1;
        assert!(failures < 30, "each request starts over: {:?}", server.asked());
    }
    assert!(failures >= 1, "the first packet was not lost");
    proxy.stop().await;
}

#[tokio::test]
async fn a_silent_name_server_holds_two_threads_whoever_waits() {
    const CLIENTS: usize = 600;
    if !can_be_mounted() {
        return;
    }
    let simulator = Simulator::start(Options::league8()).await.unwrap();
    let server = NameServer::start(|_, _| Reply::Silence).await;
    let (setup, _names) = before(&simulator, &server, "timeout:30").await;
    // A connection for each request that waits.
    let setup = setup.set("UPSTREAM__HTTP", "1").set("UPSTREAM__CONNECT_TIMEOUT", "20s").set("REFRESH__WAIT", "30s");
    let proxy = setup.start().await;
    proxy.ready().await;
    let idle = threads(&proxy);
    let address = proxy.address();
    let clients = join_all((0..CLIENTS).map(|_| Client::http1(address))).await;
    let requests: Vec<_> =
        clients.into_iter().map(|mut client| tokio::spawn(async move { client.get(PATH).await.status })).collect();
    while proxy.metric("bearer_proxy_requests_in_flight").await < CLIENTS as f64 || server.asked().len() < 2 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // The blocking pool of the control plane may have started a thread meanwhile.
    let waiting = threads(&proxy);
    assert!(waiting <= idle + 2 + 4, "{waiting} threads, {idle} before");
    requests.iter().for_each(tokio::task::JoinHandle::abort);
    proxy.kill().await;
}

#[tokio::test]
async fn what_the_hosts_file_has_is_not_asked_of_a_name_server() {
    if !can_be_mounted() {
        return;
    }
    let simulator = Simulator::start(Options::league8()).await.unwrap();
    // The name server would add an IPv6 address on which nothing listens.
    let server = NameServer::start(|_, _| Reply::Loopback).await;
    let names = Names::new("127.0.0.1 localhost\n", &server.resolv_conf("timeout:1"));
    let upstream = format!("http://localhost:{}", simulator.address().port());
    let proxy = names.seen_by(Proxy::before(&simulator).set("UPSTREAM__URL", upstream)).start().await;
    assert_eq!(proxy.get(PATH).await.status, StatusCode::OK);
    assert_eq!(server.asked(), []);
    proxy.stop().await;
}

fn threads(proxy: &Proxy) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", proxy.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("Threads:")).unwrap();
    line.trim().parse().unwrap()
}
