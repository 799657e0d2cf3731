//! HTTP/1 heads by the byte: what hyper mends before anybody sees it, and a gateway has to refuse.
//!
//! hyper drops a `Content-Length` beside `Transfer-Encoding`, makes one of several that agree, and cuts a fragment off the target.
//! A server may (RFC 9112 §6.1, RFC 9110 §8.6); but who sends this wants two servers to read it in two ways (RFC 9112 §11.2), and
//! this is one of two.
//!
//! [`Heads`] follows a connection's bytes as far as to know where each head begins: by lines, lengths and chunks. It can only
//! refuse: were it ever to disagree with hyper about a message's end, what hyper refuses would still be refused.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use memchr::memchr;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::socket::Signals;
use super::transport::Transport;

/// Why a request is refused, as one of its extensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ambiguity {
    /// Both `Content-Length` and `Transfer-Encoding`.
    LengthAndCoding,
    /// More than one `Content-Length`.
    Lengths,
    /// The target has a `#`.
    Fragment,
}

/// An HTTP/1 connection whose heads are watched.
pub(super) struct Watched {
    transport: Transport,
    heads: Heads,
    signals: Arc<Signals>,
}

/// Where in the client's bytes a connection is.
#[derive(Debug, Default)]
struct Heads {
    part: Part,
    line: Line,
    head: Head,
    /// How many heads were whole.
    count: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Part {
    /// Between messages: empty lines may come (RFC 9112 §2.2), then a request line.
    #[default]
    RequestLine,
    Fields,
    /// So many bytes are left.
    Body(u64),
    ChunkSize,
    /// With the line's end behind it.
    Chunk(u64),
    Trailers,
    /// Not HTTP, or nothing that hyper would take: it will end the connection.
    Lost,
}

/// The beginning of the present line: enough for a field's name and a length.
#[derive(Debug)]
struct Line {
    bytes: [u8; 48],
    /// Of the whole line so far, beyond what is kept.
    length: usize,
}

/// What a head has said so far.
#[derive(Debug, Default)]
struct Head {
    lengths: u32,
    length: u64,
    coding: bool,
    /// The method has ended.
    method: bool,
    fragment: bool,
}

// === impl Watched ===

impl Watched {
    pub(super) fn new(transport: Transport) -> Self {
        Self { signals: transport.signals(), transport, heads: Heads::default() }
    }
}

impl AsyncRead for Watched {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let polled = Pin::new(&mut this.transport).poll_read(cx, buf);
        let read = buf.filled().get(before..).unwrap_or_default();
        if let Some((number, ambiguity)) = this.heads.see(read) {
            this.signals.refuse(number, ambiguity);
        }
        polled
    }
}

