//! The number of refreshes that refusals may still cause in this process.
//!
//! The cooldown handles a token that is refused repeatedly. The budget handles an upstream that accepts each new token for a while
//! and then refuses it, which starts no cooldown.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// A limit for any 60 minutes, not for each hour of the clock.
#[derive(Clone, Debug)]
pub struct Budget {
    max_per_hour: u32,
    /// The times of the last hour, the oldest first. Never more than `max_per_hour`.
    spent: VecDeque<Instant>,
}

const HOUR: Duration = Duration::from_secs(60 * 60);

// === impl Budget ===

impl Budget {
    pub fn new(max_per_hour: u32) -> Self {
        Self { max_per_hour, spent: VecDeque::new() }
    }

    /// Takes one refresh. `false`: none is left.
    pub fn take(&mut self, now: Instant) -> bool {
        self.forget(now);
        let left = self.left();
        if left > 0 {
            self.spent.push_back(now);
        }
        left > 0
    }

    /// Gives the last refresh back, because it spent no refresh token.
    pub fn give_back(&mut self) {
        self.spent.pop_back();
    }

    fn forget(&mut self, now: Instant) {
        while self.spent.front().is_some_and(|at| now.saturating_duration_since(*at) >= HOUR) {
            self.spent.pop_front();
        }
    }

    fn left(&self) -> u32 {
        self.max_per_hour.saturating_sub(u32::try_from(self.spent.len()).unwrap_or(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn no_hour_has_more_than_the_limit() {
        let start = Instant::now();
        let mut budget = Budget::new(2);
        let rows =
            [(0, true), (59, true), (59, false), (60, true), (61, false), (118, false), (119, true), (120, true)];
        for (minute, expected) in rows {
            assert_eq!(budget.take(start + minute * MINUTE), expected, "minute {minute}");
        }
    }

    #[test]
    fn what_was_not_spent_is_given_back() {
        let now = Instant::now();
        let mut budget = Budget::new(1);
        assert!(budget.take(now) && !budget.take(now));
        budget.give_back();
        assert!(budget.take(now) && !budget.take(now));
    }

    #[test]
    fn a_limit_of_nothing_allows_nothing() {
        assert!(!Budget::new(0).take(Instant::now()));
    }
}
