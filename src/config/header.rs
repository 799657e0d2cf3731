//! Headers from the configuration: for every forwarded request, or for every token call.

use http::header::{self, HeaderName, HeaderValue};

use super::malformed::Malformed;

/// Fields of one connection (RFC 9110 §7.6.1), fields of the framing and the target, and the fields that the proxy itself sets.
const RESERVED: [HeaderName; 13] = [
    header::AUTHORIZATION,
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::HOST,
    HeaderName::from_static("keep-alive"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    HeaderName::from_static("proxy-connection"),
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::VIA,
];

pub(super) fn name(text: &str) -> Result<HeaderName, Malformed> {
    let name =
        HeaderName::from_bytes(text.as_bytes()).map_err(|_| Malformed::from("not a field name (RFC 9110 §5.1)"))?;
    if RESERVED.contains(&name) {
        return Err("the proxy sets this field itself, or it belongs to one connection".into());
    }
    Ok(name)
}

/// Whether the value of this header is never a secret.
pub(super) fn is_public(name: &HeaderName) -> bool {
    name == "tenantregion"
}

/// A field value that may be a secret. It is marked as sensitive, for `Debug` and for HPACK (RFC 7541 §7.1.3).
pub(super) fn secret_value(text: &str) -> Result<HeaderValue, Malformed> {
    value(text).map(|mut value| {
        value.set_sensitive(true);
        value
    })
}

pub(super) fn value(text: &str) -> Result<HeaderValue, Malformed> {
    if text.trim() != text {
        return Err("the value begins or ends with a blank".into());
    }
    // Bytes beyond ASCII have no defined meaning in a field (RFC 9110 §5.5).
    let value = HeaderValue::from_str(text).ok().filter(|_| text.is_ascii());
    value.ok_or("a character is not allowed in a field value".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_one_connection_and_of_the_credential_are_not_to_be_set() {
        for text in ["Authorization", "host", "Content-Length", "Connection", "TE", "keep-alive", "Via", "Upgrade"] {
            assert!(name(text).is_err(), "{text}");
        }
        for text in ["", "a b", "a:", "ä"] {
            assert!(name(text).is_err(), "{text}");
        }
        assert_eq!(name("TenantRegion").unwrap(), "tenantregion");
    }

    #[test]
    fn a_value_stays_on_its_line() {
        for text in ["a\r\nb: c", "a\0", " a", "a ", "ä"] {
            assert!(value(text).is_err(), "{text:?}");
        }
        assert_eq!(value("EU").unwrap(), "EU");
    }

    #[test]
    fn debug_does_not_show_a_secret_value() {
        assert!(!format!("{:?}", secret_value("canary").unwrap()).contains("canary"));
    }
}
