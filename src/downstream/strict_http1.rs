//! Finds ambiguous HTTP/1 requests that hyper repairs before the service sees them. A gateway must refuse them.
//!
//! hyper drops a `Content-Length` next to `Transfer-Encoding`, merges several equal ones, and removes a fragment from the target. A server
//! may do that (RFC 9112 §6.1, RFC 9110 §8.6). But a client that sends such a request wants two servers to read it in two ways (request
//! smuggling, RFC 9112 §11.2), and this gateway is one of the two.
//!
//! [`Scanner`] follows the bytes of a connection, by lines, lengths and chunks, to know where each head begins. It can only refuse. If it
//! ever disagreed with hyper about the end of a message, hyper would still refuse what it refuses today. It changes a byte only in a
//! target that it refuses.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use memchr::memchr;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use self::request_line::RequestLine;
use super::signals::{Ambiguity, Signals};
use super::transport::Transport;

mod request_line;

/// An HTTP/1 connection with a scanner.
pub(super) struct StrictHttp1 {
    transport: Transport,
    scanner: Scanner,
    signals: Arc<Signals>,
}

/// The position in the bytes of a client.
#[derive(Debug, Default)]
struct Scanner {
    part: Part,
    line: Line,
    head: Head,
    /// Number of complete heads.
    count: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Part {
    /// Between messages: empty lines (RFC 9112 §2.2), then a request line.
    #[default]
    RequestLine,
    Fields,
    /// The number of bytes that are left.
    Body(u64),
    ChunkSize,
    /// The number of bytes that are left, with the line end after the chunk.
    Chunk(u64),
    Trailers,
    /// Not HTTP, or something that hyper refuses: hyper will end the connection.
    Lost,
}

/// The beginning of the current line: enough for the name of a field and a length.
#[derive(Debug)]
struct Line {
    bytes: [u8; 48],
    /// The length of the whole line so far; only its beginning is kept.
    length: usize,
}

/// The facts about a head so far.
#[derive(Debug, Default)]
struct Head {
    lengths: u32,
    length: u64,
    coding: bool,
    request_line: RequestLine,
}

// === impl StrictHttp1 ===

impl StrictHttp1 {
    pub(super) fn new(transport: Transport) -> Self {
        Self { signals: transport.signals(), transport, scanner: Scanner::default() }
    }
}

impl AsyncRead for StrictHttp1 {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let polled = Pin::new(&mut this.transport).poll_read(cx, buf);
        let read = buf.filled_mut().get_mut(before..).unwrap_or_default();
        if let Some((number, ambiguity)) = this.scanner.see(read) {
            this.signals.refuse(number, ambiguity);
        }
        this.signals.set_receiving(this.scanner.receiving());
        polled
    }
}

impl AsyncWrite for StrictHttp1 {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().transport).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().transport).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.transport.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().transport).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().transport).poll_shutdown(cx)
    }
}

// === impl Scanner ===

impl Scanner {
    /// The number of the request whose body has begun and not ended.
    fn receiving(&self) -> Option<u64> {
        let receives = matches!(self.part, Part::Body(_) | Part::ChunkSize | Part::Chunk(_) | Part::Trailers);
        receives.then_some(self.count)
    }

    /// Follows the bytes that were read, and replaces the characters of a target that hyper refuses. Returns the first head that must be
    /// refused, with its number (from 1).
    fn see(&mut self, mut bytes: &mut [u8]) -> Option<(u64, Ambiguity)> {
        let mut found = None;
        while !bytes.is_empty() {
            match &mut self.part {
                Part::Lost => return found,
                Part::Body(left) | Part::Chunk(left) => {
                    let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                    bytes = bytes.get_mut(taken..).unwrap_or_default();
                    *left -= taken as u64;
                    self.part = match self.part {
                        Part::Body(0) => Part::RequestLine,
                        Part::Chunk(0) => Part::ChunkSize,
                        part => part,
                    };
                }
                Part::RequestLine | Part::Fields | Part::ChunkSize | Part::Trailers => {
                    let end = memchr(b'\n', bytes);
                    let length = end.map_or(bytes.len(), |end| end + 1);
                    let (piece, rest) = bytes.split_at_mut(length);
                    bytes = rest;
                    if self.part == Part::RequestLine {
                        self.head.request_line.read(piece);
                    }
                    self.line.push(piece);
                    if end.is_some() {
                        let refused = self.end_line();
                        found = found.or(refused);
                    }
                }
            }
        }
        found
    }

