//! TLS to the upstream and the token endpoint: trust anchors, client certificate, ALPN.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::WebPkiServerVerifier;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, version};

use crate::config::{ClientCert, ip_literal};
use crate::files;

use super::{ConnectError, Offer, Protocol, Stream};

use issuer::Verifier;

pub(super) mod failure;
mod issuer;
mod validity;

pub(super) use validity::end;

const ALPN_HTTP1: &[u8] = b"http/1.1";
const ALPN_HTTP2: &[u8] = b"h2";

/// A file with trust anchors or a certificate that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {what}", path = path.display())]
pub struct TlsError {
    pub path: PathBuf,
    pub what: String,
}

/// One configuration for each [`Offer`]. They share trust anchors, certificate and the cache of sessions.
pub(super) struct TlsSetup {
    verifier: Arc<Verifier>,
    both: TlsConnector,
    http1: TlsConnector,
    http2: TlsConnector,
}

// === impl TlsSetup ===

impl TlsSetup {
    pub(super) fn new(ca_file: Option<&Path>, cert: Option<&ClientCert>) -> Result<Self, TlsError> {
        let mut roots = RootCertStore::from_iter(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        if let Some(path) = ca_file {
            for anchor in certificates(path)? {
                roots.add(anchor).map_err(|error| TlsError::new(path, format!("not a trust anchor: {error}")))?;
            }
        }
        // The provider is explicit: the process-wide default would depend on which code installed one first.
        let provider = Arc::new(aws_lc_rs::default_provider());
        let unusable = |error: String| TlsError::new(ca_file.unwrap_or(Path::new("TLS")), error);
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build();
        let verifier = Arc::new(Verifier::new(verifier.map_err(|error| unusable(error.to_string()))?));
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&version::TLS13, &version::TLS12])
            .map_err(|error| unusable(error.to_string()))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::<Verifier>::clone(&verifier));
        let base = match cert {
            None => builder.with_no_client_auth(),
            Some(ClientCert { cert_file, key_file }) => {
                let chain = certificates(cert_file)?;
                let key = files::read_private_key(key_file).map_err(|error| TlsError::pem(key_file, &error))?;
                builder
                    .with_client_auth_cert(chain, key)
                    .map_err(|error| TlsError::new(cert_file, format!("does not go with its key: {error}")))?
            }
        };
        let offering = |protocols: &[&[u8]]| {
            let mut config = base.clone();
            config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
            TlsConnector::from(Arc::new(config))
        };
        Ok(Self {
            verifier,
            both: offering(&[ALPN_HTTP2, ALPN_HTTP1]),
            http1: offering(&[ALPN_HTTP1]),
            http2: offering(&[ALPN_HTTP2]),
        })
    }

    /// For a library that makes the handshake itself, over HTTP/1.1.
    pub(super) fn client_config(&self) -> ClientConfig {
        (**self.http1.config()).clone()
    }

    pub(super) async fn handshake(
        &self,
        host: &str,
        tcp: TcpStream,
        offer: Offer,
    ) -> Result<(Stream, Protocol), ConnectError> {
        let connector = match offer {
            Offer::Both => &self.both,
            Offer::Http1 => &self.http1,
            Offer::Http2 => &self.http2,
        };
        let stream = connector.connect(server_name(host)?, tcp).await;
        let stream = stream.map_err(|error| failure::explain(&error, self.verifier.refused_issuer().as_deref()))?;
        let chosen = stream.get_ref().1.alpn_protocol();
        let protocol = if chosen == Some(ALPN_HTTP2) { Protocol::Http2 } else { Protocol::Http1 };
        if offer == Offer::Http2 && protocol == Protocol::Http1 {
            return Err(ConnectError::Tls("the server does not offer HTTP/2 (upstream.http = 2)".into()));
        }
        Ok((Stream::Tls(Box::new(stream)), protocol))
    }
}

fn server_name(host: &str) -> Result<ServerName<'static>, ConnectError> {
    match ip_literal(host) {
        Some(ip) => Ok(ServerName::from(ip)),
        None => ServerName::try_from(host.to_owned())
            .map_err(|_| ConnectError::Tls(format!("{host} is not a name that a certificate can hold"))),
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let certificates = files::read_certificates(path).map_err(|error| TlsError::pem(path, &error))?;
    if certificates.is_empty() {
        return Err(TlsError::new(path, "holds no certificate (PEM)"));
    }
    Ok(certificates)
}

// === impl TlsError ===

impl TlsError {
    fn new(path: &Path, what: impl Into<String>) -> Self {
        Self { path: path.to_owned(), what: what.into() }
    }

    /// The text of the parser is not used: it may quote the file, which may be a private key.
    fn pem(path: &Path, error: &pem::Error) -> Self {
        match error {
            pem::Error::Io(error) => Self::new(path, format!("cannot be read: {error}")),
            pem::Error::NoItemsFound => Self::new(path, "holds no private key (PEM)"),
            _ => Self::new(path, "is not valid PEM"),
        }
    }
}
