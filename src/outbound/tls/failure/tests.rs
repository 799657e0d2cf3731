use std::sync::Arc;
use std::time::Duration;

use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{Error, InvalidMessage};

use super::*;

fn time(seconds: u64) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(seconds))
}

fn explained(error: Error, issuer: Option<&str>) -> String {
    explain(&io::Error::new(io::ErrorKind::InvalidData, error), issuer).to_string()
}

#[test]
fn each_refused_certificate_has_a_reason_and_a_fix() {
    use CertificateError as E;
    let expected = ServerName::try_from("api.test").unwrap();
    let presented = |count| (0..count).map(|number| format!("DnsName(\"n{number}.test\")")).collect();
    let other = |error: webpki::Error| E::Other(OtherError(Arc::new(error)));
    let rows = [
        (
            E::UnknownIssuer,
            "the CA is not known, or an intermediate is missing; the issuer is \"X\": add the CA's certificate to outbound.ca_file",
        ),
        (other(webpki::Error::CaUsedAsEndEntity), "the certificate is a CA's own: sign one for the host with it"),
        (
            other(webpki::Error::EndEntityUsedAsCa),
            "is not a CA's: sign with a certificate that has the basic constraint",
        ),
        (other(webpki::Error::NameConstraintViolation), "name constraints"),
        (other(webpki::Error::PathLenConstraintViolated), "pathlen"),
        (other(webpki::Error::UnsupportedCertVersion), "X.509 certificate of version 3"),
        (
            E::NotValidForNameContext { expected: expected.clone(), presented: presented(2) },
            "it is not for api.test, but for n0.test, n1.test: use a name",
        ),
        (
            E::NotValidForNameContext { expected: expected.clone(), presented: presented(7) },
            "n3.test, n4.test and 2 more: use a name",
        ),
        (
            E::NotValidForNameContext {
                expected: expected.clone(),
                presented: vec!["DnsName(\"a\u{1b}[31m\")".into()],
            },
            "but for a?[31m: use",
        ),
        (E::NotValidForNameContext { expected, presented: Vec::new() }, "but for no name (subjectAltName): use"),
        (
            E::ExpiredContext { time: time(86_400), not_after: time(0) },
            "it expired on 1970-01-01T00:00:00Z, and this machine's clock says 1970-01-02T00:00:00Z: renew it",
        ),
        (
            E::NotValidYetContext { time: time(0), not_before: time(86_400) },
            "it is valid from 1970-01-02T00:00:00Z on, and this machine's clock says 1970-01-01T00:00:00Z: set the clock",
        ),
        (E::NotValidForName, "use a name that it is for"),
        (E::Expired, "renew it"),
        (E::NotValidYet, "clock"),
        (E::Revoked, "replace it"),
        (E::BadEncoding, "replace it"),
        (E::BadSignature, "update outbound.ca_file"),
        (E::UnhandledCriticalExtension, "issue one without it"),
        (E::InvalidPurpose, "serverAuth"),
    ];
    for (reason, expected) in rows {
        let told = explained(Error::InvalidCertificate(reason.clone()), Some("\"X\""));
        assert!(told.starts_with("the certificate is not trusted: ") && told.contains(expected), "{reason:?}: {told}");
    }
    let told = explained(Error::InvalidCertificate(E::UnknownIssuer), None);
    assert!(told.contains("an intermediate is missing: add"), "{told}");
}

#[test]
fn each_failed_handshake_has_a_reason_and_a_fix() {
    use AlertDescription as A;
    use PeerIncompatible as P;
    let rows = [
        (
            Error::AlertReceived(A::HandshakeFailure),
            "no cipher in common: TLS 1.2 needs ECDHE with AES-GCM or ChaCha20",
        ),
        (Error::AlertReceived(A::InsufficientSecurity), "no cipher in common"),
        (Error::PeerIncompatible(P::NoCipherSuitesInCommon), "no cipher in common"),
        (Error::AlertReceived(A::ProtocolVersion), "TLS 1.2 or 1.3"),
        (Error::PeerIncompatible(P::ServerDoesNotSupportTls12Or13), "TLS 1.2 or 1.3"),
        (Error::AlertReceived(A::UnrecognisedName), "correct the URL"),
        (Error::AlertReceived(A::NoApplicationProtocol), "upstream.http"),
        (Error::AlertReceived(A::CertificateRequired), "set upstream.cert_file"),
        (Error::AlertReceived(A::UnknownCA), "did not accept the client certificate (UnknownCA)"),
        (Error::AlertReceived(A::InternalError), "InternalError"),
        (Error::InvalidMessage(InvalidMessage::InvalidContentType), "does not speak TLS at this port"),
    ];
    for (error, expected) in rows {
        let told = explained(error.clone(), Some("\"X\""));
        assert!(told.starts_with("the TLS handshake failed: ") && told.contains(expected), "{error:?}: {told}");
        assert!(!told.contains("\"X\""), "an issuer that has no part in it: {told}");
    }
    let closed = explain(&io::Error::new(io::ErrorKind::UnexpectedEof, "tls handshake eof"), None).to_string();
    assert!(closed.contains("closed the connection without a reason") && closed.contains(CIPHERS), "{closed}");
    let reset = explain(&io::Error::from(io::ErrorKind::ConnectionReset), None);
    assert_eq!(reset, ConnectError::Tls("connection reset".into()));
}

#[test]
fn only_dates_are_about_validity() {
    use CertificateError as E;
    for (reason, expected) in [
        (E::ExpiredContext { time: time(86_400), not_after: time(0) }, true),
        (E::Expired, true),
        (E::NotValidYetContext { time: time(0), not_before: time(86_400) }, true),
        (E::NotValidYet, true),
        (E::UnknownIssuer, false),
        (E::NotValidForName, false),
        (E::Revoked, false),
    ] {
        assert_eq!(is_about_validity(&reason), expected, "{reason:?}");
    }
}
