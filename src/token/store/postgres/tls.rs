//! TLS to the database, with rustls, through the two traits of the driver.

use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::pki_types::pem;
use tokio_rustls::rustls::{ClientConfig, Error as RustlsError, RootCertStore};

use crate::files;
use crate::token::store::StoreError;

/// The TLS configuration with its trust anchors.
#[derive(Clone)]
pub(super) struct Tls {
    config: Arc<ClientConfig>,
}

/// A handshake that has not begun.
pub(super) struct Handshake {
    config: Arc<ClientConfig>,
    host: String,
}

/// An encrypted connection.
pub(super) struct Encrypted<S>(TlsStream<S>);

/// Why a handshake failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum HandshakeError {
    #[error("{0:?} is not a name that a certificate can hold")]
    Name(String),
    #[error("its certificate is not trusted ({0}); a private authority's goes into outbound.ca_file")]
    Certificate(String),
    #[error("{0}")]
    Failed(io::Error),
}

/// The ALPN name that PostgreSQL 17 and later require for `sslnegotiation=direct`.
const ALPN: &[u8] = b"postgresql";

// === impl Tls ===

impl Tls {
    pub(super) fn new(ca_file: Option<&Path>) -> Result<Self, StoreError> {
        let mut roots = RootCertStore::from_iter(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        if let Some(path) = ca_file {
            let failed =
                |what: String| StoreError::Unavailable(format!("outbound.ca_file: {}: {what}", path.display()));
            let anchors = files::read_certificates(path).map_err(|error| match error {
                pem::Error::Io(error) => failed(error.to_string()),
                // The text of the parser may quote the file.
                _ => failed("is not valid PEM".to_owned()),
            })?;
            if anchors.is_empty() {
                return Err(failed("holds no certificate (PEM)".to_owned()));
            }
            for anchor in anchors {
                roots.add(anchor).map_err(|error| failed(format!("not a trust anchor: {error}")))?;
            }
        }
        // An explicit provider, because the process-wide default depends on who installed one first.
        let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| StoreError::Unavailable(format!("TLS is not available: {error}")))?;
        let mut config = config.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![ALPN.to_vec()];
        Ok(Self { config: Arc::new(config) })
    }
}

impl<S> MakeTlsConnect<S> for Tls
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    type Stream = Encrypted<S>;
    type TlsConnect = Handshake;
    type Error = HandshakeError;

    fn make_tls_connect(&mut self, host: &str) -> Result<Handshake, HandshakeError> {
        // The host is checked later, because connections without TLS pass here too, and a unix socket has no host name.
        Ok(Handshake { config: Arc::clone(&self.config), host: host.to_owned() })
    }
}

// === impl Handshake ===

impl<S> TlsConnect<S> for Handshake
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    type Stream = Encrypted<S>;
    type Error = HandshakeError;
    type Future = Pin<Box<dyn Future<Output = Result<Encrypted<S>, HandshakeError>> + Send>>;

    fn connect(self, stream: S) -> Self::Future {
        Box::pin(async move {
            let Ok(name) = ServerName::try_from(self.host.clone()) else { return Err(HandshakeError::Name(self.host)) };
            Ok(Encrypted(TlsConnector::from(self.config).connect(name, stream).await?))
        })
    }
}

// === impl Encrypted ===

impl<S: AsyncRead + AsyncWrite + Unpin> tokio_postgres::tls::TlsStream for Encrypted<S> {
    /// No channel binding. It would only help against an attacker with a trusted certificate for this host.
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Encrypted<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Encrypted<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

// === impl HandshakeError ===

impl From<io::Error> for HandshakeError {
    fn from(error: io::Error) -> Self {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<RustlsError>()) {
            Some(RustlsError::InvalidCertificate(reason)) => Self::Certificate(reason.to_string()),
            _ => Self::Failed(error),
        }
    }
}
