use std::collections::VecDeque;

use proptest::prelude::*;
use tokio::io::AsyncRead;

use super::super::HEADERS;
use super::*;

const PADDED: u8 = 8;
const SETTINGS: u8 = 4;

#[derive(Clone, Debug, PartialEq)]
struct Frame {
    kind: u8,
    flags: u8,
    stream: u8,
    payload: Vec<u8>,
}

fn frame(kind: u8, flags: u8, stream: u8, length: usize) -> Frame {
    // Bytes that show where they belong.
    let payload = (0..length).map(|at| u8::try_from(at * 7 % 251).unwrap() ^ stream).collect();
    Frame { kind, flags, stream, payload }
}

fn data(stream: u8, length: usize) -> Frame {
    frame(DATA, 0, stream, length)
}

fn wire(frames: &[Frame]) -> Vec<u8> {
    let one = |frame: &Frame| {
        let head = FrameHead { kind: frame.kind, flags: frame.flags, stream: [0, 0, 0, frame.stream] };
        [&head.bytes(frame.payload.len())[..], &frame.payload].concat()
    };
    frames.iter().flat_map(one).collect()
}

/// Decrypted records, one at a time, and then `end`.
struct Records {
    records: VecDeque<Vec<u8>>,
    end: fn() -> Poll<io::Result<()>>,
}

impl Records {
    /// The lengths of the records, in a cycle.
    fn new(bytes: &[u8], lengths: &[usize]) -> Self {
        let (mut rest, mut lengths) = (bytes, lengths.iter().cycle());
        let mut records = VecDeque::new();
        while !rest.is_empty() {
            records.push_back(front(&mut rest, *lengths.next().unwrap()).to_vec());
        }
        Self { records, end: || Poll::Pending }
    }
}

impl AsyncRead for Records {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        unreachable!("it is looked into")
    }
}

impl AsyncBufRead for Records {
    fn poll_fill_buf(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        let this = self.get_mut();
        match this.records.front() {
            Some(record) => Poll::Ready(Ok(record)),
            None => (this.end)().map_ok(|()| &[][..]),
        }
    }

    fn consume(mut self: Pin<&mut Self>, count: usize) {
        let record = self.records.front_mut().unwrap();
        record.drain(..count);
        if record.is_empty() {
            self.records.pop_front();
        }
    }
}

/// Reads like h2: into a buffer of `room` bytes, or of the length of the present frame. Each frame takes its part of the buffer with
/// it.
struct Codec {
    room: usize,
    capacity: usize,
    held: Vec<u8>,
    frames: Vec<Frame>,
    /// How many bytes were copied to another buffer.
    moved: usize,
}

impl Codec {
    fn new(room: usize) -> Self {
        Self { room, capacity: room, held: Vec::new(), frames: Vec::new(), moved: 0 }
    }

    /// Reads until the input ends or is pending.
    fn read(&mut self, reader: &mut FrameReader, records: &mut Records) -> Poll<io::Result<()>> {
        loop {
            let mut place = vec![0; self.capacity - self.held.len()];
            let mut buf = ReadBuf::new(&mut place);
            let polled =
                reader.poll_read(Pin::new(records), &mut Context::from_waker(std::task::Waker::noop()), &mut buf);
            if !matches!(polled, Poll::Ready(Ok(()))) || buf.filled().is_empty() {
                return polled;
            }
            self.held.extend_from_slice(buf.filled());
            self.decode();
        }
    }

    fn decode(&mut self) {
        while let Some((head, _)) = self.held.split_first_chunk::<FRAME_HEAD>() {
            let (head, length) = FrameHead::parse(*head);
            if self.held.len() < FRAME_HEAD + length {
                self.make_room(FRAME_HEAD + length, FRAME_HEAD + length);
                return;
            }
            let payload = self.held.drain(..FRAME_HEAD + length).skip(FRAME_HEAD).collect();
            self.frames.push(Frame { kind: head.kind, flags: head.flags, stream: head.stream[3], payload });
            self.capacity -= FRAME_HEAD + length;
        }
        self.make_room(FRAME_HEAD, self.room);
    }

    fn make_room(&mut self, needed: usize, made: usize) {
        if self.capacity < needed {
            self.moved += self.held.len();
            self.capacity = made;
        }
    }
}

