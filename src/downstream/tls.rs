//! TLS for internal clients: the proxy's certificate, and the CAs of client certificates.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem;
use tokio_rustls::rustls::pki_types::{CertificateDer, UnixTime};
use tokio_rustls::rustls::server::danger::ClientCertVerifier;
use tokio_rustls::rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use tokio_rustls::rustls::{self, RootCertStore, ServerConfig};

use crate::config::ServerTls;
use crate::files;

/// A certificate, its key and the client CAs, read and checked against each other.
#[derive(Clone)]
pub struct Tls {
    acceptor: TlsAcceptor,
    /// `None`: the proxy asks for no client certificate.
    clients: Option<Arc<dyn ClientCertVerifier>>,
}

/// A file that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{key} {path}: {what}", path = path.display())]
pub struct TlsError {
    /// The configuration key that names the file.
    key: &'static str,
    path: PathBuf,
    what: String,
}

// === impl Tls ===

impl Tls {
    /// Reads the files once. For a later version, load them again and call [`Running::set_tls`](super::Running::set_tls).
    pub fn load(tls: &ServerTls) -> Result<Self, TlsError> {
        let certificate = |what| TlsError::new("tls.cert_file", &tls.cert_file, what);
        let chain = certificates("tls.cert_file", &tls.cert_file)?;
        let key = files::read_private_key(&tls.key_file)
            .map_err(|error| TlsError::new("tls.key_file", &tls.key_file, unreadable(error, "private key")))?;
        let builder = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| certificate(error.to_string()))?;
        let clients = tls.client_ca_file.as_deref().map(client_verifier).transpose()?;
        let builder = match &clients {
            None => builder.with_no_client_auth(),
            Some(clients) => builder.with_client_cert_verifier(Arc::clone(clients)),
        };
        let mut config = builder.with_single_cert(chain, key).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => TlsError::new(
                "tls.key_file",
                &tls.key_file,
                format!("does not belong to the first certificate of {}", tls.cert_file.display()),
            ),
            error => certificate(error.to_string()),
        })?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        // The default is a cache with a lock that all workers share.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        if clients.is_none() {
            config.ticketer = aws_lc_rs::Ticketer::new().map_err(|error| certificate(error.to_string()))?;
        } else {
            // A resumed session does not present its certificate again, which may have expired.
            config.send_tls13_tickets = 0;
        }
        Ok(Self { acceptor: TlsAcceptor::from(Arc::new(config)), clients })
    }

    pub(super) fn acceptor(&self) -> &TlsAcceptor {
        &self.acceptor
    }

    pub(super) fn asks_for_certificates(&self) -> bool {
        self.clients.is_some()
    }

    /// Whether a client with these certificates (its own first) would be accepted at that time.
    pub(super) fn accepts(&self, certificates: &[CertificateDer<'_>], at: UnixTime) -> bool {
        let Some(clients) = &self.clients else { return true };
        certificates
            .split_first()
            .is_some_and(|(own, intermediates)| clients.verify_client_cert(own, intermediates, at).is_ok())
    }
}

// === impl TlsError ===

impl TlsError {
    fn new(key: &'static str, path: &Path, what: impl Into<String>) -> Self {
        Self { key, path: path.to_owned(), what: what.into() }
    }
}

fn client_verifier(path: &Path) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let fail = |what: String| TlsError::new("tls.client_ca_file", path, what);
    let mut roots = RootCertStore::empty();
    for certificate in certificates("tls.client_ca_file", path)? {
        roots.add(certificate).map_err(|error| fail(format!("holds a certificate that cannot be used: {error}")))?;
    }
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::new(aws_lc_rs::default_provider()))
        .build()
        .map_err(|error| fail(error.to_string()))
}

/// At least one.
fn certificates(key: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found =
        files::read_certificates(path).map_err(|error| TlsError::new(key, path, unreadable(error, "certificate")))?;
    if found.is_empty() {
        return Err(TlsError::new(key, path, unreadable(pem::Error::NoItemsFound, "certificate")));
    }
    Ok(found)
}

/// The text of the parser is not used: it may quote the file.
fn unreadable(error: pem::Error, wanted: &str) -> String {
    match error {
        pem::Error::Io(error) => format!("cannot be read: {error}"),
        pem::Error::NoItemsFound => format!("holds no {wanted} in PEM form (-----BEGIN …-----)"),
        _ => "is not a PEM file, or a damaged one".to_owned(),
    }
}
