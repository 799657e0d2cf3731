use std::path::PathBuf;
use std::time::SystemTime;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, HandshakeKind, RootCertStore};

use super::*;
use crate::config::ServerTls;

const SHORT: Duration = Duration::from_millis(200);

/// A CA, and a directory with the files of a server.
struct Pki {
    ca: CertifiedIssuer<'static, KeyPair>,
    folder: tempfile::TempDir,
}

impl Pki {
    fn new() -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let pki = Self { ca, folder: tempfile::tempdir().unwrap() };
        pki.write("ca.pem", &pki.ca.pem());
        pki.renew();
        pki
    }

    /// A new certificate and key for the server.
    fn renew(&self) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(["proxy.internal".to_owned()]).unwrap();
        self.write("cert.pem", &params.signed_by(&key, &self.ca).unwrap().pem());
        self.write("key.pem", &key.serialize_pem());
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    fn files(&self) -> ServerTls {
        let path = |name| self.folder.path().join(name);
        ServerTls { cert_file: path("cert.pem"), key_file: path("key.pem"), client_ca_file: None }
    }

    fn mutual(&self) -> ServerTls {
        ServerTls { client_ca_file: Some(self.folder.path().join("ca.pem")), ..self.files() }
    }

    fn server(&self, limits: Limits) -> Fixture {
        Fixture::with(limits, 2, Some(Tls::load(&self.files()).unwrap()))
    }

    /// A client that trusts this CA, with a certificate of `issuer`.
    async fn client(&self, proxy: &Fixture, alpn: &[&str], issuer: Option<&Self>) -> TlsStream<TcpStream> {
        self.connect(proxy, self.client_config(alpn, issuer, None)).await
    }

    async fn connect(&self, proxy: &Fixture, config: Arc<ClientConfig>) -> TlsStream<TcpStream> {
        let name = ServerName::try_from("proxy.internal").unwrap();
        within(TlsConnector::from(config).connect(name, proxy.connect().await)).await.unwrap()
    }

    /// Like [`Self::client`], with a certificate that is valid until this Unix time.
    fn client_config(&self, alpn: &[&str], issuer: Option<&Self>, until: Option<Duration>) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.ca.der().clone()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match issuer {
            None => builder.with_no_client_auth(),
            Some(issuer) => {
                let key = KeyPair::generate().unwrap();
                let mut params = CertificateParams::new(["client.internal".to_owned()]).unwrap();
                if let Some(until) = until {
                    params.not_after = rcgen::date_time_ymd(1970, 1, 1) + until;
                }
                let certificate = params.signed_by(&key, &issuer.ca).unwrap();
                let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
                builder.with_client_auth_cert(vec![certificate.der().clone()], key).unwrap()
            }
        };
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        Arc::new(config)
    }
}

fn alpn(client: &TlsStream<TcpStream>) -> Option<&[u8]> {
    client.get_ref().1.alpn_protocol()
}

/// The certificate that the server presented.
fn shown(client: &TlsStream<TcpStream>) -> Vec<u8> {
    client.get_ref().1.peer_certificates().unwrap()[0].to_vec()
}

#[tokio::test]
async fn alpn_chooses_the_protocol() {
    let pki = Pki::new();
    let proxy = pki.server(limits());

    let client = pki.client(&proxy, &["h2", "http/1.1"], None).await;
    assert_eq!(alpn(&client), Some(&b"h2"[..]));
    let (mut client, _connection) = http2_over(client).await;
    assert_eq!(get2(&mut client, "/").await, "ok");

    for offer in [&["http/1.1"][..], &[]] {
        let mut client = pki.client(&proxy, offer, None).await;
        assert_eq!(alpn(&client), offer.first().map(|name| name.as_bytes()));
        assert!(ask(&mut client, "/").await.ends_with("ok"));
    }
}

