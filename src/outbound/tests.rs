use std::io;

use http::uri::Scheme;
use rcgen::{BasicConstraints, CertificateParams, IsCa, date_time_ymd};
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::HandshakeKind;

use crate::config::{NoProxy, OutboundProxy};
use crate::secret::Secret;
use crate::upstream::testing::{Authority509, LIMIT, direct, http_origin, origin};

use super::*;

/// Accepts TLS connections and keeps them open.
async fn tls_server(acceptor: TlsAcceptor) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (tcp, _) = listener.accept().await.unwrap();
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let mut stream = acceptor.accept(tcp).await?;
                stream.write_all(b"!").await?;
                stream.read(&mut [0; 64]).await
            });
        }
    });
    port
}

fn connector(authority: &Authority509, host: &str, port: u16) -> Connector {
    Connector::new(origin(Scheme::HTTPS, host, port), &authority.outbound(), None, LIMIT).unwrap()
}

async fn failure(connector: &Connector) -> ConnectError {
    match connector.connect(Offer::Both).await {
        Ok((_, protocol)) => panic!("connected, {protocol:?}"),
        Err(error) => error,
    }
}

#[tokio::test]
async fn the_protocol_is_what_alpn_chose() {
    let authority = Authority509::new();
    let rows: [(&[&str], Offer, Protocol); 6] = [
        (&["h2", "http/1.1"], Offer::Both, Protocol::Http2),
        (&["h2", "http/1.1"], Offer::Http1, Protocol::Http1),
        (&["h2", "http/1.1"], Offer::Http2, Protocol::Http2),
        (&["http/1.1"], Offer::Both, Protocol::Http1),
        (&[], Offer::Both, Protocol::Http1),
        (&[], Offer::Http1, Protocol::Http1),
    ];
    for (alpn, offer, expected) in rows {
        let port = tls_server(authority.acceptor("localhost", alpn)).await;
        let (stream, protocol) = connector(&authority, "localhost", port).connect(offer).await.unwrap();
        assert_eq!(protocol, expected, "{alpn:?} {offer:?}");
        assert!(stream.is_write_vectored());
    }
}

#[tokio::test]
async fn http2_alone_is_not_taken_for_http1() {
    let authority = Authority509::new();
    for alpn in [&["http/1.1"] as &[&str], &[]] {
        let port = tls_server(authority.acceptor("localhost", alpn)).await;
        let outcome = connector(&authority, "localhost", port).connect(Offer::Http2).await;
        assert!(matches!(outcome, Err(ConnectError::Tls(_))), "{alpn:?}");
    }
}

#[tokio::test]
async fn plain_http_speaks_what_is_offered_by_prior_knowledge() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let connector = Connector::new(http_origin(listener.local_addr().unwrap()), &direct(), None, LIMIT).unwrap();
    for (offer, expected) in
        [(Offer::Both, Protocol::Http1), (Offer::Http1, Protocol::Http1), (Offer::Http2, Protocol::Http2)]
    {
        let (stream, protocol) = connector.connect(offer).await.unwrap();
        assert_eq!(protocol, expected);
        assert!(matches!(stream, Stream::Plain(_)));
    }
}

#[tokio::test]
async fn a_certificate_is_trusted_only_from_a_trusted_issuer_for_this_name_and_now() {
    let (authority, stranger) = (Authority509::new(), Authority509::new());
    let port = tls_server(authority.acceptor("localhost", &[])).await;
    connector(&authority, "localhost", port).connect(Offer::Both).await.unwrap();
    assert!(matches!(failure(&connector(&stranger, "localhost", port)).await, ConnectError::Certificate(_)));
    // The certificate names `localhost`, not the address.
    assert!(matches!(failure(&connector(&authority, "127.0.0.1", port)).await, ConnectError::Certificate(_)));

    let mut expired = CertificateParams::new(vec!["localhost".into()]).unwrap();
    expired.not_before = date_time_ymd(2019, 1, 1);
    expired.not_after = date_time_ymd(2020, 1, 1);
    let port = tls_server(authority.acceptor_with(expired, &[], false)).await;
    assert!(matches!(failure(&connector(&authority, "localhost", port)).await, ConnectError::OutsideValidity(_)));
}

