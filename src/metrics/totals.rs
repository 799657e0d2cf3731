//! The counters of all workers as plain numbers, to compare two moments.

use std::time::Duration;

use super::histogram::BOUNDS;

/// What was counted since the start, or between two moments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// By [`Class`].
    pub requests: [u64; Class::COUNT],
    /// The durations of requests by bucket: one per bound, and a last one for larger values.
    pub durations: [u64; BOUNDS.len() + 1],
    /// Requests that the upstream refused for their token.
    pub refused: u64,
    /// Requests that were sent again.
    pub replays: u64,
    /// Requests that waited for a token.
    pub waits: u64,
}

/// A class of responses. Its value is its index in [`Totals::requests`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Also an upgrade (101), which is one.
    Success,
    Redirection,
    ClientError,
    ServerError,
    /// The proxy's own responses.
    Proxy,
}

// === impl Totals ===

impl Totals {
    /// What was counted after `earlier`.
    pub fn since(&self, earlier: &Self) -> Self {
        let mut more = *self;
        let pairs =
            more.requests.iter_mut().zip(earlier.requests).chain(more.durations.iter_mut().zip(earlier.durations));
        for (now, before) in pairs {
            *now = now.saturating_sub(before);
        }
        more.refused = self.refused.saturating_sub(earlier.refused);
        more.replays = self.replays.saturating_sub(earlier.replays);
        more.waits = self.waits.saturating_sub(earlier.waits);
        more
    }

    /// The duration that a fraction of the requests did not exceed, as Prometheus estimates it (`histogram_quantile`): linear within a
    /// bucket. `None`: there were no requests.
    pub fn quantile(&self, fraction: f64) -> Option<Duration> {
        let rank = fraction * self.durations.iter().sum::<u64>() as f64;
        let (mut below, mut lower) = (0.0, Duration::ZERO);
        for (count, upper) in self.durations.iter().zip(BOUNDS) {
            let within = *count as f64;
            if within > 0.0 && below + within >= rank {
                return Some(lower + (upper - lower).mul_f64(((rank - below) / within).clamp(0.0, 1.0)));
            }
            (below, lower) = (below + within, upper);
        }
        // Larger values have no upper bound.
        (rank > 0.0).then_some(lower)
    }
}

// === impl Class ===

impl Class {
    pub const COUNT: usize = 5;

    /// The class of an upstream's response.
    pub(super) fn from_status(status: u16) -> Self {
        match status {
            ..300 => Self::Success,
            300..400 => Self::Redirection,
            400..500 => Self::ClientError,
            500.. => Self::ServerError,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_lies_within_its_bucket() {
        let totals = |pairs: &[(usize, u64)]| {
            let mut totals = Totals::default();
            for (bucket, count) in pairs {
                totals.durations[*bucket] = *count;
            }
            totals
        };
        let millis = |totals: &Totals, fraction| totals.quantile(fraction).map(|found| found.as_secs_f64() * 1000.0);
        assert_eq!(millis(&totals(&[]), 0.5), None);
        // All below 1 ms.
        assert_eq!(millis(&totals(&[(0, 4)]), 0.5), Some(0.5));
        // 90 between 5 and 10 ms, 10 between 50 and 100 ms.
        let mixed = totals(&[(3, 90), (6, 10)]);
        assert_eq!(millis(&mixed, 0.45), Some(7.5));
        assert_eq!(millis(&mixed, 0.95), Some(75.0));
        // Longer than the last bound.
        assert_eq!(millis(&totals(&[(0, 1), (17, 99)]), 0.5), Some(300_000.0));
    }

    #[test]
    fn what_came_later_is_the_difference() {
        let earlier = Totals { requests: [1, 0, 0, 0, 2], waits: 3, ..Totals::default() };
        let later = Totals { requests: [4, 0, 1, 0, 2], waits: 5, replays: 1, ..Totals::default() };
        let more = Totals { requests: [3, 0, 1, 0, 0], waits: 2, replays: 1, ..Totals::default() };
        assert_eq!(later.since(&earlier), more);
        assert_eq!([101, 599].map(Class::from_status), [Class::Success, Class::ServerError]);
    }
}
