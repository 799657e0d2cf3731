//! Writes a warning or an error once a minute, however often it is logged.
//!
//! A lasting fault, such as an unreachable store, is logged at each retry. Identical lines hide other events. So a repeated line is
//! counted, and the count is written with its next occurrence.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The shortest time between two identical lines.
const INTERVAL: Duration = Duration::from_secs(60);

/// Number of different lines that are remembered. A line with a different number, such as a duration, is a different line.
const REMEMBERED: usize = 64;

/// The level is searched in this many first bytes of a line: a timestamp, JSON keys and colour codes precede it.
const BEFORE_LEVEL: usize = 64;

/// The warnings and errors that were written in the last minute.
#[derive(Debug, Default)]
pub(super) struct Repeats {
    /// The oldest first.
    written: VecDeque<Written>,
}

#[derive(Debug)]
struct Written {
    /// The line after its timestamp.
    text: Vec<u8>,
    at: Instant,
    suppressed: u64,
}

/// Whether a line is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Write it. The same line was suppressed this many times before.
    Write {
        suppressed: u64,
    },
    Suppress,
}

// === impl Repeats ===

impl Repeats {
    pub(super) fn judge(&mut self, line: &[u8], now: Instant) -> Verdict {
        let Some(text) = from_level(line) else { return Verdict::Write { suppressed: 0 } };
        let mut suppressed = 0;
        if let Some(index) = self.written.iter().position(|written| written.text == text) {
            if let Some(recent) =
                self.written.get_mut(index).filter(|written| now.duration_since(written.at) < INTERVAL)
            {
                recent.suppressed = recent.suppressed.saturating_add(1);
                return Verdict::Suppress;
            }
            suppressed = self.written.remove(index).map_or(0, |written| written.suppressed);
        }
        if self.written.len() == REMEMBERED {
            self.written.pop_front();
        }
        self.written.push_back(Written { text: text.to_vec(), at: now, suppressed: 0 });
        Verdict::Write { suppressed }
    }
}

/// The line from `WARN` or `ERROR` on; `None` for the other levels.
fn from_level(line: &[u8]) -> Option<&[u8]> {
    let start = line.get(..BEFORE_LEVEL.min(line.len()))?;
    let level = |name: &[u8]| start.windows(name.len()).position(|window| window == name);
    line.get(level(b"WARN").or_else(|| level(b"ERROR"))?..)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WRITE: Verdict = Verdict::Write { suppressed: 0 };

    #[test]
    fn a_repeated_warning_is_written_once_a_minute_with_its_count() {
        let (mut repeats, start) = (Repeats::default(), Instant::now());
        let after = |seconds| start + Duration::from_secs(seconds);
        let rows = [
            (0, "2026-11-22T02:00:00.000Z  WARN the store is down", WRITE),
            (1, "2026-11-22T02:00:01.000Z  WARN the store is down", Verdict::Suppress),
            (2, "2026-11-22T02:00:02.000Z ERROR the store is down", WRITE),
            (3, r#"{"timestamp":"2026-11-22T02:00:03.000Z","level":"WARN","message":"a"}"#, WRITE),
            (4, r#"{"timestamp":"2026-11-22T02:00:04.000Z","level":"WARN","message":"a"}"#, Verdict::Suppress),
            (5, r#"{"timestamp":"2026-11-22T02:00:05.000Z","level":"WARN","message":"b"}"#, WRITE),
            (59, "2026-11-22T02:00:59.000Z  WARN the store is down", Verdict::Suppress),
            (60, "2026-11-22T02:01:00.000Z  WARN the store is down", Verdict::Write { suppressed: 2 }),
            (61, "2026-11-22T02:01:01.000Z  WARN the store is down", Verdict::Suppress),
        ];
        for (second, line, expected) in rows {
            assert_eq!(repeats.judge(line.as_bytes(), after(second)), expected, "second {second}: {line}");
        }
    }

    #[test]
    fn other_levels_are_never_suppressed() {
        let (mut repeats, now) = (Repeats::default(), Instant::now());
        let message = format!("2026-11-22T02:00:00.000Z  INFO {} WARN in a message", "request ".repeat(10));
        for _ in 0..3 {
            assert_eq!(repeats.judge(message.as_bytes(), now), WRITE);
            assert_eq!(repeats.judge(b"", now), WRITE);
        }
    }

    #[test]
    fn many_different_lines_are_all_written_and_take_no_more_memory() {
        let (mut repeats, now) = (Repeats::default(), Instant::now());
        for n in 0..1000 {
            assert_eq!(repeats.judge(format!("WARN {n}").as_bytes(), now), WRITE);
        }
        assert_eq!(repeats.written.len(), REMEMBERED);
    }
}
