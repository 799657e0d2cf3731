//! A loopback origin and a certificate authority, for the tests of `upstream` and `outbound`.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http::uri::{Authority, Scheme};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, KeyPair};
use tempfile::TempDir;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

use crate::config::{ClientCert, Origin, Outbound, UpstreamConfig, UpstreamHttp, testing};

/// Longer than any test should take: an await that never ends fails the test and does not hang it.
pub(crate) const LIMIT: Duration = Duration::from_secs(10);

pub(crate) fn origin(scheme: Scheme, host: &str, port: u16) -> Origin {
    Origin { scheme, authority: Authority::try_from(format!("{host}:{port}")).unwrap() }
}

pub(crate) fn http_origin(address: SocketAddr) -> Origin {
    origin(Scheme::HTTP, "127.0.0.1", address.port())
}

pub(crate) fn direct() -> Outbound {
    Outbound { ca_file: None, proxy: None }
}

pub(crate) fn upstream_config(origin: Origin, http: UpstreamHttp) -> UpstreamConfig {
    UpstreamConfig { origin, http, refusal: Vec::new(), ..testing::defaults().upstream }
}

/// A certificate authority of one test, with its files.
pub(crate) struct Authority509 {
    issuer: CertifiedIssuer<'static, KeyPair>,
    dir: TempDir,
}

impl Authority509 {
    pub(crate) fn new() -> Self {
        Self::named("Test CA")
    }

    pub(crate) fn named(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("ca.pem"), issuer.pem()).unwrap();
        Self { issuer, dir }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// An outbound configuration that trusts this authority.
    pub(crate) fn outbound(&self) -> Outbound {
        Outbound { ca_file: Some(self.path().join("ca.pem")), proxy: None }
    }

    pub(crate) fn client_cert(&self) -> ClientCert {
        let key = KeyPair::generate().unwrap();
        let cert = CertificateParams::new(vec!["client".into()]).unwrap().signed_by(&key, &self.issuer).unwrap();
        let cert_file = self.path().join("client.pem");
        let key_file = self.path().join("client.key");
        std::fs::write(&cert_file, cert.pem()).unwrap();
        std::fs::write(&key_file, key.serialize_pem()).unwrap();
        ClientCert { cert_file, key_file }
    }

    /// Accepts TLS for `name` and offers `alpn`.
    pub(crate) fn acceptor(&self, name: &str, alpn: &[&str]) -> TlsAcceptor {
        self.acceptor_with(CertificateParams::new(vec![name.into()]).unwrap(), alpn, false)
    }

    pub(crate) fn acceptor_with(&self, params: CertificateParams, alpn: &[&str], client_auth: bool) -> TlsAcceptor {
        let key = KeyPair::generate().unwrap();
        let cert = params.signed_by(&key, &self.issuer).unwrap();
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder =
            ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions().unwrap();
        let builder = if client_auth {
            let mut roots = RootCertStore::empty();
            roots.add(self.issuer.der().clone()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
            builder.with_client_cert_verifier(verifier)
        } else {
            builder.with_no_client_auth()
        };
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let mut config = builder.with_single_cert(vec![cert.der().clone()], key).unwrap();
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        TlsAcceptor::from(Arc::new(config))
    }
}