fn read(frames: &[Frame], records: &[usize]) -> Vec<Frame> {
    let mut codec = Codec::new(1 << 20);
    let mut records = Records::new(&wire(frames), records);
    assert!(codec.read(&mut FrameReader::new(), &mut records).is_pending());
    assert!(codec.held.is_empty());
    codec.frames
}

#[test]
fn data_of_one_stream_that_is_there_together_is_told_as_one_frame() {
    let last = |stream, length| frame(DATA, END_STREAM, stream, length);
    let as_one: &[&[Frame]] = &[
        &[data(1, 8192), data(1, 8192)],
        &[data(1, 100), data(1, 200), last(1, 300)],
        &[data(1, 100), last(1, 0)],
        &[data(1, 1), data(1, 16_383)],
    ];
    for frames in as_one {
        let flags = frames.last().unwrap().flags;
        let payload = frames.iter().flat_map(|frame| frame.payload.clone()).collect();
        assert_eq!(read(frames, &[1 << 20]), [Frame { kind: DATA, flags, stream: 1, payload }]);
    }
    let as_they_are: &[&[Frame]] = &[
        &[data(1, 100), data(3, 100)],
        &[last(1, 100), data(1, 100)],
        &[data(1, 16_384), data(1, 1)],
        &[data(1, 100), data(1, 16_385)],
        &[data(1, 16_385), data(1, 1)],
        &[data(1, 100), frame(DATA, PADDED, 1, 100)],
        &[frame(DATA, PADDED, 1, 100), data(1, 100)],
        &[data(1, 100), data(1, 0)],
        &[data(1, 0), data(1, 100)],
        &[frame(HEADERS, 0, 1, 100), frame(HEADERS, 0, 1, 100)],
        &[data(1, 100), frame(HEADERS, END_STREAM, 1, 100)],
        &[frame(SETTINGS, 0, 0, 0), frame(SETTINGS, 1, 0, 0)],
    ];
    for frames in as_they_are {
        assert_eq!(read(frames, &[1 << 20]), *frames);
    }
    // Each frame has a record of its own, and none waits for a later one.
    let frames = [data(1, 91), data(1, 91), data(1, 91)];
    assert_eq!(read(&frames, &[100]), frames);
}

#[test]
fn a_frame_without_a_payload_waits_for_nothing() {
    // In the first case, the previous frame fills h2's buffer. In the second, the buffer has no room for a whole header.
    for (room, before) in [(8192, 16_384), (20, 3)] {
        let frames = [data(1, before), frame(SETTINGS, 1, 0, 0)];
        let (mut codec, mut records) = (Codec::new(room), Records::new(&wire(&frames), &[1 << 20]));
        assert!(codec.read(&mut FrameReader::new(), &mut records).is_pending());
        assert_eq!(codec.frames, frames);
    }
}

#[test]
fn of_what_would_be_too_long_the_rest_is_another_frame() {
    let frames = [data(1, 16_000), data(1, 1_000), frame(DATA, END_STREAM, 1, 16_000)];
    let found = read(&frames, &[1 << 20]);
    let shapes: Vec<_> = found.iter().map(|frame| (frame.payload.len(), frame.flags)).collect();
    assert_eq!(shapes, [(16_384, 0), (16_384, 0), (232, END_STREAM)]);
    assert_eq!(joined(&found), joined(&frames));
}

#[test]
fn a_large_answer_comes_in_a_frame_a_record_and_h2_moves_no_more_than_heads() {
    // Like nginx: frames of 8 KiB, across records of 16 KiB.
    let frames = vec![data(1, 8192); 128];
    let mut codec = Codec::new(8192);
    let mut records = Records::new(&wire(&frames), &[16_384]);
    let count = records.records.len();
    assert!(codec.read(&mut FrameReader::new(), &mut records).is_pending());
    assert_eq!(joined(&codec.frames), joined(&frames));
    assert_eq!(codec.frames.len(), count);
    assert!(codec.moved <= count * FRAME_HEAD, "{} bytes", codec.moved);
}

/// Returns the number of complete frames, the payload bytes, and whether the input ends with a complete frame.
fn within(mut bytes: &[u8]) -> (usize, usize, bool) {
    let (mut frames, mut payload) = (0, 0);
    while let Some((head, behind)) = bytes.split_first_chunk::<FRAME_HEAD>() {
        let (_, length) = FrameHead::parse(*head);
        payload += length.min(behind.len());
        let Some(rest) = behind.get(length..) else { return (frames, payload, false) };
        (bytes, frames) = (rest, frames + 1);
    }
    (frames, payload, bytes.is_empty())
}

