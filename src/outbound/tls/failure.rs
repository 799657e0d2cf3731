//! Why a TLS handshake failed, and what to do. A table of the errors of rustls.

use std::io;

use jiff::Timestamp;
use tokio_rustls::rustls::pki_types::UnixTime;
use tokio_rustls::rustls::{
    AlertDescription, CertificateError, Error, ExtendedKeyPurpose, InvalidMessage, OtherError, PeerIncompatible,
};

use super::ConnectError;
use super::issuer::printable;

const CIPHERS: &str = "no cipher in common: TLS 1.2 needs ECDHE with AES-GCM or ChaCha20";
const CA: &str = "add the CA's certificate to outbound.ca_file, or let the server send the intermediate";
const NAMES: usize = 5;

/// `issuer`: the issuer of the certificate that the server presented, if it is known.
pub(in crate::outbound) fn explain(error: &io::Error, issuer: Option<&str>) -> ConnectError {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
        Some(Error::InvalidCertificate(reason)) => {
            let said = certificate(reason, issuer);
            if is_about_validity(reason) {
                ConnectError::OutsideValidity(said)
            } else {
                ConnectError::Certificate(said)
            }
        }
        Some(other) => ConnectError::Tls(handshake(other)),
        None if error.kind() == io::ErrorKind::UnexpectedEof => ConnectError::Tls(format!(
            "the server closed the connection without a reason, often because there is {CIPHERS}, or because it does not know the name"
        )),
        None => ConnectError::Tls(error.to_string()),
    }
}

/// Whether the certificate has expired, or is not valid yet.
fn is_about_validity(reason: &CertificateError) -> bool {
    use CertificateError as E;
    matches!(reason, E::ExpiredContext { .. } | E::Expired | E::NotValidYetContext { .. } | E::NotValidYet)
}

fn certificate(reason: &CertificateError, issuer: Option<&str>) -> String {
    use CertificateError as E;
    match reason {
        E::UnknownIssuer => {
            let issuer = issuer.map(|issuer| format!("; the issuer is {issuer}")).unwrap_or_default();
            format!("the CA is not known, or an intermediate is missing{issuer}: {CA}")
        }
        E::NotValidForNameContext { expected, presented } => {
            let expected = printable(&expected.to_str());
            format!("it is not for {expected}, but for {}: use a name that it is for, or a certificate for this one", names(presented))
        }
        E::NotValidForName => "it is for another name: use a name that it is for".into(),
        E::ExpiredContext { not_after, time } => {
            format!("it expired on {}, and this machine's clock says {}: renew it", date(*not_after), date(*time))
        }
        E::Expired => "it has expired: renew it".into(),
        E::NotValidYetContext { not_before, time } => format!(
            "it is valid from {} on, and this machine's clock says {}: set the clock, or wait",
            date(*not_before),
            date(*time)
        ),
        E::NotValidYet => "it is not valid yet: compare this machine's clock with the certificate".into(),
        E::Revoked => "it was revoked: replace it".into(),
        E::BadEncoding => "it is not a valid certificate (X.509): replace it".into(),
        E::BadSignature => {
            "its signature does not match its CA's key: the CA may have a new certificate under the old name; update outbound.ca_file".into()
        }
        E::UnhandledCriticalExtension => "it has a critical extension that is not supported: issue one without it".into(),
        E::UnsupportedSignatureAlgorithmContext { .. } | E::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            "it is signed with an algorithm that is not supported (SHA-1, for example): sign it with SHA-256 and RSA, ECDSA or Ed25519".into()
        }
        E::InvalidPurpose | E::InvalidPurposeContext { required: ExtendedKeyPurpose::ServerAuth, .. } => {
            "it is not for servers: issue one with the extended key usage serverAuth".into()
        }
        E::Other(error) => other(error),
        // The other variants have a text of their own.
        reason => reason.to_string(),
    }
}

