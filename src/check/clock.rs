//! The check of the clock, by the `Date` of the servers' responses.

use std::time::Duration;

use http::HeaderMap;
use http::header::DATE;
use jiff::Timestamp;
use jiff::fmt::rfc2822;

use super::finding::Finding;
use super::ids::Id;

/// `Date` has a resolution of one second, and a response can take seconds.
const TOLERANCE: Duration = Duration::from_secs(60);

/// How far this clock is ahead of a server, in seconds. `received_at`: by this clock.
pub fn ahead(headers: &HeaderMap, received_at: Timestamp) -> Option<i64> {
    let date = headers.get(DATE)?.to_str().ok()?;
    // An HTTP date (RFC 9110 §5.6.7) is one of RFC 2822 with a zone of its own.
    let date = rfc2822::DateTimeParser::new().parse_timestamp(date).ok()?;
    Some(received_at.as_second() - date.as_second())
}

/// `measured`: each server that sent a date, and how far this clock is ahead of it.
pub fn judge(measured: &[(&str, i64)]) -> Vec<Finding> {
    let is_off = |seconds: &i64| seconds.unsigned_abs() > TOLERANCE.as_secs();
    let off: Vec<_> = measured.iter().filter(|(_, seconds)| is_off(seconds)).collect();
    match (off.as_slice(), measured) {
        ([], []) => vec![Id::ClockOff.skip("no server sent a date")],
        ([], _) => Vec::new(),
        // A server whose clock differs from the other server's is wrong itself.
        ([_], [_, _]) => {
            vec![Id::ClockOff.ok("the clocks of the servers differ, and this one agrees with one of them")]
        }
        ([(server, seconds), ..], _) => {
            let direction = if *seconds > 0 { "ahead of" } else { "behind" };
            vec![Id::ClockOff.warn(
                format!("this clock is {} s {direction} the clock of the {server}", seconds.unsigned_abs()),
                "synchronize the clock (NTP, chrony): certificates and token lifetimes depend on it",
            )]
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;
    use crate::check::tests::names;

    #[test]
    fn a_clock_is_off_if_no_server_agrees_with_it() {
        type Case<'a> = (&'a [(&'a str, i64)], &'a [&'a str]);
        let rows: &[Case<'_>] = &[
            (&[("upstream", 0)], &[]),
            (&[("upstream", 60), ("token endpoint", -60)], &[]),
            (&[("upstream", 61)], &["clock-off"]),
            (&[("upstream", -3600), ("token endpoint", -3600)], &["clock-off"]),
        ];
        for (measured, expected) in rows {
            assert_eq!(names(&judge(measured)), *expected, "{measured:?}");
        }
        assert!(!judge(&[("upstream", 0), ("token endpoint", 9000)]).iter().any(Finding::is_problem));
        assert!(!judge(&[]).iter().any(Finding::is_problem));
    }

    #[test]
    fn a_date_is_read_as_http_writes_it() {
        let now = Timestamp::from_second(784_111_777 + 5).unwrap();
        let headers = |date: &'static str| HeaderMap::from_iter([(DATE, HeaderValue::from_static(date))]);
        assert_eq!(ahead(&headers("Sun, 06 Nov 1994 08:49:37 GMT"), now), Some(5));
        assert_eq!(ahead(&headers("yesterday"), now), None);
        assert_eq!(ahead(&HeaderMap::new(), now), None);
    }
}
