//! When a token is refreshed, and what follows an attempt: pure decisions. Time and chance come in as arguments;
//! [`random`] is where chance comes from.
//!
//! A refresh is risky, since the refresh token is spent when the server answers and not when the answer arrives. So the
//! rules here make it as rare as is safe: early enough before the expiry, with a growing wait between two attempts, and
//! never more refreshes for refusals than a budget allows.

mod budget;
#[cfg(test)]
mod tests;

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

pub use budget::Budget;

use crate::config::Margin;

/// Less would leave no room for a second attempt.
const SHORTEST_MARGIN: Duration = Duration::from_secs(60);

/// More would only mean more refreshes: an outage of the token endpoint does not last so long.
const LONGEST_MARGIN: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// How much earlier than the margin chance may put a refresh, as a share of the margin.
const JITTER_SHARE: f64 = 0.1;

const FIRST_BACKOFF: Duration = Duration::from_secs(1);
const LONGEST_BACKOFF: Duration = Duration::from_secs(60);

/// Full jitter may come out as nothing, and no wait at all is a loop.
const SHORTEST_BACKOFF: Duration = Duration::from_millis(100);

/// Between two attempts that the server refuses for the sake of the configuration: somebody may mend it at any time.
const SHORTEST_REST: Duration = Duration::from_secs(5);
const LONGEST_REST: Duration = Duration::from_secs(15 * 60);
const LONGEST_REST_WITHOUT_TOKEN: Duration = Duration::from_secs(60);
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(5 * 60);
/// The first wait, as a share of the token's lifetime.
const REST_SHARE: u32 = 20;

/// A server whose tokens live for a second would be called without a pause.
pub const SCHEDULED_PACE: Duration = Duration::from_secs(5);

/// A clock may be ahead of another by so much.
const CLOCK_SKEW: SignedDuration = SignedDuration::from_secs(60);

const LONGEST_COOLDOWN: Duration = Duration::from_secs(15 * 60);

/// When a token that began its life at `obtained_at` ends it. What is beyond the calendar is its end.
pub fn expires_at(obtained_at: Timestamp, lifetime: Duration) -> Timestamp {
    SignedDuration::try_from(lifetime)
        .ok()
        .and_then(|lifetime| obtained_at.checked_add(lifetime).ok())
        .unwrap_or(Timestamp::MAX)
}

/// When a token is to be refreshed. `jitter` is chance, from 0 to 1, and only makes it earlier: processes that got
/// their tokens together do not renew them together.
pub fn refresh_at(obtained_at: Timestamp, expires_at: Timestamp, margin: Margin, jitter: f64) -> Timestamp {
    // A negative life is what a corrupt record would have; such a token is due at its expiry, which is past.
    let lifetime = Duration::try_from(expires_at.duration_since(obtained_at)).unwrap_or_default();
    let margin = match margin {
        Margin::Share(share) => lifetime.mul_f64(unit(share)),
        Margin::Fixed(margin) => margin,
    };
    // The half comes last: it wins over the shortest margin, or a token of a minute would always be due.
    let margin = margin.clamp(SHORTEST_MARGIN, LONGEST_MARGIN).min(lifetime / 2);
    let early = margin + margin.mul_f64(JITTER_SHARE * unit(jitter));
    SignedDuration::try_from(early).ok().and_then(|early| expires_at.checked_sub(early).ok()).unwrap_or(obtained_at)
}

/// How long to wait after a failed attempt, where `before` have failed in a row before it. Full jitter: `chance` is
/// from 0 to 1. A server that names a time is given it.
pub fn backoff(before: u32, retry_after: Option<Duration>, chance: f64) -> Duration {
    let ceiling = doubled(FIRST_BACKOFF, before, LONGEST_BACKOFF);
    ceiling.mul_f64(unit(chance)).max(SHORTEST_BACKOFF).max(retry_after.unwrap_or_default())
}

/// The life of the live token, while it lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life {
    pub whole: Duration,
    /// Until it expires.
    pub left: Duration,
}

/// How long to wait after a refresh that ended as misconfigured, where `before` in a row ended so before it. `life`: of the
/// token that is still used; after its end, requests wait for the next attempt, and the count begins anew.
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

/// The dates of a stored token, as far as a clock that says `now` can confirm them. A token that is dated in the future was dated
/// by a clock that is, or was, ahead: it is used for its lifetime from now at most. `not_before`: the store did not hold the token
/// then, so that one that is dated before was dated by a clock that is behind. `None`: there is nothing to correct.
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

/// How long refusals cause no refresh after a forced refresh whose own token was refused, where `before` such ones came
/// in a row before it.
pub fn cooldown(base: Duration, before: u32) -> Duration {
    // A base above the limit is a person's choice, and is neither doubled nor cut.
    doubled(base, before, LONGEST_COOLDOWN.max(base))
}

/// Chance, from 0 to 1. A generator that fails gives 1: the longest wait.
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

/// A share of something; what is no number is none of it.
fn unit(share: f64) -> f64 {
    if share.is_nan() { 0.0 } else { share.clamp(0.0, 1.0) }
}
