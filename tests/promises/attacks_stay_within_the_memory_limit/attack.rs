//! What one client of each attack sends.

use std::net::SocketAddr;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

/// A client key of the gateway.
pub const KEY: &str = "0123456789abcdef0123456789abcdef";

/// Streams that a client opens on one HTTP/2 connection. The gateway admits 256, and the half header block opens the last.
const STREAMS: u32 = 255;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// RFC 9113 §6.5.2: the least that a receiver has to accept.
const FRAME: usize = 16_384;

/// No client reads a response.
#[derive(Clone, Copy, Debug)]
pub enum Attack {
    /// No window, requests without a key, then half a header block.
    Http2RefusedKeys,
    /// The same with a key: the allow-list refuses the requests.
    Http2UnreadResponses,
    /// The same, and the client resets each request at once.
    Http2Resets,
    /// As many bytes of bodies as the windows admit, and no more.
    Http2SlowUploads,
    /// Pipelined requests without a key.
    Http1RefusedKeys,
    /// Pipelined requests that the gateway refuses.
    Http1UnreadResponses,
    Http1IncompleteHeads,
    Http1SlowUploads,
}

impl Attack {
    /// Sends everything, and returns the open connection.
    pub async fn begin(self, address: SocketAddr) -> std::io::Result<TcpStream> {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(&self.bytes()).await?;
        Ok(stream)
    }

    fn bytes(self) -> Vec<u8> {
        match self {
            Self::Http2RefusedKeys => hoard("wrong", false),
            Self::Http2UnreadResponses => hoard(KEY, false),
            Self::Http2Resets => hoard(KEY, true),
            Self::Http2SlowUploads => uploads(),
            Self::Http1RefusedKeys => b"GET /refused HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(1000),
            Self::Http1UnreadResponses => {
                format!("GET /refused HTTP/1.1\r\nHost: localhost\r\nX-Proxy-Key: {KEY}\r\n\r\n")
                    .repeat(1000)
                    .into_bytes()
            }
            Self::Http1IncompleteHeads => format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(120_000)).into_bytes(),
            Self::Http1SlowUploads => {
                let head = format!("POST /api/v2/echo HTTP/1.1\r\nHost: localhost\r\nX-Proxy-Key: {KEY}\r\n");
                format!("{head}Content-Length: 10000000\r\n\r\n{}", "x".repeat(200_000)).into_bytes()
            }
        }
    }
}

/// Requests for which the client opens no window, then a header block that does not end.
fn hoard(key: &str, reset: bool) -> Vec<u8> {
    // SETTINGS_INITIAL_WINDOW_SIZE = 0
    let mut bytes = opening(&[0, 4, 0, 0, 0, 0]);
    for stream in (1..).step_by(2).take(STREAMS as usize) {
        frame(&mut bytes, HEADERS, END_STREAM | END_HEADERS, stream, &head("GET", "/refused", key));
        if reset {
            frame(&mut bytes, RST_STREAM, 0, stream, &8u32.to_be_bytes());
        }
    }
    let block = tiny_fields();
    let (first, rest) = block.split_at(FRAME);
    frame(&mut bytes, HEADERS, END_STREAM, 2 * STREAMS + 1, first);
    frame(&mut bytes, CONTINUATION, 0, 2 * STREAMS + 1, rest);
    bytes
}

/// Bodies that do not end.
fn uploads() -> Vec<u8> {
    let mut bytes = opening(&[]);
    for stream in [1, 3, 5, 7] {
        frame(&mut bytes, HEADERS, END_HEADERS, stream, &head("POST", "/api/v2/echo", KEY));
    }
    // 1 MiB less one frame.
    for stream in [1, 3, 5, 7].into_iter().cycle().take(63) {
        frame(&mut bytes, DATA, 0, stream, &[b'x'; FRAME]);
    }
    bytes
}

/// Distinct names without values, as many as `guard.max_header_size` admits. They use the most memory for their counted size, which
/// is their own length plus 32 bytes each (RFC 9113 §6.5.2).
fn tiny_fields() -> Vec<u8> {
    let letters = || b'a'..=b'z';
    let names = letters().flat_map(|a| letters().flat_map(move |b| letters().map(move |c| [a, b, c])));
    names.take(3700).flat_map(|[a, b, c]| [0, 3, a, b, c, 0]).collect()
}

fn opening(settings: &[u8]) -> Vec<u8> {
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    frame(&mut bytes, SETTINGS, 0, 0, settings);
    bytes
}

fn head(method: &str, path: &str, key: &str) -> Vec<u8> {
    let fields =
        [(":method", method), (":scheme", "http"), (":path", path), (":authority", "localhost"), ("x-proxy-key", key)];
    fields.into_iter().flat_map(|(name, value)| literal(name, value)).collect()
}

/// A literal without indexing and without Huffman (RFC 7541 §6.2.2).
fn literal(name: &str, value: &str) -> Vec<u8> {
    let size = |text: &str| u8::try_from(text.len()).unwrap();
    [&[0, size(name)], name.as_bytes(), &[size(value)], value.as_bytes()].concat()
}

fn frame(bytes: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    bytes.extend(&u32::try_from(payload.len()).unwrap().to_be_bytes()[1..]);
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
}
