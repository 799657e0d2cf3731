//! Refuses responses that hyper's HTTP/1 client accepts but a gateway must not pass on, because their framing is ambiguous or
//! would be lost (RFC 9112 §6.1, §6.3).

use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, Response, StatusCode};

use crate::upstream::failure::FailureKind;

/// `upgrade`: the request asked for another protocol.
pub(super) fn check<B>(response: &Response<B>, upgrade: bool) -> Result<(), FailureKind> {
    if response.status() == StatusCode::SWITCHING_PROTOCOLS && !upgrade {
        // RFC 9110 §15.2.2: only the client may ask for another protocol. What follows on the connection is not HTTP.
        return Err(FailureKind::Protocol);
    }
    check_head(response.headers())
}

fn check_head(headers: &HeaderMap) -> Result<(), FailureKind> {
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    match (lengths.next(), codings.next()) {
        (None, None) => Ok(()),
        // Both: "might indicate an attempt to perform request smuggling or response splitting".
        (Some(_), Some(_)) => Err(FailureKind::Protocol),
        // Repeated lengths, even if they are equal: the framing of such a sender cannot be trusted.
        (Some(length), None) if lengths.next().is_some() || length.as_bytes().contains(&b',') => {
            Err(FailureKind::Protocol)
        }
        (Some(_), None) => Ok(()),
        // A coding other than `chunked` ends at this hop, and this gateway cannot decode it.
        (None, Some(coding)) if codings.next().is_some() || !coding.as_bytes().eq_ignore_ascii_case(b"chunked") => {
            Err(FailureKind::Coding)
        }
        (None, Some(_)) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    #[test]
    fn a_response_has_one_length_or_is_chunked_or_ends_with_its_connection() {
        let protocol = Err(FailureKind::Protocol);
        let coding = Err(FailureKind::Coding);
        for (lines, expected) in [
            (&[][..], Ok(())),
            (&[("content-length", "5")], Ok(())),
            (&[("transfer-encoding", "Chunked")], Ok(())),
            (&[("content-length", "5"), ("transfer-encoding", "chunked")], protocol.clone()),
            (&[("content-length", "5"), ("content-length", "5")], protocol.clone()),
            (&[("content-length", "5, 5")], protocol.clone()),
            (&[("transfer-encoding", "gzip, chunked")], coding.clone()),
            (&[("transfer-encoding", "gzip"), ("transfer-encoding", "chunked")], coding.clone()),
            (&[("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")], coding.clone()),
            (&[("transfer-encoding", "identity")], coding.clone()),
        ] {
            let lines =
                lines.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
            assert_eq!(check_head(&lines.clone().collect()), expected, "{:?}", lines.collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_protocol_is_switched_only_when_asked() {
        let response = Response::builder().status(101).body(()).unwrap();
        assert_eq!(check(&response, true), Ok(()));
        assert_eq!(check(&response, false), Err(FailureKind::Protocol));
    }
}
