//! How much of its answers an upstream may send ahead on one HTTP/2 connection (RFC 9113 §5.2): what fills the path to it, and
//! what waits for its readers.
//!
//! More than fills the path comes no sooner. The answers only take turns in smaller pieces, which wake us more often, and wait in
//! memory until they have left the caches.
//!
//! What waits for its readers is not counted: else one that stalls would stop all others.

use std::time::Duration;

/// Bytes that fill the shortest path.
const LEAST: u64 = 1024 * 1024;

/// Bytes a second that any path is filled with: 4 Gbit/s.
const RATE: u64 = 512 * 1024 * 1024;

pub(super) struct Window {
    /// Bytes that fill the path.
    path: u32,
    /// As it was set last.
    set: u32,
    most: u32,
}

// === impl Window ===

impl Window {
    /// As of the shortest path. `most`: room for every stream's window.
    pub(super) fn new(most: u32) -> Self {
        let path = filling(Duration::ZERO, most);
        Self { path, set: path, most }
    }

    pub(super) fn size(&self) -> u32 {
        self.set
    }

    /// How long the way there and back takes.
    pub(super) fn measured(&mut self, round_trip: Duration) {
        self.path = filling(round_trip, self.most);
    }

    /// What it is to be set to, if that differs enough to be worth a lock and a frame. `waiting`: bytes that wait for their
    /// readers.
    pub(super) fn wanted(&self, waiting: u64) -> Option<u32> {
        let waiting = u32::try_from(waiting).unwrap_or(u32::MAX);
        let size = self.path.saturating_add(waiting).min(self.most);
        let differs = size.abs_diff(self.set) >= self.path / 4;
        // The last step is as short as it has to be: without it not every stream's window would have room.
        (differs || (size == self.most && self.set < size)).then_some(size)
    }

    /// [`Self::wanted`], which is set from now on.
    pub(super) fn adjust(&mut self, waiting: u64) -> Option<u32> {
        let size = self.wanted(waiting)?;
        self.set = size;
        Some(size)
    }
}

fn filling(round_trip: Duration, most: u32) -> u32 {
    let micros = u64::try_from(round_trip.as_micros()).unwrap_or(u64::MAX);
    let bytes = LEAST.saturating_add((RATE / 1_000_000).saturating_mul(micros));
    u32::try_from(bytes).unwrap_or(u32::MAX).min(most)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u32 = 1024 * 1024;
    const MOST: u32 = 50 * MIB;

    #[test]
    fn the_path_decides_and_what_waits_comes_on_top() {
        let ms = Duration::from_millis;
        // (round trip, waiting, from, to)
        let table = [
            (ms(0), 0, MIB, MIB),
            (ms(0), u64::from(3 * MIB), 4 * MIB - 1024, 4 * MIB + 1024),
            (ms(1), 0, 3 * MIB / 2, 2 * MIB),
            (ms(20), 0, 11 * MIB, 12 * MIB),
            (ms(20), u64::from(8 * MIB), 19 * MIB, 20 * MIB),
            (ms(100), 0, MOST, MOST),
            (ms(20), u64::MAX, MOST, MOST),
            (Duration::MAX, 0, MOST, MOST),
        ];
        for (round_trip, waiting, from, to) in table {
            let mut window = Window::new(MOST);
            window.measured(round_trip);
            let size = window.adjust(waiting).unwrap_or(window.size());
            assert!((from..=to).contains(&size), "{round_trip:?}, {waiting}: {size}");
        }
    }

    #[test]
    fn it_is_set_in_steps() {
        let mut window = Window::new(MOST);
        assert_eq!(window.adjust(200_000), None);
        assert_eq!(window.adjust(300_000), Some(MIB + 300_000));
        assert_eq!(window.adjust(100_000), None);
        assert_eq!(window.adjust(0), Some(MIB));
    }

    #[test]
    fn all_that_every_stream_may_hold_has_room() {
        for milliseconds in 0..120 {
            let mut window = Window::new(MOST);
            window.measured(Duration::from_millis(milliseconds));
            for waiting in (0..=u64::from(MOST)).step_by(512 * 1024) {
                window.adjust(waiting);
            }
            assert_eq!(window.set, MOST, "{milliseconds} ms");
        }
    }
}
