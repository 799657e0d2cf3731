//! `Retry-After` (RFC 9110 §10.2.3).

use std::time::Duration;

use http::HeaderMap;
use http::header::{DATE, RETRY_AFTER};
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimeParser;

/// The shortest accepted wait, so no server can cause a loop.
const SHORTEST: Duration = Duration::from_secs(1);

/// The longest accepted wait, so no server can postpone the token without limit.
const LONGEST: Duration = Duration::from_secs(5 * 60);

/// The weekday is not checked. It adds nothing, and the example in Priava's documentation has a wrong one.
const DATES: DateTimeParser = DateTimeParser::new().relaxed_weekday(true);

/// The field `Retry-After`, or else `in_body`, where Priava puts it.
pub(super) fn retry_after(headers: &HeaderMap, in_body: Option<&str>, now: Timestamp) -> Option<Duration> {
    // The server sets both the date and `Date`, so their difference is right even if the server's clock is wrong.
    let now = headers.get(DATE).and_then(|value| date(value.to_str().ok()?)).unwrap_or(now);
    let in_header = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok());
    in_header.and_then(|text| delay(text, now)).or_else(|| delay(in_body?, now))
}

fn delay(text: &str, now: Timestamp) -> Option<Duration> {
    let text = text.trim();
    let delay = if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        // Only too many digits fail to parse.
        text.parse().map_or(LONGEST, Duration::from_secs)
    } else {
        Duration::try_from(date(text)?.duration_since(now)).unwrap_or(SHORTEST)
    };
    Some(delay.clamp(SHORTEST, LONGEST))
}

/// An HTTP-date in its preferred form (RFC 9110 §5.6.7), or the same without a zone (Priava), which counts as UTC.
fn date(text: &str) -> Option<Timestamp> {
    DATES.parse_timestamp(text).or_else(|_| DATES.parse_timestamp(format!("{text} GMT"))).ok()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const NOW: &str = "2014-11-18T14:00:00Z";

    #[test]
    fn the_wait_is_read_in_every_form_and_kept_between_a_second_and_five_minutes() {
        let rows: [(&str, Option<u64>); 16] = [
            ("0", Some(1)),
            ("1", Some(1)),
            (" 120 ", Some(120)),
            ("3600", Some(300)),
            ("99999999999999999999999", Some(300)),
            ("Tue, 18 Nov 2014 14:03:00 GMT", Some(180)),
            ("Thu, 18 Nov 2014 14:03:00", Some(180)),
            ("Tue, 18 Nov 2014 16:03:00 +0200", Some(180)),
            ("Tue, 18 Nov 2014 13:00:00 GMT", Some(1)),
            ("Tue, 18 Nov 2059 13:00:00 GMT", Some(300)),
            ("", None),
            ("-5", None),
            ("1.5", None),
            ("soon", None),
            ("Tue, 99 Nov 2014 14:03:00 GMT", None),
            ("Tue, 18 Nov 99999 14:03:00 GMT", None),
        ];
        let now = NOW.parse().unwrap();
        for (text, seconds) in rows {
            let expected = seconds.map(Duration::from_secs);
            let headers = HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_str(text).unwrap())]);
            assert_eq!(retry_after(&headers, None, now), expected, "header {text:?}");
            assert_eq!(retry_after(&HeaderMap::new(), Some(text), now), expected, "body {text:?}");
        }
    }

    #[test]
    fn the_field_wins_over_the_body() {
        let headers = HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_static("7"))]);
        assert_eq!(retry_after(&headers, Some("9"), NOW.parse().unwrap()), Some(Duration::from_secs(7)));
    }

    #[test]
    fn a_date_is_measured_by_the_servers_own_clock() {
        let headers = HeaderMap::from_iter([
            (DATE, HeaderValue::from_static("Tue, 18 Nov 2014 20:00:00 GMT")),
            (RETRY_AFTER, HeaderValue::from_static("Tue, 18 Nov 2014 20:00:30 GMT")),
        ]);
        assert_eq!(retry_after(&headers, None, NOW.parse().unwrap()), Some(Duration::from_secs(30)));
    }
}