/// Errors that only webpki, the verifier, defines.
fn other(OtherError(error): &OtherError) -> String {
    use webpki::Error as E;
    match error.downcast_ref::<E>() {
        Some(E::CaUsedAsEndEntity) => "the certificate is a CA's own: sign one for the host with it".into(),
        Some(E::EndEntityUsedAsCa) => {
            "a certificate in its chain is not a CA's: sign with a certificate that has the basic constraint CA:TRUE"
                .into()
        }
        Some(E::UnsupportedCertVersion) => {
            "it is not an X.509 certificate of version 3: issue one (with a subjectAltName)".into()
        }
        Some(E::NameConstraintViolation) => {
            "a CA in its chain may not issue certificates for this name (name constraints)".into()
        }
        Some(E::PathLenConstraintViolated) => "its chain is longer than a CA in it allows (pathlen)".into(),
        _ => error.to_string(),
    }
}

fn handshake(error: &Error) -> String {
    use AlertDescription as A;
    match error {
        Error::AlertReceived(A::HandshakeFailure | A::InsufficientSecurity) => format!(
            "the server refused: there is {CIPHERS}. A server that wants a client certificate may say the same (upstream.cert_file)"
        ),
        Error::PeerIncompatible(
            PeerIncompatible::NoCipherSuitesInCommon
            | PeerIncompatible::NoKxGroupsInCommon
            | PeerIncompatible::NoEcPointFormatsInCommon,
        ) => CIPHERS.into(),
        Error::AlertReceived(A::ProtocolVersion)
        | Error::PeerIncompatible(
            PeerIncompatible::ServerDoesNotSupportTls12Or13 | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig,
        ) => "the server speaks TLS 1.1 or older only: it needs TLS 1.2 or 1.3".into(),
        Error::PeerIncompatible(PeerIncompatible::ExtendedMasterSecretExtensionRequired) => {
            "the server's TLS 1.2 lacks the extended master secret (RFC 7627): update the server".into()
        }
        Error::AlertReceived(A::UnrecognisedName) => {
            "the server does not know this name: correct the URL, or the server's names".into()
        }
        Error::AlertReceived(A::NoApplicationProtocol) | Error::NoApplicationProtocol => {
            "the server speaks none of the offered protocols: change upstream.http".into()
        }
        Error::AlertReceived(A::CertificateRequired) => {
            "the server wants a client certificate: set upstream.cert_file and upstream.key_file".into()
        }
        Error::AlertReceived(
            alert @ (A::BadCertificate
            | A::UnsupportedCertificate
            | A::CertificateRevoked
            | A::CertificateExpired
            | A::CertificateUnknown
            | A::UnknownCA
            | A::AccessDenied),
        ) => format!(
            "the server did not accept the client certificate ({alert:?}): see upstream.cert_file and what the server trusts"
        ),
        Error::AlertReceived(alert) => format!("the server refused with the alert {alert:?}"),
        Error::InvalidMessage(InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion) => {
            "the server does not speak TLS at this port: correct the port, or the URL's scheme".into()
        }
        other => other.to_string(),
    }
}

/// The names of a certificate. There may be many.
fn names(presented: &[String]) -> String {
    if presented.is_empty() {
        return "no name (subjectAltName)".into();
    }
    // A name looks like `DnsName("a.example")`.
    let bare = |name: &String| match name.split_once('(').and_then(|(_, name)| name.strip_suffix(')')) {
        Some(name) => printable(name.trim_matches('"')),
        None => printable(name),
    };
    let listed: Vec<_> = presented.iter().take(NAMES).map(bare).collect();
    let more = presented.len().saturating_sub(NAMES);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{more}", listed.join(", "))
}

fn date(time: UnixTime) -> String {
    let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    Timestamp::from_second(seconds).map_or_else(|_| "a time that is out of range".into(), |time| time.to_string())
}

#[cfg(test)]
mod tests;
