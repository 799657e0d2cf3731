//! Connections: both protocols on one port, TLS, and their ends.

use std::sync::Arc;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};

use super::*;

#[tokio::test]
async fn both_protocols_are_spoken_on_one_port() {
    let simulator = Simulator::start(Options::league8()).await.unwrap();
    let bearer = format!("Bearer {}", simulator.grant().access_token);
    for (http, version) in [(Http::One, 1), (Http::Two, 2)] {
        let get = request(&simulator, Method::GET, "/api/v2/echo", &[("authorization", &bearer)], "");
        assert_eq!(send(&simulator, http, get).await.unwrap().status, 200);
        let row = simulator.with_ledger(|ledger| ledger.requests().next_back().unwrap().clone());
        assert_eq!(row.http, version);
    }
    assert_eq!(simulator.with_ledger(Ledger::connections), 2);
}

#[tokio::test]
async fn tls_is_served_with_the_protocols_of_its_configuration() {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(signing_key.serialize_der()));
    let mut tls =
        ServerConfig::builder().with_no_client_auth().with_single_cert(vec![cert.der().clone()], key).unwrap();
    tls.alpn_protocols = vec![b"h2".to_vec()];
    let simulator = Simulator::start(Options { tls: Some(Arc::new(tls)), ..Options::league8() }).await.unwrap();
    assert!(simulator.token_url().starts_with("https://127.0.0.1:"));
    let mut roots = RootCertStore::empty();
    roots.add(cert.der().clone()).unwrap();
    let mut trust = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    trust.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let tcp = TcpStream::connect(simulator.address()).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let tls = TlsConnector::from(Arc::new(trust)).connect(name, tcp).await.unwrap();
    assert_eq!(tls.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(tls)).await.unwrap();
    tokio::spawn(connection);
    let get = request(&simulator, Method::GET, "/login", &[], "");
    assert_eq!(sender.send_request(get).await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_closed_port_refuses_and_an_opened_one_serves_again() {
    let simulator = Simulator::start(Options::league8()).await.unwrap();
    simulator.stop_listening().await;
    let refused = TcpStream::connect(simulator.address()).await.unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    simulator.listen_again().await.unwrap();
    assert_eq!(get(&simulator, "/api/v2/echo", "x").await.unwrap().status, 401);
}

#[tokio::test]
async fn open_connections_end_as_they_are_told_to() {
    for how in [End::Close, End::Reset, End::Drain] {
        let simulator = Simulator::start(Options::league8()).await.unwrap();
        let tcp = TokioIo::new(TcpStream::connect(simulator.address()).await.unwrap());
        let (mut sender, connection) = http1::handshake(tcp).await.unwrap();
        let connection = tokio::spawn(connection);
        let response = sender.send_request(request(&simulator, Method::GET, "/login", &[], "")).await.unwrap();
        response.into_body().collect().await.unwrap();
        simulator.end_connections(how.clone());
        let ended = connection.await.unwrap();
        assert_eq!(ended.is_err(), how == End::Reset, "{how:?}: {ended:?}");
    }
}

#[tokio::test]
async fn the_server_ends_with_its_last_handle() {
    let simulator = Simulator::start(Options::league8()).await.unwrap();
    let address = simulator.address();
    let tcp = TokioIo::new(TcpStream::connect(address).await.unwrap());
    let (mut sender, connection) = http1::handshake::<_, Full<Bytes>>(tcp).await.unwrap();
    let connection = tokio::spawn(connection);
    sender.ready().await.unwrap();
    simulator.wait_until(|ledger| ledger.connections() == 1).await.unwrap();
    let clone = simulator.clone();
    drop(simulator);
    assert_eq!(get(&clone, "/api/v2/echo", "x").await.unwrap().status, 401);
    drop(clone);
    let _ = connection.await.unwrap();
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn a_handle_works_from_another_thread() {
    let simulator = Simulator::start(Options::league8()).await.unwrap();
    let handle = simulator.clone();
    let grant = std::thread::spawn(move || handle.grant()).join().unwrap();
    assert_eq!(get(&simulator, "/api/v2/echo", &grant.access_token).await.unwrap().status, 200);
}
