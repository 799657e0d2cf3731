//! When a token is refreshed, and how long to wait after an attempt. Pure decisions: time and chance are arguments, and [`random`]
//! supplies the chance.
//!
//! A refresh is risky, because the server spends the refresh token when it answers, and not when the answer arrives. So refreshes
//! are as rare as is safe: early enough before the expiry, with a growing pause between attempts, and with a budget for refusals.

mod budget;
#[cfg(test)]
mod tests;

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

pub use budget::Budget;

use crate::config::Margin;

/// A shorter margin would leave no time for a second attempt.
const SHORTEST_MARGIN: Duration = Duration::from_secs(60);

/// A longer margin would only cause more refreshes. No outage of a token endpoint lasts longer.
const LONGEST_MARGIN: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// How much earlier a refresh may come by jitter, as a share of the margin.
const JITTER_SHARE: f64 = 0.1;

const FIRST_BACKOFF: Duration = Duration::from_secs(1);
const LONGEST_BACKOFF: Duration = Duration::from_secs(60);

/// Full jitter can be zero, and without a pause the attempts would be a busy loop.
const SHORTEST_BACKOFF: Duration = Duration::from_millis(100);

/// The pauses between misconfigured attempts. The configuration may be corrected at any time.
const SHORTEST_REST: Duration = Duration::from_secs(5);
const LONGEST_REST: Duration = Duration::from_secs(15 * 60);
const LONGEST_REST_WITHOUT_TOKEN: Duration = Duration::from_secs(60);
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(5 * 60);
/// The first pause, as a share of the token's lifetime.
const REST_SHARE: u32 = 20;

/// The pause between two scheduled refreshes. Without it, tokens that live for a second would cause calls without a pause.
pub const SCHEDULED_PACE: Duration = Duration::from_secs(5);

/// The tolerated difference between two clocks.
const CLOCK_SKEW: SignedDuration = SignedDuration::from_secs(60);

const LONGEST_COOLDOWN: Duration = Duration::from_secs(15 * 60);

/// The expiry of a token. An expiry beyond the calendar becomes its last moment.
pub fn expires_at(obtained_at: Timestamp, lifetime: Duration) -> Timestamp {
    SignedDuration::try_from(lifetime)
        .ok()
        .and_then(|lifetime| obtained_at.checked_add(lifetime).ok())
        .unwrap_or(Timestamp::MAX)
}

/// When to refresh a token. `jitter`, from 0 to 1, only makes the refresh earlier. It keeps processes that started together from
/// refreshing together.
pub fn refresh_at(obtained_at: Timestamp, expires_at: Timestamp, margin: Margin, jitter: f64) -> Timestamp {
    // A corrupt record can have a negative lifetime. Such a token is due at its expiry, which is in the past.
    let lifetime = Duration::try_from(expires_at.duration_since(obtained_at)).unwrap_or_default();
    let margin = match margin {
        Margin::Share(share) => lifetime.mul_f64(unit(share)),
        Margin::Fixed(margin) => margin,
    };
    // The half is applied last, because with the shortest margin alone, a token of one minute would always be due.
    let margin = margin.clamp(SHORTEST_MARGIN, LONGEST_MARGIN).min(lifetime / 2);
    let early = margin + margin.mul_f64(JITTER_SHARE * unit(jitter));
    SignedDuration::try_from(early).ok().and_then(|early| expires_at.checked_sub(early).ok()).unwrap_or(obtained_at)
}

/// How long to wait after a failed attempt, if `before` consecutive attempts failed before it. `chance`, from 0 to 1, gives full
/// jitter. `Retry-After` is a minimum.
pub fn backoff(before: u32, retry_after: Option<Duration>, chance: f64) -> Duration {
    let ceiling = doubled(FIRST_BACKOFF, before, LONGEST_BACKOFF);
    ceiling.mul_f64(unit(chance)).max(SHORTEST_BACKOFF).max(retry_after.unwrap_or_default())
}

/// The lifetime of an unexpired token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life {
    pub whole: Duration,
    /// The time until its expiry.
    pub left: Duration,
}

/// How long to wait after a misconfigured outcome, if `before` consecutive ones came before it. `life` is that of the token in use.
/// After its expiry, requests wait for the next attempt, and the caller counts from zero again.
pub fn misconfigured(before: u32, life: Option<Life>, retry_after: Option<Duration>) -> Duration {
    if let Some(retry_after) = retry_after {
        return retry_after.clamp(SHORTEST_REST, LONGEST_RETRY_AFTER);
    }
    let wait = match life {
        Some(Life { whole, left }) => doubled(whole / REST_SHARE, before, LONGEST_REST.min(left)),
        None => doubled(SHORTEST_REST, before, LONGEST_REST_WITHOUT_TOKEN),
    };
    wait.max(SHORTEST_REST)
}

/// Corrects the dates of a stored token by a clock that says `now`. `None`: they need no correction.
///
/// If a token is dated in the future, its clock is or was ahead. It is used for at most its lifetime from now. `not_before` is a
/// time when the store did not hold the token yet. If the token is dated earlier, its clock is behind.
pub fn corrected(
    obtained_at: Timestamp,
    expires_at: Option<Timestamp>,
    not_before: Option<Timestamp>,
    now: Timestamp,
) -> Option<(Timestamp, Option<Timestamp>)> {
    let earliest = not_before.map(|at| at.min(now));
    let from = if obtained_at.duration_since(now) > CLOCK_SKEW {
        now
    } else {
        earliest.filter(|earliest| earliest.duration_since(obtained_at) > CLOCK_SKEW)?
    };
    let until = |end: Timestamp| {
        let lifetime = end.duration_since(obtained_at).max(SignedDuration::ZERO);
        from.checked_add(lifetime).unwrap_or(Timestamp::MAX)
    };
    Some((from, expires_at.map(until)))
}

/// The cooldown after a forced generation was refused, if `before` consecutive ones were refused before it.
pub fn cooldown(base: Duration, before: u32) -> Duration {
    // A configured base above the limit is neither doubled nor reduced.
    doubled(base, before, LONGEST_COOLDOWN.max(base))
}

/// A random number from 0 to 1. If the generator fails, it is 1, which gives the longest wait.
pub fn random() -> f64 {
    let mut bytes = [0; 4];
    match aws_lc_rs::rand::fill(&mut bytes) {
        Ok(()) => f64::from(u32::from_ne_bytes(bytes)) / f64::from(u32::MAX),
        Err(_) => 1.0,
    }
}

/// `first`, doubled `times` times, up to `limit`.
fn doubled(first: Duration, times: u32, limit: Duration) -> Duration {
    let factor = 1_u32.checked_shl(times).unwrap_or(u32::MAX);
    first.saturating_mul(factor).min(limit)
}

/// Clamps a share to 0 to 1. NaN is 0.
fn unit(share: f64) -> f64 {
    if share.is_nan() { 0.0 } else { share.clamp(0.0, 1.0) }
}