#[tokio::test]
async fn a_failed_handshake_is_told_with_what_to_do() {
    let (authority, stranger) = (Authority509::new(), Authority509::named("Another CA"));
    let port = tls_server(authority.acceptor("localhost", &[])).await;
    let told = failure(&connector(&stranger, "localhost", port)).await.to_string();
    assert!(told.contains("an intermediate is missing; the issuer is \"Test CA\": add"), "{told}");
    let told = failure(&connector(&authority, "127.0.0.1", port)).await.to_string();
    assert!(told.contains("it is not for 127.0.0.1, but for localhost: use"), "{told}");

    let params = || CertificateParams::new(vec!["localhost".into()]).unwrap();
    let mut expired = params();
    (expired.not_before, expired.not_after) = (date_time_ymd(2019, 1, 1), date_time_ymd(2020, 1, 1));
    let mut early = params();
    (early.not_before, early.not_after) = (date_time_ymd(2200, 1, 1), date_time_ymd(2201, 1, 1));
    let mut ca = params();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    for (params, expected) in [
        (expired, "it expired on 2020-01-01T00:00:00Z"),
        (early, "it is valid from 2200-01-01T00:00:00Z on"),
        (ca, "the certificate is a CA's own: sign one for the host with it"),
    ] {
        let port = tls_server(authority.acceptor_with(params, &[], false)).await;
        let told = failure(&connector(&authority, "localhost", port)).await.to_string();
        assert!(told.contains(expected), "{told}");
    }
    // A fatal alert (RFC 8446 §6.2), a close, and a response in plaintext.
    const HANDSHAKE_FAILURE: &[u8] = &[21, 3, 3, 0, 2, 2, 40];
    for (answer, expected) in [
        (HANDSHAKE_FAILURE, "no cipher in common: TLS 1.2 needs ECDHE with AES-GCM or ChaCha20"),
        (b"", "the server closed the connection without a reason"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "does not speak TLS at this port"),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            let (mut tcp, _) = listener.accept().await.unwrap();
            // Read everything: unread bytes would turn the close into a reset.
            assert_ne!(tcp.read(&mut [0; 16 * 1024]).await.unwrap(), 0);
            tcp.write_all(answer).await.unwrap();
            tcp.shutdown().await
        });
        let told = failure(&connector(&authority, "localhost", port)).await.to_string();
        assert!(told.contains(expected), "{told}");
    }
}

#[tokio::test]
async fn an_ip_literal_is_verified_as_an_address() {
    let authority = Authority509::new();
    let port = tls_server(authority.acceptor("127.0.0.1", &[])).await;
    connector(&authority, "127.0.0.1", port).connect(Offer::Both).await.unwrap();
}

#[tokio::test]
async fn a_client_certificate_is_presented() {
    let authority = Authority509::new();
    let params = CertificateParams::new(vec!["localhost".into()]).unwrap();
    let port = tls_server(authority.acceptor_with(params, &[], true)).await;
    let origin = origin(Scheme::HTTPS, "localhost", port);
    let cert = authority.client_cert();
    let with = Connector::new(origin.clone(), &authority.outbound(), Some(&cert), LIMIT).unwrap();
    let (mut stream, _) = with.connect(Offer::Both).await.unwrap();
    assert_eq!(stream.read_u8().await.unwrap(), b'!');

    // In TLS 1.3, the refusal of the server arrives after the handshake of the client.
    let without = Connector::new(origin, &authority.outbound(), None, LIMIT).unwrap();
    let (mut stream, _) = without.connect(Offer::Both).await.unwrap();
    assert_eq!(stream.read_u8().await.unwrap_err().kind(), io::ErrorKind::InvalidData);
}

