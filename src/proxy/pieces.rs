//! As much of a body as is there at a time, in the pieces that it came in.
//!
//! hyper queues 16 pieces at most before it writes, and an upstream may send pieces of a few KiB: handed on one by one, a large
//! body costs many small writes. Nothing is copied for it.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes};

/// Pieces of a body, in their order. None is empty, but for the first once all are consumed.
#[derive(Debug, Default)]
pub struct Pieces {
    first: Bytes,
    /// Boxed, since mostly there are none: then a body is as small to move as its bytes.
    rest: Option<Box<Rest>>,
}

#[derive(Debug, Default)]
struct Rest {
    pieces: VecDeque<Bytes>,
    /// Bytes of all of them.
    left: usize,
}

/// hyper writes 64 buffers at a time, the head among them.
const MAX_PIECES: usize = 48;
/// Bytes, the last piece not counted: what a client that reads nothing can hold on to, beside the windows.
const MAX_BYTES: usize = 256 * 1024;

// === impl Pieces ===

impl Pieces {
    pub(super) fn push(&mut self, piece: Bytes) {
        if piece.is_empty() {
            return;
        }
        if self.first.is_empty() {
            self.first = piece;
            return;
        }
        let rest = self.rest.get_or_insert_default();
        rest.left += piece.len();
        rest.pieces.push_back(piece);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.first.is_empty()
    }

    pub(super) fn is_full(&self) -> bool {
        self.remaining() >= MAX_BYTES || self.rest.as_ref().is_some_and(|rest| rest.pieces.len() + 1 >= MAX_PIECES)
    }
}

impl From<Bytes> for Pieces {
    fn from(piece: Bytes) -> Self {
        Self { first: piece, rest: None }
    }
}

impl Buf for Pieces {
    fn remaining(&self) -> usize {
        self.first.len() + self.rest.as_ref().map_or(0, |rest| rest.left)
    }

    fn chunk(&self) -> &[u8] {
        &self.first
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let rest = self.rest.iter().flat_map(|rest| &rest.pieces);
        let pieces = std::iter::once(&self.first).chain(rest).filter(|piece| !piece.is_empty());
        slices.iter_mut().zip(pieces).map(|(slice, piece)| *slice = IoSlice::new(piece)).count()
    }

    fn advance(&mut self, mut count: usize) {
        while count >= self.first.len()
            && let Some(rest) = &mut self.rest
            && let Some(next) = rest.pieces.pop_front()
        {
            count -= self.first.len();
            rest.left -= next.len();
            self.first = next;
        }
        // More than there is: the last piece panics, as `Buf` asks.
        self.first.advance(count);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn collected(pieces: &[Vec<u8>]) -> Pieces {
        let mut collected = Pieces::default();
        pieces.iter().for_each(|piece| collected.push(piece.clone().into()));
        collected
    }

    proptest! {
        /// However a writer takes them, and however many buffers it has.
        #[test]
        fn all_bytes_come_once_and_in_order(
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..9), 0..12),
            steps in prop::collection::vec((0usize..20, 1usize..5), 1..40),
        ) {
            let (mut collected, mut expected) = (collected(&pieces), pieces.concat());
            for (step, buffers) in steps {
                prop_assert_eq!(collected.remaining(), expected.len());
                prop_assert_eq!(collected.has_remaining(), !collected.chunk().is_empty());
                let mut slices = vec![IoSlice::new(&[]); buffers];
                let filled = collected.chunks_vectored(&mut slices);
                let seen: Vec<u8> = slices[..filled].iter().flat_map(|slice| slice.iter().copied()).collect();
                prop_assert!(expected.starts_with(&seen));
                prop_assert_eq!(seen.is_empty(), expected.is_empty());
                let step = step.min(expected.len());
                collected.advance(step);
                expected.drain(..step);
            }
            prop_assert_eq!(collected.copy_to_bytes(expected.len()), expected);
        }
    }

    #[test]
    fn it_is_full_by_bytes_and_by_count() {
        let full = |pieces: usize, size: usize| collected(&vec![vec![0; size]; pieces]).is_full();
        assert!(!full(0, 0));
        assert!(full(1, MAX_BYTES));
        assert!(!full(1, MAX_BYTES - 1));
        assert!(full(2, MAX_BYTES / 2));
        assert!(full(MAX_PIECES, 1));
        assert!(!full(MAX_PIECES - 1, 1));
    }

    #[test]
    #[should_panic(expected = "advance")]
    fn no_more_is_taken_than_there_is() {
        collected(&[vec![1, 2], vec![3]]).advance(4);
    }
}
