//! Whether the client certificate of an open connection is still accepted: a reload may have removed its CA.

use std::cell::RefCell;
use std::sync::Arc;

use tokio_rustls::rustls::ServerConnection;
use tokio_rustls::rustls::pki_types::{CertificateDer, UnixTime};

use super::settings::Settings;
use super::tls::Tls;

/// The certificates with which a TLS connection was accepted.
pub(super) struct Admission {
    settings: Arc<Settings>,
    /// Empty if the proxy asked for none.
    certificates: Vec<CertificateDer<'static>>,
    /// The time for later checks: a certificate that has expired since does not end the connection.
    accepted_at: UnixTime,
    /// The configuration under which the certificates were last accepted.
    accepted_by: RefCell<Arc<Tls>>,
}

// === impl Admission ===

impl Admission {
    pub(super) fn new(settings: Arc<Settings>, tls: Arc<Tls>, session: &ServerConnection) -> Self {
        let certificates = if tls.asks_for_certificates() { session.peer_certificates() } else { None };
        Self {
            settings,
            certificates: certificates.unwrap_or_default().iter().map(|one| one.clone().into_owned()).collect(),
            accepted_at: UnixTime::now(),
            accepted_by: RefCell::new(tls),
        }
    }

    /// Whether a new connection with these certificates would be refused now.
    pub(super) fn is_revoked(&self) -> bool {
        let Some(current) = &self.settings.tls else { return false };
        let current = current.load();
        if Arc::ptr_eq(&current, &self.accepted_by.borrow()) {
            return false;
        }
        if !current.accepts(&self.certificates, self.accepted_at) {
            return true;
        }
        self.accepted_by.replace(Arc::clone(&current));
        false
    }
}