#[tokio::test]
async fn a_client_that_goes_away_takes_its_request_along() {
    let pki = Pki::new();
    let mut proxy = pki.server(limits());
    let mut client = pki.client(&proxy, &["http/1.1"], None).await;
    send(&mut client, "GET /hold HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!(proxy.event().await, Event::Arrived);
    drop(client);
    assert_eq!(proxy.event().await, Event::Abandoned);
}

#[tokio::test]
async fn a_client_that_is_silent_in_or_after_the_handshake_is_closed() {
    let pki = Pki::new();
    let proxy = pki.server(Limits { header_timeout: SHORT, ..limits() });
    let start = Instant::now();
    time_until_closed(&mut proxy.connect().await).await;
    assert!(start.elapsed() >= SHORT);

    let start = Instant::now();
    rest(&mut pki.client(&proxy, &[], None).await).await;
    assert!(start.elapsed() >= SHORT);
}

#[tokio::test]
async fn an_idle_tls_connection_is_closed_with_close_notify() {
    let pki = Pki::new();
    let proxy = pki.server(Limits { idle_timeout: SHORT, ..limits() });
    let mut client = pki.client(&proxy, &[], None).await;
    ask(&mut client, "/").await;
    // rustls reports an end without close_notify as an error.
    assert_eq!(within(client.read(&mut [0])).await.unwrap(), 0);
}

#[tokio::test]
async fn a_large_body_passes_through_tls() {
    let pki = Pki::new();
    let proxy = pki.server(limits());
    let mut client = pki.client(&proxy, &[], None).await;
    proxy.open_gate();
    send(&mut client, "GET /chunks HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
    let received = rest(&mut client).await;
    assert_eq!(received.iter().filter(|byte| **byte == b'x').count(), 256 * 1024);
}

#[tokio::test]
async fn a_client_certificate_is_required_where_a_ca_is_named() {
    let pki = Pki::new();
    let proxy = Fixture::with(limits(), 1, Some(Tls::load(&pki.mutual()).unwrap()));
    // TLS 1.3: the client learns of its refusal on the first read.
    for issuer in [None, Some(&Pki::new())] {
        let mut client = pki.client(&proxy, &[], issuer).await;
        let _ = client.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        let error = within(client.read(&mut [0])).await.unwrap_err();
        assert!(error.to_string().contains("alert"), "{error}");
    }
    let mut client = pki.client(&proxy, &[], Some(&pki)).await;
    assert!(ask(&mut client, "/").await.ends_with("ok"));
}

#[tokio::test]
async fn a_client_certificate_is_shown_in_each_handshake() {
    let pki = Pki::new();
    for (files, certificate) in [(pki.files(), None), (pki.mutual(), Some(&pki))] {
        let proxy = Fixture::with(limits(), 1, Some(Tls::load(&files).unwrap()));
        let now = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        let until = now() + Duration::from_secs(10);
        let config = pki.client_config(&[], certificate, Some(until));
        let mut kinds = Vec::new();
        for _ in 0..2 {
            let mut client = pki.connect(&proxy, config.clone()).await;
            assert!(ask(&mut client, "/").await.ends_with("ok"));
            kinds.push(client.get_ref().1.handshake_kind().unwrap());
        }
        let expected = if certificate.is_some() { HandshakeKind::Full } else { HandshakeKind::Resumed };
        assert_eq!(kinds, [HandshakeKind::Full, expected]);
        if certificate.is_none() {
            continue;
        }
        // Wait for the clock: then the certificate has expired.
        while now() <= until + Duration::from_secs(1) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let mut client = pki.connect(&proxy, config).await;
        let _ = client.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        let error = within(client.read(&mut [0])).await.unwrap_err();
        assert!(error.to_string().contains("alert"), "{error}");
    }
}

#[tokio::test]
async fn a_connection_of_a_removed_ca_takes_no_new_request() {
    let (pki, other) = (Pki::new(), Pki::new());
    pki.write("ca.pem", &format!("{}{}", pki.ca.pem(), other.ca.pem()));
    let mut proxy = Fixture::with(limits(), 2, Some(Tls::load(&pki.mutual()).unwrap()));
    let h1 = &["http/1.1"][..];
    let mut stays = pki.client(&proxy, h1, Some(&pki)).await;
    let mut idle = pki.client(&proxy, h1, Some(&other)).await;
    assert!(ask(&mut stays, "/").await.ends_with("ok"));
    assert!(ask(&mut idle, "/").await.ends_with("ok"));
    assert_eq!((proxy.event().await, proxy.event().await), (Event::Arrived, Event::Arrived));
    let mut busy = pki.client(&proxy, h1, Some(&other)).await;
    send(&mut busy, "GET /hold HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!(proxy.event().await, Event::Arrived);
    let (mut http2, connection) = http2_over(pki.client(&proxy, &["h2"], Some(&other)).await).await;
    let held = http2.send_request(get("/hold"));
    assert_eq!(proxy.event().await, Event::Arrived);

    // A reload without a change ends no connection.
    proxy.running().set_tls(Tls::load(&pki.mutual()).unwrap());
    assert!(ask(&mut stays, "/").await.ends_with("ok"));
    assert!(ask(&mut idle, "/").await.ends_with("ok"));

    pki.write("ca.pem", &pki.ca.pem());
    proxy.running().set_tls(Tls::load(&pki.mutual()).unwrap());
    assert!(within(http2.send_request(get("/"))).await.is_err(), "no new stream is answered");
    assert_eq!(rest(&mut idle).await, b"", "an idle connection is closed");
    assert!(ask(&mut stays, "/").await.ends_with("ok"));

    proxy.open_gate();
    proxy.open_gate();
    let answer = String::from_utf8(rest(&mut busy).await).unwrap().to_ascii_lowercase();
    assert!(answer.contains("connection: close") && answer.ends_with("held"), "{answer}");
    let body = within(held).await.unwrap().into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, "held");
    drop(http2);
    let _ = within(connection).await;
}

#[tokio::test]
async fn a_request_in_flight_of_a_removed_ca_has_the_idle_timeout() {
    let (pki, other) = (Pki::new(), Pki::new());
    pki.write("ca.pem", &format!("{}{}", pki.ca.pem(), other.ca.pem()));
    let limits = Limits { idle_timeout: SHORT, ..limits() };
    let mut proxy = Fixture::with(limits, 1, Some(Tls::load(&pki.mutual()).unwrap()));
    let mut busy = pki.client(&proxy, &["http/1.1"], Some(&other)).await;
    send(&mut busy, "GET /hold HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!(proxy.event().await, Event::Arrived);
    pki.write("ca.pem", &pki.ca.pem());
    let begun = Instant::now();
    proxy.running().set_tls(Tls::load(&pki.mutual()).unwrap());
    assert_eq!(proxy.event().await, Event::Abandoned);
    assert!(begun.elapsed() >= SHORT);
}

#[tokio::test]
async fn a_tunnel_of_a_removed_ca_has_the_idle_timeout() {
    let (pki, other) = (Pki::new(), Pki::new());
    pki.write("ca.pem", &format!("{}{}", pki.ca.pem(), other.ca.pem()));
    let limits = Limits { idle_timeout: SHORT, ..limits() };
    let proxy = Fixture::with(limits, 1, Some(Tls::load(&pki.mutual()).unwrap()));
    let mut stays = pki.client(&proxy, &["http/1.1"], Some(&pki)).await;
    let mut ends = pki.client(&proxy, &["http/1.1"], Some(&other)).await;
    for tunnel in [&mut stays, &mut ends] {
        send(tunnel, super::http::UPGRADE).await;
        assert!(response(tunnel).await.starts_with("HTTP/1.1 101 "));
    }

    pki.write("ca.pem", &pki.ca.pem());
    let begun = Instant::now();
    proxy.running().set_tls(Tls::load(&pki.mutual()).unwrap());
    time_until_closed(&mut ends).await;
    assert!(begun.elapsed() >= SHORT);
    send(&mut stays, "still here").await;
    let mut echo = [0; 10];
    within(stays.read_exact(&mut echo)).await.unwrap();
    assert_eq!(&echo, b"still here");
}

#[tokio::test]
async fn a_new_certificate_is_shown_to_new_clients_and_old_ones_stay() {
    let pki = Pki::new();
    let proxy = pki.server(limits());
    let mut old = pki.client(&proxy, &[], None).await;
    ask(&mut old, "/").await;

    pki.renew();
    proxy.running().set_tls(Tls::load(&pki.files()).unwrap());
    let mut new = pki.client(&proxy, &[], None).await;
    assert_ne!(shown(&new), shown(&old));
    assert!(ask(&mut new, "/").await.ends_with("ok"));
    assert!(ask(&mut old, "/").await.ends_with("ok"));
}

#[test]
fn files_that_cannot_serve_are_named() {
    let pki = Pki::new();
    let good = pki.files();
    let other_key = pki.write("other.pem", &KeyPair::generate().unwrap().serialize_pem());
    let text = pki.write("text.pem", "no PEM here");
    let cut = pki.write("cut.pem", "-----BEGIN CERTIFICATE-----\nQUJD");
    let missing = pki.folder.path().join("missing.pem");
    let table = [
        (ServerTls { cert_file: missing.clone(), ..good.clone() }, "tls.cert_file", "cannot be read"),
        (ServerTls { cert_file: text.clone(), ..good.clone() }, "tls.cert_file", "holds no certificate"),
        (ServerTls { cert_file: cut, ..good.clone() }, "tls.cert_file", "not a PEM file"),
        (ServerTls { key_file: missing, ..good.clone() }, "tls.key_file", "cannot be read"),
        (ServerTls { key_file: good.cert_file.clone(), ..good.clone() }, "tls.key_file", "holds no private key"),
        (ServerTls { key_file: other_key, ..good.clone() }, "tls.key_file", "does not belong"),
        (ServerTls { client_ca_file: Some(text), ..good.clone() }, "tls.client_ca_file", "holds no certificate"),
    ];
    for (files, key, what) in table {
        let error = Tls::load(&files).map(|_| ()).unwrap_err().to_string();
        assert!(error.starts_with(key) && error.contains(what), "{error}");
    }
}