#[test]
fn an_end_and_an_error_come_after_what_was_read() {
    // The first frame fills h2's buffer to the last byte.
    for frames in [[data(1, 16_384), data(1, 5)], [data(1, 10), data(1, 10)], [data(1, 10), data(3, 10)]] {
        let whole = wire(&frames);
        for cut in (0..whole.len()).filter(|cut| *cut < 40 || cut + 40 > whole.len()) {
            let cut_off = whole.get(..cut).unwrap();
            // As one record, and as two that divide a joined frame.
            let read = |end| {
                let length = if cut % 2 == 0 { 1 << 20 } else { cut / 2 + 1 };
                let (mut codec, mut records) = (Codec::new(8192), Records::new(cut_off, &[length]));
                records.end = end;
                let ended = codec.read(&mut FrameReader::new(), &mut records);
                let taken = bytes_of(&codec.frames);
                (ended, taken + codec.held.len().saturating_sub(FRAME_HEAD), codec.held.is_empty())
            };
            let (_, payload, is_whole) = within(cut_off);
            // h2 reports an end within a frame.
            let (ended, taken, clean) = read(|| Poll::Ready(Ok(())));
            assert!(matches!(ended, Poll::Ready(Ok(()))));
            assert_eq!((taken, clean), (payload, is_whole), "{cut}");
            let (ended, taken, _) = read(|| Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())));
            assert!(matches!(ended, Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::ConnectionReset));
            assert_eq!(taken, payload, "{cut}");
        }
    }
}

/// Joins all frames that may be joined, whatever their length.
fn joined(frames: &[Frame]) -> Vec<Frame> {
    let mut joined: Vec<Frame> = Vec::new();
    for frame in frames {
        match joined.last_mut().filter(|last| (last.kind, last.flags, last.stream) == (DATA, 0, frame.stream)) {
            Some(last) if frame.kind == DATA && frame.flags & PADDED == 0 => {
                last.payload.extend_from_slice(&frame.payload);
                last.flags = frame.flags;
            }
            _ => joined.push(frame.clone()),
        }
    }
    joined
}

fn any_frame() -> impl Strategy<Value = Frame> {
    let kind = prop_oneof![6 => Just(DATA), 1 => Just(HEADERS), 1 => Just(SETTINGS)];
    let flags = prop_oneof![4 => Just(0), 1 => Just(END_STREAM), 1 => Just(PADDED)];
    let length = prop_oneof![2 => 0..40_usize, 2 => 4000..8300_usize, 1 => 16_000..=MAX_FRAME];
    (kind, flags, 1..3_u8, length).prop_map(|(kind, flags, stream, length)| frame(kind, flags, stream, length))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    /// For all records and buffers, h2 reads the same frames, except for joined ones. No complete frame waits for more input.
    #[test]
    fn h2_reads_what_was_sent(
        frames in prop::collection::vec(any_frame(), 0..30),
        records in prop::collection::vec(prop_oneof![1..2000_usize, 1..16_385_usize], 1..5),
        room in FRAME_HEAD..20_000,
    ) {
        let wire = wire(&frames);
        let (mut codec, mut reader) = (Codec::new(room), FrameReader::new());
        let Records { records, .. } = Records::new(&wire, &records);
        let mut come = 0;
        for record in records {
            come += record.len();
            let mut records = Records { records: [record].into(), end: || Poll::Pending };
            prop_assert!(codec.read(&mut reader, &mut records).is_pending());
            let (count, ..) = within(wire.get(..come).unwrap_or_default());
            let whole = frames.get(..count).unwrap_or_default();
            prop_assert!(bytes_of(&codec.frames) >= bytes_of(whole));
            let others = |frames: &[Frame]| frames.iter().filter(|frame| frame.kind != DATA).count();
            prop_assert_eq!(others(&codec.frames), others(whole));
        }
        prop_assert!(codec.held.is_empty());
        prop_assert!(codec.frames.iter().all(|frame| frame.payload.len() <= MAX_FRAME));
        prop_assert_eq!(joined(&codec.frames), joined(&frames));
        prop_assert!(codec.moved <= 2 * frames.len().max(codec.frames.len()) * FRAME_HEAD);
    }
}

fn bytes_of(frames: &[Frame]) -> usize {
    frames.iter().map(|frame| frame.payload.len()).sum()
}
