//! Raw HTTP/2 frames (RFC 9113 §4.1), for what no library sends.

use bytes::{BufMut, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::connection::Stream;
use crate::within;

pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PUSH_PROMISE: u8 = 5;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const ACK: u8 = 0x1;
pub const END_STREAM: u8 = 0x1;
pub const END_HEADERS: u8 = 0x4;
pub const PADDED: u8 = 0x8;
/// The frame has a priority.
pub const PRIORITIZED: u8 = 0x20;

/// One side of a connection.
pub struct Frames(Box<dyn Stream>);

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Bytes,
}

impl Frames {
    pub fn new(stream: Box<dyn Stream>) -> Self {
        Self(stream)
    }

    /// The server's side: reads the preface and sends empty SETTINGS.
    pub async fn accept(stream: Box<dyn Stream>) -> Option<Self> {
        let mut frames = Self(stream);
        let mut preface = [0; PREFACE.len()];
        frames.0.read_exact(&mut preface).await.ok()?;
        assert_eq!(preface, PREFACE);
        frames.send(frame(SETTINGS, 0, 0, &[])).await;
        Some(frames)
    }

    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.0.write_all(bytes.as_ref()).await;
        let _ = self.0.flush().await;
    }

    /// `None`: the connection has ended.
    pub async fn next(&mut self) -> Option<Frame> {
        within(self.next_whenever()).await
    }

    /// As [`Self::next`], however long it takes.
    pub async fn next_whenever(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        self.0.read_exact(&mut head).await.ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        let mut payload = vec![0; length as usize];
        self.0.read_exact(&mut payload).await.ok()?;
        Some(Frame { kind: head[3], flags: head[4], stream, payload: payload.into() })
    }

    /// The next frame of this type.
    pub async fn next_of(&mut self, kind: u8) -> Option<Frame> {
        loop {
            let frame = self.next().await?;
            if frame.kind == kind {
                return Some(frame);
            }
        }
    }
}

/// A frame's bytes.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Bytes {
    let mut bytes = BytesMut::with_capacity(9 + payload.len());
    bytes.put_uint(payload.len() as u64, 3);
    bytes.put_u8(kind);
    bytes.put_u8(flags);
    bytes.put_u32(stream);
    bytes.put_slice(payload);
    bytes.freeze()
}

pub fn reset(stream: u32, code: u32) -> Bytes {
    frame(RST_STREAM, 0, stream, &code.to_be_bytes())
}

pub fn goaway(last_stream: u32, code: u32) -> Bytes {
    frame(GOAWAY, 0, 0, &[last_stream.to_be_bytes(), code.to_be_bytes()].concat())
}

/// A block of fields, each a literal without indexing and without Huffman (RFC 7541 §6.2.2).
pub fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            integer(&mut block, text.len());
            block.extend_from_slice(text.as_bytes());
        }
    }
    block
}

/// An integer with a prefix of 7 bits (RFC 7541 §5.1).
fn integer(block: &mut Vec<u8>, value: usize) {
    if value < 127 {
        return block.push(value.to_le_bytes()[0]);
    }
    block.push(127);
    let mut rest = value - 127;
    while rest >= 128 {
        block.push(rest.to_le_bytes()[0] | 128);
        rest /= 128;
    }
    block.push(rest.to_le_bytes()[0]);
}

/// The status at the start of a header block: an index, or a literal of three digits (RFC 7541 §6.1, §6.2, Appendix A).
pub fn status(block: &[u8]) -> u16 {
    const INDEXED: [u16; 7] = [200, 204, 206, 304, 400, 404, 500];
    // Updates of the table's size may precede it.
    let start = block.iter().position(|byte| byte & 0xe0 != 0x20).unwrap();
    match block[start..] {
        [first @ 0x88..=0x8e, ..] => INDEXED[usize::from(first - 0x88)],
        [_, 3, a, b, c, ..] => [a, b, c].iter().fold(0, |status, digit| status * 10 + u16::from(digit - b'0')),
        [_, length @ 0x82..=0x84, ref huffman @ ..] => digits(&huffman[..usize::from(length & 0x7f)]),
        _ => panic!("no status in {block:?}"),
    }
}

/// Three digits in the Huffman code: 0 to 2 have five bits, 3 to 9 have six (RFC 7541, Appendix B).
fn digits(huffman: &[u8]) -> u16 {
    let bits = huffman.iter().fold(0u64, |bits, byte| bits << 8 | u64::from(*byte)) << (64 - huffman.len() * 8);
    let (mut rest, mut status) = (bits, 0);
    for _ in 0..3 {
        let short = rest >> 59;
        let (digit, length) = if short <= 2 { (short, 5) } else { ((rest >> 58) - 0x19 + 3, 6) };
        status = status * 10 + u16::try_from(digit).unwrap();
        rest <<= length;
    }
    status
}
