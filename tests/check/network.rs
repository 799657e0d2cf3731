//! Faults on the way to the servers: names, TCP, an HTTP proxy, TLS.

use std::path::Path;
use std::sync::Arc;

use jiff::civil::date;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use simulator::{Options, Presented, Simulator};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::{Duration, timeout};
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

use crate::checked::{Checked, league, small, stored};
use testkit::names::{Kind, NameServer, Names, Question, Reply, can_be_mounted};
use testkit::{Proxy, Setup};

/// A setup of the grant `client_credentials`, which needs no stored grant.
fn without_store(simulator: &Simulator) -> Setup {
    small(Proxy::without_grant(simulator)).unset("STORE__PATH").set("OAUTH__GRANT", "client_credentials")
}

/// A TLS server of its own authority, whose certificate ends on this day.
async fn tls(folder: &Path, end: jiff::civil::Date) -> Simulator {
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.distinguished_name.push(rcgen::DnType::CommonName, "Example Interception CA");
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
    std::fs::write(folder.join("ca.pem"), authority.pem()).unwrap();
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["127.0.0.1".into()]).unwrap();
    params.not_before = date_time_ymd(2020, 1, 1);
    let (month, day) = (end.month().cast_unsigned(), end.day().cast_unsigned());
    params.not_after = date_time_ymd(end.year().into(), month, day);
    let chain = vec![params.signed_by(&key, &authority).unwrap().der().clone()];
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, PrivateKeyDer::try_from(key.serialize_der()).unwrap())
        .unwrap();
    Simulator::start(Options { tls: Some(Arc::new(config)), ..Options::league9() }).await.unwrap()
}

/// One fault, though it concerns both servers, and everything behind it is skipped.
fn is_one_fault(checked: &Checked, id: &str, code: i32) {
    checked.finds(id, code);
    for other in ["client-rejected", "endpoint-not-json"] {
        assert!(checked.because_of(id).contains(&other), "{:#}", checked.document);
    }
}

#[tokio::test]
async fn a_server_that_refuses_or_drops_connections_is_found() {
    let simulator = league().await;
    let setup = without_store(&simulator);
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let refused = setup.again().set("OAUTH__TOKEN_URL", format!("http://{closed}/oauth/token"));
    is_one_fault(&Checked::before(&simulator, &refused, &[]).await, "tcp-refused", 1);

    // A listener whose backlog is full drops further SYNs.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let silent = socket.listen(0).unwrap();
    let address = silent.local_addr().unwrap();
    let mut fillers = Vec::new();
    while let Ok(filler) = timeout(Duration::from_millis(300), TcpStream::connect(address)).await {
        fillers.push(filler);
    }
    let dropped = setup.again().set("OAUTH__TOKEN_URL", format!("http://{address}/oauth/token"));
    is_one_fault(&Checked::before(&simulator, &dropped, &[]).await, "tcp-dropped", 1);
    // With both servers silent, the run still ends in time, and the fault is one.
    let both = dropped.set("UPSTREAM__URL", format!("http://{address}"));
    is_one_fault(&Checked::before(&simulator, &both, &[]).await, "tcp-dropped", 1);
}

#[tokio::test]
async fn a_certificate_that_is_foreign_expired_or_about_to_end_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem");
    let trusting = |setup: Setup| setup.set("OUTBOUND__CA_FILE", ca.display());

    let good = tls(folder.path(), date(2049, 1, 1)).await;
    let setup = trusting(without_store(&good));
    let checked = Checked::before(&good, &setup, &[]).await;
    assert_eq!(checked.problems(), [""; 0], "{:#}", checked.document);
    assert_eq!(checked.check("tls-untrusted")["outcome"], "ok");
    let checked = Checked::before(&good, &without_store(&good), &[]).await;
    is_one_fault(&checked, "tls-untrusted", 1);
    assert!(checked.check("tls-untrusted")["detail"].as_str().unwrap().contains("Example Interception CA"));

    let expired = tls(folder.path(), date(2024, 1, 1)).await;
    is_one_fault(&Checked::before(&expired, &trusting(without_store(&expired)), &[]).await, "tls-expired", 1);

    let today = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date();
    let near = tls(folder.path(), today.checked_add(jiff::Span::new().days(7)).unwrap()).await;
    Checked::before(&near, &trusting(without_store(&near)), &[]).await.finds("certificate-near-end", 0);
}

#[tokio::test]
async fn a_port_without_tls_is_found() {
    let simulator = league().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
    });
    let setup = without_store(&simulator).set("OAUTH__TOKEN_URL", format!("https://{address}/oauth/token"));
    is_one_fault(&Checked::before(&simulator, &setup, &[]).await, "tls-no-common-cipher", 1);
}