#[tokio::test]
async fn a_second_connection_resumes_the_first_ones_session() {
    let authority = Authority509::new();
    let port = tls_server(authority.acceptor("localhost", &["h2", "http/1.1"])).await;
    let connector = connector(&authority, "localhost", port);
    let mut kinds = Vec::new();
    for offer in [Offer::Both, Offer::Both] {
        let (mut stream, _) = connector.connect(offer).await.unwrap();
        // Tickets arrive with the first data.
        stream.read_u8().await.unwrap();
        let Stream::Tls(tls) = &stream else { panic!("not TLS") };
        kinds.push(tls.get_ref().1.handshake_kind());
    }
    assert_eq!(kinds, [Some(HandshakeKind::Full), Some(HandshakeKind::Resumed)]);
}

#[tokio::test]
async fn a_closed_port_is_refused() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = http_origin(listener.local_addr().unwrap());
    drop(listener);
    let connector = Connector::new(origin, &direct(), None, LIMIT).unwrap();
    assert_eq!(failure(&connector).await, ConnectError::Refused);
}

#[tokio::test]
async fn a_name_that_does_not_exist_is_a_dns_error() {
    let authority = Authority509::new();
    let connector = connector(&authority, "no-such-host.invalid", 443);
    assert!(matches!(failure(&connector).await, ConnectError::Dns(_)));
}

#[tokio::test]
async fn one_time_limit_covers_the_handshake_too() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let timeout = Duration::from_millis(50);
    let connector = Connector::new(origin(Scheme::HTTPS, "localhost", port), &direct(), None, timeout).unwrap();
    assert_eq!(failure(&connector).await, ConnectError::Timeout(timeout));
}

#[tokio::test]
async fn a_server_that_speaks_no_tls_is_a_tls_error() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (mut tcp, _) = listener.accept().await.unwrap();
        tcp.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        tcp.read(&mut [0; 1024]).await
    });
    let connector = Connector::new(origin(Scheme::HTTPS, "localhost", port), &direct(), None, LIMIT).unwrap();
    assert!(matches!(failure(&connector).await, ConnectError::Tls(_)));
}

/// Answers one `CONNECT`, and tunnels if the answer is 200. Returns the request.
async fn proxy(answer: &'static str, target: u16) -> (u16, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let served = tokio::spawn(async move {
        let (mut client, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            request.push(client.read_u8().await.unwrap());
        }
        client.write_all(answer.as_bytes()).await.unwrap();
        if answer.starts_with("HTTP/1.1 200") {
            let mut server = TcpStream::connect(("127.0.0.1", target)).await.unwrap();
            tokio::spawn(async move { tokio::io::copy_bidirectional(&mut client, &mut server).await });
        }
        String::from_utf8(request).unwrap()
    });
    (port, served)
}

fn through(authority: &Authority509, port: u16) -> Outbound {
    let credentials = Some(Secret::new("user:canary"));
    let proxy = OutboundProxy { host: "127.0.0.1".into(), port, credentials, no_proxy: NoProxy::default() };
    Outbound { proxy: Some(proxy), ..authority.outbound() }
}

#[tokio::test]
async fn a_proxy_is_asked_with_its_credentials_and_carries_tls() {
    let authority = Authority509::new();
    let target = tls_server(authority.acceptor("api.test", &["h2"])).await;
    let (port, served) = proxy("HTTP/1.1 200 Connection established\r\nVia: p\r\n\r\n", target).await;
    // Only the proxy knows the name.
    let origin = origin(Scheme::HTTPS, "api.test", 8443);
    let connector = Connector::new(origin, &through(&authority, port), None, LIMIT).unwrap();
    let (_, protocol) = connector.connect(Offer::Both).await.unwrap();
    assert_eq!(protocol, Protocol::Http2);
    assert_eq!(
        served.await.unwrap(),
        "CONNECT api.test:8443 HTTP/1.1\r\nHost: api.test:8443\r\n\
         Proxy-Authorization: Basic dXNlcjpjYW5hcnk=\r\n\r\n"
    );
}

