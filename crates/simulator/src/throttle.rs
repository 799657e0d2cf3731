//! The token endpoint's rate limit: a fixed window that opens with the first call in it, as Laravel's limiter keeps it.

use jiff::Timestamp;
use serde_json::json;

use super::answer::Answer;
use super::clock::{UnixMs, millis};
use super::laravel;
use super::options::{Flavour, RateLimit};

#[derive(Debug, Default)]
pub(super) struct Throttle {
    /// When the window closes, and the calls in it.
    window: Option<(UnixMs, u32)>,
}

/// The limiter's decision on a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pass {
    Admitted { remaining: u32 },
    Refused { until: UnixMs },
}

// === impl Throttle ===

impl Throttle {
    pub fn admit(&mut self, limit: RateLimit, now: UnixMs) -> Pass {
        let (until, calls) = match self.window {
            Some((until, calls)) if now < until => (until, calls),
            _ => (now.saturating_add(millis(limit.per)), 0),
        };
        if calls >= limit.calls {
            return Pass::Refused { until };
        }
        self.window = Some((until, calls + 1));
        Pass::Admitted { remaining: limit.calls - calls - 1 }
    }
}

/// The 429 of a flavour.
pub(super) fn refusal(flavour: Flavour, limit: RateLimit, until: UnixMs, now: UnixMs, expects_json: bool) -> Answer {
    let seconds = (until - now).max(0).div_euclid(1000) + 1;
    if flavour == Flavour::Priava {
        // Only the body has the time, and without a zone.
        let when = Timestamp::from_millisecond(until).unwrap_or_default().strftime("%a, %d %b %Y %H:%M:%S").to_string();
        let per = limit.per.as_secs();
        return Answer::json(
            429,
            &json!({
                "error": "Your API rate limit is exhausted",
                "limits": format!("{} requests / {} minutes ({per} seconds)", limit.calls, per / 60),
                "retry-after": when,
            }),
        );
    }
    laravel::too_many_attempts(expects_json)
        .header("Retry-After", seconds)
        .header("X-RateLimit-Limit", limit.calls)
        .header("X-RateLimit-Remaining", 0)
        .header("X-RateLimit-Reset", now.div_euclid(1000) + seconds)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const LIMIT: RateLimit = RateLimit { calls: 2, per: Duration::from_secs(60) };

    #[test]
    fn the_window_opens_with_its_first_call_and_closes_whole() {
        let mut throttle = Throttle::default();
        assert_eq!(throttle.admit(LIMIT, 1_000), Pass::Admitted { remaining: 1 });
        assert_eq!(throttle.admit(LIMIT, 50_000), Pass::Admitted { remaining: 0 });
        assert_eq!(throttle.admit(LIMIT, 60_999), Pass::Refused { until: 61_000 });
        assert_eq!(throttle.admit(LIMIT, 61_000), Pass::Admitted { remaining: 1 });
    }

    #[test]
    fn laravel_names_the_wait_in_headers() {
        let answer = refusal(Flavour::League9, LIMIT, 61_000, 1_500, true);
        assert_eq!(answer.status, 429);
        assert_eq!(answer.header_value("Retry-After"), Some("60"));
        assert_eq!(answer.header_value("X-RateLimit-Remaining"), Some("0"));
        assert_eq!(answer.header_value("X-RateLimit-Reset"), Some("61"));
    }

    #[test]
    fn priava_names_the_time_in_the_body_alone() {
        let answer = refusal(Flavour::Priava, LIMIT, 1_416_319_380_000, 1_416_319_000_000, true);
        assert_eq!(answer.header_value("Retry-After"), None);
        assert!(answer.body.contains(r#""retry-after":"Tue, 18 Nov 2014 14:03:00""#), "{}", answer.body);
        assert!(answer.body.contains("2 requests / 1 minutes (60 seconds)"), "{}", answer.body);
    }
}