#[tokio::test]
async fn an_http_proxy_that_refuses_is_found() {
    let simulator = league().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 1024]).await;
            let _ = stream.write_all(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n").await;
        }
    });
    let setup = without_store(&simulator)
        .set("UPSTREAM__URL", "https://api.test")
        .set("OAUTH__TOKEN_URL", "https://as.test/oauth/token")
        .set("OUTBOUND__PROXY", format!("http://canary-user:canary-password@{address}"));
    let checked = Checked::before(&simulator, &setup, &[]).await;
    is_one_fault(&checked, "proxy-in-between", 1);
    let detail = checked.check("proxy-in-between")["detail"].as_str().unwrap();
    assert!(detail.contains("407") && detail.contains("api.test") && detail.contains("as.test"), "{detail}");
}

/// The upstream is the name `localhost`, which only the name server knows.
async fn with_names(
    setup: &Setup,
    simulator: &Simulator,
    server: &NameServer,
    options: &str,
    arguments: &[&str],
) -> Checked {
    let names = Names::new("", &server.resolv_conf(options));
    let upstream = format!("http://localhost:{}", simulator.address().port());
    let setup = setup.again().set("UPSTREAM__URL", upstream);
    let arguments = [&["check", "--json", "--skip", "store-ephemeral"], arguments].concat();
    let (code, out, err) = names.run(&setup, &arguments).await;
    Checked { code, document: serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}{err}")) }
}

#[tokio::test]
async fn each_fault_of_a_name_server_is_found() {
    if !can_be_mounted() {
        return;
    }
    let simulator = league().await;
    let setup = without_store(&simulator);
    let healthy = NameServer::start(|_, question| match question.kind {
        Kind::A => Reply::Loopback,
        Kind::Aaaa => Reply::NoAddress,
    })
    .await;
    let checked = with_names(&setup, &simulator, &healthy, "timeout:5", &[]).await;
    assert_eq!(checked.problems(), [""; 0], "{:#}", checked.document);

    let unknown = NameServer::start(|_, _| Reply::NoAddress).await;
    with_names(&setup, &simulator, &unknown, "timeout:5", &[]).await.finds("dns-fails", 1);
    let silent = NameServer::start(|_, _| Reply::Silence).await;
    let checked = with_names(&setup, &simulator, &silent, "timeout:30", &[]).await;
    checked.finds("dns-fails", 1);
    assert!(checked.check("dns-fails")["detail"].as_str().unwrap().contains("no name server answered"));

    // The first packet of each question is lost, and the second one comes after two seconds.
    let slow = NameServer::start(|before: &[Question], question| match question.kind {
        _ if !before.contains(question) => Reply::Silence,
        Kind::A => Reply::Loopback,
        Kind::Aaaa => Reply::NoAddress,
    })
    .await;
    with_names(&setup, &simulator, &slow, "timeout:2", &[]).await.finds("dns-slow", 0);

    let half = NameServer::start(|_, question| match question.kind {
        Kind::A => Reply::Loopback,
        Kind::Aaaa => Reply::Silence,
    })
    .await;
    with_names(&setup, &simulator, &half, "timeout:30", &[]).await.finds("dns-one-family", 0);
}

/// The name of the upstream appears during the wait. The token endpoint, which was there all the time, is called once.
#[tokio::test]
async fn a_wait_ends_with_the_fault_and_repeats_no_call() {
    if !can_be_mounted() {
        return;
    }
    let simulator = league().await;
    let server = NameServer::start(|before, question| match question.kind {
        // The first round has two questions.
        Kind::A if before.len() > 2 => Reply::Loopback,
        Kind::A | Kind::Aaaa => Reply::NoAddress,
    })
    .await;
    let setup = stored_for(&simulator).await;
    let checked = with_names(&setup, &simulator, &server, "timeout:5", &["--wait", "60s"]).await;
    assert_eq!((checked.problems(), checked.code), (vec![], 0), "{:#}", checked.document);
    assert!(server.asked().len() > 2, "{:?}", server.asked());
    simulator.with_ledger(|ledger| {
        let made_up = ledger.token_calls().iter().filter(|call| call.presented == Presented::Unknown).count();
        assert_eq!((made_up, ledger.requests_seen()), (1, 1));
    });
}

/// A stored grant of the upstream `localhost`.
async fn stored_for(simulator: &Simulator) -> Setup {
    let setup = stored(simulator).await;
    let document = std::fs::read_to_string(setup.store()).unwrap();
    let upstream = format!("http://localhost:{}", simulator.address().port());
    std::fs::write(setup.store(), document.replace(&format!("\"{}\"", simulator.origin()), &format!("\"{upstream}\"")))
        .unwrap();
    setup
}