#[tokio::test]
async fn a_proxys_refusal_is_told_without_the_credentials() {
    let authority = Authority509::new();
    let answer = "HTTP/1.1 407 user:canary\r\nX: dXNlcjpjYW5hcnk=\r\n\r\n";
    let (port, _served) = proxy(answer, 0).await;
    let origin = origin(Scheme::HTTPS, "api.test", 443);
    let connector = Connector::new(origin, &through(&authority, port), None, LIMIT).unwrap();
    let error = failure(&connector).await;
    assert_eq!(error, ConnectError::Proxy("status 407".into()));
    let told = format!("{error} {error:?} {connector:?}");
    assert!(!told.contains("canary") && !told.contains("dXNl"), "{told}");
}

#[tokio::test]
async fn a_proxy_that_is_down_is_named_as_the_culprit() {
    let authority = Authority509::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let origin = origin(Scheme::HTTPS, "api.test", 443);
    let connector = Connector::new(origin, &through(&authority, port), None, LIMIT).unwrap();
    assert!(matches!(failure(&connector).await, ConnectError::Proxy(_)));
}

#[tokio::test]
async fn loopback_addresses_are_reached_without_the_proxy() {
    let authority = Authority509::new();
    let target = tls_server(authority.acceptor("localhost", &[])).await;
    let origin = origin(Scheme::HTTPS, "localhost", target);
    // Nothing listens on the port of the proxy.
    let connector = Connector::new(origin, &through(&authority, 1), None, LIMIT).unwrap();
    connector.connect(Offer::Both).await.unwrap();
}

#[test]
fn files_that_cannot_be_used_are_named_and_not_quoted() {
    let authority = Authority509::new();
    let origin = || origin(Scheme::HTTPS, "api.test", 443);
    let path = authority.path().join("bad.pem");
    let outbound = Outbound { ca_file: Some(path.clone()), proxy: None };
    let error = Connector::new(origin(), &outbound, None, LIMIT).unwrap_err();
    assert!(error.to_string().contains("bad.pem: cannot be read"), "{error}");
    for text in ["", "canary", "-----BEGIN CERTIFICATE-----\ncanary", "-----BEGIN canary"] {
        std::fs::write(&path, text).unwrap();
        let error = Connector::new(origin(), &outbound, None, LIMIT).unwrap_err();
        assert_eq!(error.path, path);
        assert!(!error.to_string().contains("canary"), "{error}");
    }

    let mut cert = authority.client_cert();
    let other_key = authority.path().join("other.key");
    std::fs::write(&other_key, rcgen::KeyPair::generate().unwrap().serialize_pem()).unwrap();
    cert.key_file = other_key;
    let error = Connector::new(origin(), &authority.outbound(), Some(&cert), LIMIT).unwrap_err();
    assert!(error.to_string().contains("does not go with its key"), "{error}");
    std::fs::write(&cert.key_file, "-----BEGIN PRIVATE KEY-----\ncanary").unwrap();
    let error = Connector::new(origin(), &authority.outbound(), Some(&cert), LIMIT).unwrap_err();
    assert_eq!(error.path, cert.key_file);
    assert!(!error.to_string().contains("canary"), "{error}");
}

#[test]
fn a_time_limit_is_told_without_needless_digits() {
    for (micros, text) in
        [(5_000_000, "5s"), (3_000_731, "3s"), (1_250_400, "1.3s"), (999_400, "999ms"), (5_721, "6ms")]
    {
        let error = ConnectError::Timeout(Duration::from_micros(micros));
        assert_eq!(error.to_string(), format!("no connection within {text}"));
    }
}
