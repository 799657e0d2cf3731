//! The issuer of a certificate that is not trusted. The error of rustls does not contain it.

use std::sync::{Arc, Mutex, PoisonError};

use tokio_rustls::rustls::client::WebPkiServerVerifier;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};

/// Verifies as rustls does, and records the issuer of a refused certificate.
///
/// A connector has one origin. So the last issuer belongs to the current failure, unless the servers of the origin differ.
#[derive(Debug)]
pub(super) struct Verifier {
    inner: Arc<WebPkiServerVerifier>,
    refused: Mutex<Option<String>>,
}

/// Maximum number of characters of a name that are shown.
const MAX_NAME: usize = 100;

pub(super) const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OBJECT_IDENTIFIER: u8 = 0x06;
const UTF8_STRING: u8 = 0x0c;
const PRINTABLE_STRING: u8 = 0x13;
const IA5_STRING: u8 = 0x16;
/// `id-at-commonName` and `id-at-organizationName` (X.520).
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
const ORGANIZATION: &[u8] = &[0x55, 0x04, 0x0a];

// === impl Verifier ===

impl Verifier {
    pub(super) fn new(inner: Arc<WebPkiServerVerifier>) -> Self {
        Self { inner, refused: Mutex::new(None) }
    }

    /// The issuer of the certificate that was refused last.
    pub(super) fn refused_issuer(&self) -> Option<String> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified = self.inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        if verified.is_err() {
            // The last certificate of the chain lacks its issuer.
            let last = intermediates.last().unwrap_or(end_entity);
            *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = issuer(last);
        }
        verified
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }

    fn requires_raw_public_keys(&self) -> bool {
        self.inner.requires_raw_public_keys()
    }

    fn root_hint_subjects(&self) -> Option<&[DistinguishedName]> {
        self.inner.root_hint_subjects()
    }
}

fn issuer(certificate: &CertificateDer<'_>) -> Option<String> {
    let certificate = webpki::EndEntityCert::try_from(certificate).ok()?;
    name(certificate.issuer())
}

/// The common name of a distinguished name (X.501), else its organization: a sequence of sets of pairs.
fn name(mut sets: &[u8]) -> Option<String> {
    let (mut common_name, mut organization) = (None, None);
    while let Some(mut pairs) = element(&mut sets, SET) {
        while let Some(mut pair) = element(&mut pairs, SEQUENCE) {
            let kind = element(&mut pair, OBJECT_IDENTIFIER)?;
            let text = [UTF8_STRING, PRINTABLE_STRING, IA5_STRING].iter().find_map(|tag| element(&mut pair, *tag));
            match kind {
                COMMON_NAME => common_name = text,
                ORGANIZATION => organization = text,
                _ => {}
            }
        }
    }
    let text = std::str::from_utf8(common_name.or(organization)?).ok()?;
    Some(format!("\"{}\"", printable(text)))
}

/// Removes an element with this tag from the front, and returns its contents (X.690 §8.1). `None`: there is no such element.
pub(super) fn element<'a>(bytes: &mut &'a [u8], tag: u8) -> Option<&'a [u8]> {
    let (&first, rest) = bytes.split_first()?;
    let (&length, rest) = rest.split_first()?;
    let (length, rest) = match length {
        0..=0x7f => (usize::from(length), rest),
        0x81 => rest.split_first().map(|(length, rest)| (usize::from(*length), rest))?,
        0x82 => rest.split_first_chunk().map(|(length, rest)| (usize::from(u16::from_be_bytes(*length)), rest))?,
        _ => return None,
    };
    let (contents, rest) = rest.split_at_checked(length)?;
    (first == tag).then(|| {
        *bytes = rest;
        contents
    })
}

/// A text of a server, made safe for a log and a terminal.
pub(super) fn printable(text: &str) -> String {
    let plain = text.chars().map(|character| match character {
        '"' | '\\' => '?',
        ' '..='~' => character,
        other if other.is_alphanumeric() => other,
        _ => '?',
    });
    let mut shown: String = plain.take(MAX_NAME).collect();
    if text.chars().nth(MAX_NAME).is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, CertifiedIssuer, DnType, KeyPair};

    use super::*;

    fn issued_by(parts: &[(DnType, &str)]) -> CertificateDer<'static> {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        for (kind, text) in parts {
            params.distinguished_name.push(kind.clone(), *text);
        }
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        CertificateParams::new(vec!["a.test".into()]).unwrap().signed_by(&key, &issuer).unwrap().der().clone()
    }

    #[test]
    fn an_issuer_is_named_by_its_common_name_else_by_its_organization() {
        let long = "x".repeat(300);
        type Name<'a> = &'a [(DnType, &'a str)];
        let rows: &[(Name<'_>, Option<&str>)] = &[
            (&[(DnType::CommonName, "Example CA"), (DnType::OrganizationName, "Example")], Some("\"Example CA\"")),
            (&[(DnType::OrganizationName, "Exämple")], Some("\"Exämple\"")),
            (&[(DnType::CountryName, "DE")], None),
            (&[], None),
            (&[(DnType::CommonName, "a\u{1b}[31m\n\"b\u{202e}")], Some("\"a?[31m??b?\"")),
        ];
        for (parts, expected) in rows {
            assert_eq!(issuer(&issued_by(parts)).as_deref(), *expected, "{parts:?}");
        }
        let shown = issuer(&issued_by(&[(DnType::CommonName, &long)])).unwrap();
        assert_eq!(shown.chars().count(), MAX_NAME + 3);
    }

    #[test]
    fn what_is_no_name_has_no_text() {
        for bytes in
            [&[][..], &[0x31], &[0x31, 0x05, 0x30], &[0x31, 0x84, 1, 1, 1, 1], &[0xff; 40], &[0x31, 0x02, 0x30, 0x00]]
        {
            assert_eq!(name(bytes), None, "{bytes:?}");
        }
    }
}
