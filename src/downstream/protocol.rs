//! The HTTP version that a client speaks.

/// The first bytes of an HTTP/2 client (RFC 9113 §3.4).
pub(super) const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Http1,
    Http2,
}

// === impl Protocol ===

impl Protocol {
    /// Decides by the first bytes of a connection. `None` while both versions are possible.
    ///
    /// The whole preface is required, not its first bytes: HTTP/1 does not forbid the method name `PRI`.
    pub(super) fn detect(first: &[u8]) -> Option<Self> {
        if first.starts_with(PREFACE) {
            Some(Self::Http2)
        } else if PREFACE.starts_with(first) {
            None
        } else {
            Some(Self::Http1)
        }
    }

    /// Decides by ALPN (RFC 7301). A client that offered nothing speaks HTTP/1.1.
    pub(super) fn negotiated(alpn: Option<&[u8]>) -> Self {
        if alpn == Some(b"h2") { Self::Http2 } else { Self::Http1 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_bytes_decide() {
        let table: [(&[u8], Option<Protocol>); 8] = [
            (b"", None),
            (b"P", None),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r", None),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Some(Protocol::Http2)),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0", Some(Protocol::Http2)),
            (b"PO", Some(Protocol::Http1)),
            (b"PRI /x HTTP/1.1\r\n", Some(Protocol::Http1)),
            (b"G", Some(Protocol::Http1)),
        ];
        for (first, expected) in table {
            assert_eq!(Protocol::detect(first), expected, "{}", first.escape_ascii());
        }
    }

    #[test]
    fn alpn_decides_with_tls() {
        assert_eq!(Protocol::negotiated(Some(b"h2")), Protocol::Http2);
        assert_eq!(Protocol::negotiated(Some(b"http/1.1")), Protocol::Http1);
        assert_eq!(Protocol::negotiated(None), Protocol::Http1);
    }
}
