//! The parts of HTTP/2 frames (RFC 9113 §4.1) that the layers below h2 read and write.

mod reader;

pub(super) use self::reader::FrameReader;

/// The length of a frame header, in bytes.
pub(super) const FRAME_HEAD: usize = 9;

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const CONTINUATION: u8 = 9;

/// A flag of DATA and HEADERS.
pub(super) const END_STREAM: u8 = 1;
/// A flag of HEADERS and CONTINUATION.
pub(super) const END_HEADERS: u8 = 4;

/// The longest payload that every peer accepts (RFC 9113 §4.2). h2 announces no other limit for us.
pub(super) const MAX_FRAME: usize = 16_384;

/// A frame header without its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FrameHead {
    pub kind: u8,
    pub flags: u8,
    pub stream: [u8; 4],
}

/// A frame header of which a part has arrived.
#[derive(Default)]
pub(super) struct Incomplete {
    bytes: [u8; FRAME_HEAD],
    filled: usize,
}

// === impl FrameHead ===

impl FrameHead {
    /// Also returns the length of the payload.
    pub(super) fn parse(bytes: [u8; FRAME_HEAD]) -> (Self, usize) {
        let [high, middle, low, kind, flags, a, b, c, d] = bytes;
        let length = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
        (Self { kind, flags, stream: [a, b, c, d] }, length)
    }

    pub(super) fn bytes(self, length: usize) -> [u8; FRAME_HEAD] {
        let Self { kind, flags, stream: [a, b, c, d] } = self;
        let byte = |shift: u32| u8::try_from(length >> shift & 0xff).unwrap_or_default();
        [byte(16), byte(8), byte(0), kind, flags, a, b, c, d]
    }

    /// Without the reserved bit.
    pub(super) fn stream_id(self) -> u32 {
        u32::from_be_bytes(self.stream) & 0x7fff_ffff
    }

    pub(super) fn ends_headers(self) -> bool {
        self.flags & END_HEADERS != 0
    }
}

// === impl Incomplete ===

impl Incomplete {
    /// Takes the missing bytes from the front.
    pub(super) fn complete(&mut self, bytes: &mut &[u8]) -> Option<(FrameHead, usize)> {
        let empty = self.bytes.get_mut(self.filled..).unwrap_or_default();
        let piece = front(bytes, empty.len());
        let (place, left) = empty.split_at_mut(piece.len());
        place.copy_from_slice(piece);
        self.filled += piece.len();
        left.is_empty().then(|| FrameHead::parse(self.bytes))
    }

    /// The bytes that arrived.
    fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.filled).unwrap_or_default()
    }
}

/// Takes up to `count` bytes from the front.
pub(super) fn front<'a>(bytes: &mut &'a [u8], count: usize) -> &'a [u8] {
    let (front, rest) = bytes.split_at(count.min(bytes.len()));
    *bytes = rest;
    front
}
