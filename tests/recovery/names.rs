//! Faults of name servers.

use std::time::{Duration, Instant};

use simulator::{Options, Simulator};
use testkit::Proxy;
use testkit::names::{Kind, NameServer, Names, Question, Reply, can_be_mounted};

use crate::{recovered, until_answered};

/// From the first request to its answer, or to that of a later one.
async fn measure(
    fault: &str,
    bound: Duration,
    options: &str,
    reply: impl Fn(&[Question], &Question) -> Reply + Send + 'static,
) {
    if !can_be_mounted() {
        return;
    }
    let simulator = Simulator::start(Options::league8()).await.unwrap();
    let server = NameServer::start(reply).await;
    let names = Names::new("", &server.resolv_conf(options));
    let upstream = format!("http://localhost:{}", simulator.address().port());
    let setup = names.seen_by(Proxy::before(&simulator).set("UPSTREAM__URL", upstream));
    let proxy = setup.start().await;
    proxy.ready().await;
    let began = Instant::now();
    until_answered(&proxy).await;
    recovered(fault, "a request is answered", bound, began.elapsed());
    proxy.stop().await;
}

#[tokio::test]
async fn a_packet_is_lost() {
    let fault = "The first DNS packet is lost, and the resolver repeats it after 5 s";
    // `upstream.connect_timeout` is 5 s too.
    measure(fault, Duration::from_secs(7), "timeout:5", |before, question| match question.kind {
        Kind::A if before.iter().any(|before| before.kind == Kind::A) => Reply::Loopback,
        Kind::A => Reply::Silence,
        Kind::Aaaa => Reply::NoAddress,
    })
    .await;
}

#[tokio::test]
async fn one_address_family_is_not_answered() {
    let fault = "The name server never answers for IPv6";
    measure(fault, Duration::from_secs(1), "timeout:5", |_, question| match question.kind {
        Kind::A => Reply::Loopback,
        Kind::Aaaa => Reply::Silence,
    })
    .await;
}

#[tokio::test]
async fn a_name_server_is_silent_for_a_while() {
    let fault = "The name server answers nothing for 8 s, then answers";
    let silent = Instant::now();
    measure(fault, Duration::from_secs(20), "timeout:2 attempts:2", move |_, question| match question.kind {
        _ if silent.elapsed() < Duration::from_secs(8) => Reply::Silence,
        Kind::A => Reply::Loopback,
        Kind::Aaaa => Reply::NoAddress,
    })
    .await;
}
