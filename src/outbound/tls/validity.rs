//! When a certificate expires: rustls checks the time, but does not report it.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use super::issuer::{SEQUENCE, element};

const VERSION: u8 = 0xa0;
const INTEGER: u8 = 0x02;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// `notAfter` of a certificate in DER (RFC 5280 §4.1.2.5). `None`: this is not a certificate.
pub(in crate::outbound) fn end(mut certificate: &[u8]) -> Option<Timestamp> {
    let mut signed = element(&mut certificate, SEQUENCE)?;
    let mut fields = element(&mut signed, SEQUENCE)?;
    element(&mut fields, VERSION);
    element(&mut fields, INTEGER)?;
    let (_algorithm, _issuer) = (element(&mut fields, SEQUENCE)?, element(&mut fields, SEQUENCE)?);
    let mut validity = element(&mut fields, SEQUENCE)?;
    time(&mut validity)?;
    time(&mut validity)
}

fn time(bytes: &mut &[u8]) -> Option<Timestamp> {
    let (text, century) = match element(bytes, UTC_TIME) {
        // RFC 5280 §4.1.2.5.1: 50 to 99 are of the last century.
        Some(text) => (text, if text.first()? >= &b'5' { "19" } else { "20" }),
        None => (element(bytes, GENERALIZED_TIME)?, ""),
    };
    let text = format!("{century}{}", std::str::from_utf8(text).ok()?.strip_suffix('Z')?);
    let time = DateTime::strptime("%Y%m%d%H%M%S", text).ok()?;
    Some(time.to_zoned(TimeZone::UTC).ok()?.timestamp())
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    #[test]
    fn a_certificate_ends_when_it_says() {
        for (year, expected) in
            [(2049, "2049-12-31T00:00:00Z"), (2050, "2050-12-31T00:00:00Z"), (1999, "1999-12-31T00:00:00Z")]
        {
            let mut params = CertificateParams::new(vec!["a.test".into()]).unwrap();
            params.not_before = date_time_ymd(1990, 1, 1);
            params.not_after = date_time_ymd(year, 12, 31);
            let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
            assert_eq!(end(certificate.der()), Some(expected.parse().unwrap()));
        }
    }

    #[test]
    fn what_is_no_certificate_has_no_end() {
        for bytes in [&[][..], &[0x30, 0], &[0x30, 3, 0x30, 1, 0], &[0xff; 40], b"-----BEGIN"] {
            assert_eq!(end(bytes), None, "{bytes:?}");
        }
    }
}
