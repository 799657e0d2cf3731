//! A connection through an HTTP proxy: `CONNECT` (RFC 9110 §9.3.6), and the hosts that are reached directly.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use zeroize::Zeroizing;

use crate::config::{NoProxy, Origin, OutboundProxy, ip_literal};

use super::ConnectError;
use super::dial::{self, Reach};

/// Maximum size of the response head of a proxy, which has a few fields.
const MAX_RESPONSE: usize = 16 * 1024;

/// The route to one origin through a proxy.
pub(super) struct Tunnel {
    host: String,
    port: u16,
    /// The whole request. Secret: it may contain the credentials of the proxy.
    request: Zeroizing<String>,
}

/// The response of the proxy.
#[derive(Debug, PartialEq, Eq)]
enum ConnectResponse {
    Incomplete,
    Accepted,
    Refused(u16),
    Malformed,
}

// === impl Tunnel ===

impl Tunnel {
    /// `None`: the origin is reached directly.
    pub(super) fn new(origin: &Origin, proxy: Option<&OutboundProxy>) -> Option<Self> {
        let OutboundProxy { host, port, credentials, no_proxy } = proxy?;
        if bypasses(origin.host(), origin.port(), no_proxy) {
            return None;
        }
        let target = format!("{}:{}", origin.host(), origin.port());
        // One allocation: a buffer that grows would leave copies of the credentials behind.
        let credentials_length = credentials.as_ref().map_or(0, |credentials| 2 * credentials.expose().len());
        let mut request = Zeroizing::new(String::with_capacity(128 + 2 * target.len() + credentials_length));
        request.push_str(&format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n"));
        if let Some(credentials) = credentials {
            let encoded = Zeroizing::new(STANDARD.encode(credentials.expose()));
            request.push_str("Proxy-Authorization: Basic ");
            request.push_str(&encoded);
            request.push_str("\r\n");
        }
        request.push_str("\r\n");
        Some(Self { host: host.clone(), port: *port, request })
    }

    /// `host:port` of the proxy.
    pub(super) fn place(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    pub(super) async fn open(&self) -> Result<TcpStream, ConnectError> {
        let mut stream = dial::dial(&self.host, self.port, Reach::Anywhere)
            .await
            .map_err(|error| ConnectError::Proxy(format!("nothing, it was not reached: {error}")))?;
        let lost = |error: std::io::Error| ConnectError::Proxy(format!("nothing, the connection broke: {error}"));
        stream.write_all(self.request.as_bytes()).await.map_err(lost)?;
        let mut answer = Vec::with_capacity(512);
        loop {
            if stream.read_buf(&mut answer).await.map_err(lost)? == 0 {
                return Err(ConnectError::Proxy("nothing, it closed the connection".into()));
            }
            match parse(&answer) {
                ConnectResponse::Incomplete if answer.len() < MAX_RESPONSE => {}
                ConnectResponse::Accepted => return Ok(stream),
                ConnectResponse::Refused(status) => return Err(ConnectError::Proxy(format!("status {status}"))),
                ConnectResponse::Incomplete | ConnectResponse::Malformed => {
                    return Err(ConnectError::Proxy("something that is not an HTTP answer".into()));
                }
            }
        }
    }
}

/// Reads the response head of the proxy. Only the status matters.
fn parse(bytes: &[u8]) -> ConnectResponse {
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
        return ConnectResponse::Incomplete;
    };
    let Some(code) = bytes.strip_prefix(b"HTTP/1.").and_then(|rest| rest.get(2..5)) else {
        return ConnectResponse::Malformed;
    };
    let Some(status) = std::str::from_utf8(code).ok().and_then(|code| code.parse().ok()) else {
        return ConnectResponse::Malformed;
    };
    match status {
        // In TLS the client speaks first: bytes after the head do not come from the origin.
        200..=299 if bytes.len() > end + 4 => ConnectResponse::Malformed,
        200..=299 => ConnectResponse::Accepted,
        _ => ConnectResponse::Refused(status),
    }
}

/// Whether `host` is reached without the proxy: it is this machine, or an exception.
pub(super) fn bypasses(host: &str, port: u16, no_proxy: &NoProxy) -> bool {
    let name = host.trim_end_matches('.').to_ascii_lowercase();
    ip_literal(host).is_some_and(|ip| ip.is_loopback())
        || name == "localhost"
        || name.ends_with(".localhost")
        || no_proxy.covers(host, port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_and_exceptions_are_reached_directly() {
        let (no_proxy, _) = NoProxy::parse("example.com:443,[2001:db8::1]");
        let rows: &[(&str, bool)] = &[
            ("127.0.0.1", true),
            ("127.9.9.9", true),
            ("[::1]", true),
            ("localhost", true),
            ("app.localhost", true),
            ("notlocalhost", false),
            ("api.example.com", true),
            ("[2001:db8::1]", true),
            ("[2001:db8::2]", false),
        ];
        for (host, expected) in rows {
            assert_eq!(bypasses(host, 443, &no_proxy), *expected, "{host}");
        }
        assert!(!bypasses("api.example.com", 8443, &no_proxy));
    }

    #[test]
    fn the_proxys_answer_is_read_by_its_status_alone() {
        let rows: &[(&[u8], ConnectResponse)] = &[
            (b"", ConnectResponse::Incomplete),
            (b"HTTP/1.1 200 OK\r\nVia: x\r\n", ConnectResponse::Incomplete),
            (b"HTTP/1.1 200 OK\r\n\r\n", ConnectResponse::Accepted),
            (b"HTTP/1.0 200\r\n\r\n", ConnectResponse::Accepted),
            (b"HTTP/1.1 204 No Content\r\nVia: x\r\n\r\n", ConnectResponse::Accepted),
            (b"HTTP/1.1 200 OK\r\n\r\n!", ConnectResponse::Malformed),
            (
                b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 4\r\n\r\nbody",
                ConnectResponse::Refused(407),
            ),
            (b"HTTP/1.1 abc\r\n\r\n", ConnectResponse::Malformed),
            (b"SSH-2.0-x\r\n\r\n", ConnectResponse::Malformed),
        ];
        for (bytes, expected) in rows {
            assert_eq!(parse(bytes), *expected, "{:?}", String::from_utf8_lossy(bytes));
        }
    }
}