impl AsyncWrite for Watched {
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

// === impl Heads ===

impl Heads {
    /// Follows what was read. Returns the first head in it that is to be refused, and its number from 1 on.
    fn see(&mut self, mut bytes: &[u8]) -> Option<(u64, Ambiguity)> {
        let mut found = None;
        while !bytes.is_empty() {
            match &mut self.part {
                Part::Lost => return found,
                Part::Body(left) | Part::Chunk(left) => {
                    let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                    bytes = bytes.get(taken..).unwrap_or_default();
                    *left -= taken as u64;
                    self.part = match self.part {
                        Part::Body(0) => Part::RequestLine,
                        Part::Chunk(0) => Part::ChunkSize,
                        part => part,
                    };
                }
                Part::RequestLine | Part::Fields | Part::ChunkSize | Part::Trailers => {
                    let end = memchr(b'\n', bytes);
                    let (piece, rest) = bytes.split_at(end.map_or(bytes.len(), |end| end + 1));
                    bytes = rest;
                    if self.part == Part::RequestLine {
                        self.head.read_target(piece);
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
                // The line's end behind the data.
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

    /// RFC 9112 §7.1; what follows the number is hyper's to judge.
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
    /// Takes a piece of the request line. A `#` in the method is one of its characters.
    fn read_target(&mut self, piece: &[u8]) {
        let target = match memchr(b' ', piece) {
            _ if self.method => piece,
            Some(blank) => piece.get(blank..).unwrap_or_default(),
            None => return,
        };
        self.method = true;
        self.fragment |= memchr(b'#', target).is_some();
    }

    /// Takes a field's line; `None`: a length that is none.
    fn read(&mut self, line: &[u8]) -> Option<()> {
        if value(line, b"transfer-encoding:").is_some() {
            self.coding = true;
        } else if let Some(length) = value(line, b"content-length:") {
            self.lengths += 1;
            // Beside a coding it counts for nothing.
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
            Self { fragment: true, .. } => Some(Ambiguity::Fragment),
            _ => None,
        }
    }

    /// What follows it (RFC 9112 §6.3).
    fn body(&self) -> Part {
        match self {
            Self { coding: true, .. } => Part::ChunkSize,
            Self { length: 0, .. } => Part::RequestLine,
            Self { length, .. } => Part::Body(*length),
        }
    }
}

/// The value of the field of this name, which is in lower case and has its colon.
fn value<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let (found, value) = line.split_at_checked(name.len())?;
    found.eq_ignore_ascii_case(name).then(|| value.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is refused, however the bytes are dealt out to reads.
    fn refused(text: &str) -> Option<(u64, Ambiguity)> {
        let whole = Heads::default().see(text.as_bytes());
        for size in 1..text.len() {
            let mut heads = Heads::default();
            let mut found = None;
            for piece in text.as_bytes().chunks(size) {
                found = found.or(heads.see(piece));
            }
            assert_eq!(found, whole, "by {size} bytes: {text:?}");
        }
        whole
    }

    #[test]
    fn a_head_that_can_be_read_in_two_ways_is_found() {
        use Ambiguity::{Fragment, LengthAndCoding, Lengths};
        for (head, expected) in [
            ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", None),
            ("POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", None),
            ("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", None),
            ("POST / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", Some(LengthAndCoding)),
            ("POST / HTTP/1.1\r\nTRANSFER-encoding:chunked\r\ncontent-LENGTH:3\r\n\r\n", Some(LengthAndCoding)),
            ("POST / HTTP/1.1\nTransfer-Encoding: chunked\nX: y\nContent-Length: x\n\n", Some(LengthAndCoding)),
            ("POST / HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc", Some(Lengths)),
            ("GET /a#b HTTP/1.1\r\n\r\n", Some(Fragment)),
            ("#GET# /a HTTP/1.1\r\n\r\n", None),
            ("GET /a HTTP/1.1\r\nX: #\r\n\r\n", None),
            ("GET / HTTP/1.1\r\nX-Content-Length: 3\r\nContent-Lengthy: 3\r\nTransfer-Encoding: chunked\r\n\r\n", None),
        ] {
            assert_eq!(refused(head), expected.map(|ambiguity| (1, ambiguity)), "{head:?}");
        }
    }

    #[test]
    fn it_is_found_behind_any_message_and_within_none() {
        let bad = "POST / HTTP/1.1\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n";
        for before in [
            "",
            "GET / HTTP/1.1\r\n\r\n",
            "\r\n\r\nGET / HTTP/1.1\r\nX: {}\r\n\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: {length}\r\n\r\n{}",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n{size};x=y\r\n{}\r\n1\r\nx\r\n0\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: y\r\nContent-Length: 3\r\n\r\n",
        ] {
            // Within a body it is only text.
            let before = before
                .replace("{length}", &bad.len().to_string())
                .replace("{size}", &format!("{:x}", bad.len()))
                .replace("{}", if before.contains("X: {}") { "y" } else { bad });
            assert_eq!(refused(&before), None, "{before:?}");
            let number = if before.is_empty() { 1 } else { 2 };
            assert_eq!(refused(&format!("{before}{bad}")), Some((number, Ambiguity::LengthAndCoding)), "{before:?}");
        }
    }

    #[test]
    fn what_hyper_refuses_is_not_followed() {
        let bad = "POST / HTTP/1.1\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n";
        for before in [
            "POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: 18446744073709551616\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n",
        ] {
            assert_eq!(refused(&format!("{before}{bad}")), None, "{before:?}");
        }
    }
}