    fn end_line(&mut self) -> Option<(u64, Ambiguity)> {
        let mut refused = None;
        let empty = self.line.is_empty();
        self.part = match self.part {
            Part::RequestLine if empty => Part::RequestLine,
            Part::RequestLine => Part::Fields,
            Part::Fields if empty => {
                self.count += 1;
                let head = std::mem::take(&mut self.head);
                refused = head.ambiguity().map(|ambiguity| (self.count, ambiguity));
                head.body()
            }
            Part::Fields => match self.head.read(self.line.kept()) {
                Some(()) => Part::Fields,
                None => Part::Lost,
            },
            Part::ChunkSize => match self.line.chunk_size() {
                Some(0) => Part::Trailers,
                // The line end after the data.
                Some(size) => size.checked_add(2).map_or(Part::Lost, Part::Chunk),
                None => Part::Lost,
            },
            Part::Trailers if empty => Part::RequestLine,
            part => part,
        };
        self.line.length = 0;
        refused
    }
}

// === impl Line ===

impl Line {
    fn push(&mut self, piece: &[u8]) {
        let room = self.bytes.get_mut(self.length..).unwrap_or_default();
        let kept = room.len().min(piece.len());
        if let (Some(room), Some(piece)) = (room.get_mut(..kept), piece.get(..kept)) {
            room.copy_from_slice(piece);
        }
        self.length = self.length.saturating_add(piece.len());
    }

    fn kept(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or(&self.bytes)
    }

    fn is_empty(&self) -> bool {
        matches!(self.kept(), b"\n" | b"\r\n")
    }

    /// RFC 9112 §7.1. hyper checks what follows the number.
    fn chunk_size(&self) -> Option<u64> {
        let line = self.kept();
        let digits = line.iter().position(|byte| !byte.is_ascii_hexdigit())?;
        let digits = std::str::from_utf8(line.get(..digits)?).ok()?;
        u64::from_str_radix(digits, 16).ok()
    }
}

impl Default for Line {
    fn default() -> Self {
        Self { bytes: [0; 48], length: 0 }
    }
}

// === impl Head ===

impl Head {
    /// Reads the line of a field. `None`: the length is invalid.
    fn read(&mut self, line: &[u8]) -> Option<()> {
        if value(line, b"transfer-encoding:").is_some() {
            self.coding = true;
        } else if let Some(length) = value(line, b"content-length:") {
            self.lengths += 1;
            // A length next to a coding has no effect.
            match std::str::from_utf8(length).ok().and_then(|length| length.parse().ok()) {
                Some(length) => self.length = length,
                None if self.coding => {}
                None => return None,
            }
        }
        Some(())
    }

    fn ambiguity(&self) -> Option<Ambiguity> {
        match self {
            Self { coding: true, lengths: 1.., .. } => Some(Ambiguity::LengthAndCoding),
            Self { lengths: 2.., .. } => Some(Ambiguity::Lengths),
            _ => self.request_line.fault(),
        }
    }

    /// What follows the head (RFC 9112 §6.3).
    fn body(&self) -> Part {
        match self {
            Self { coding: true, .. } => Part::ChunkSize,
            Self { length: 0, .. } => Part::RequestLine,
            Self { length, .. } => Part::Body(*length),
        }
    }
}

/// The value of the field with this name. `name` is in lower case and includes the colon.
fn value<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let (found, value) = line.split_at_checked(name.len())?;
    found.eq_ignore_ascii_case(name).then(|| value.trim_ascii())
}

#[cfg(test)]
mod tests;
