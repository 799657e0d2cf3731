//! Durations, sizes, counts and margins: one number and one unit. Nothing is guessed.

use std::time::Duration;

use super::malformed::Malformed;

/// Units and their factors, from small to large.
const DURATIONS: [(&str, u64); 5] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
const SIZES: [(&str, u64); 4] = [("", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];

/// How long before the expiry of a token its refresh starts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Margin {
    /// Fraction of the lifetime, from 0.0 to 1.0.
    Share(f64),
    Fixed(Duration),
}

pub(super) fn duration(text: &str, min: Duration, max: Duration) -> Result<Duration, Malformed> {
    let duration =
        Duration::from_millis(scaled(text, &DURATIONS, "not a number with a unit (`ms`, `s`, `m`, `h` or `d`)")?);
    within(duration, min, max)
}

/// Reads the argument of a command.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    duration(text, Duration::ZERO, Duration::from_secs(365 * 86_400))
        .map_err(|malformed| format!("invalid duration `{text}`: {malformed}"))
}

/// Bytes.
pub(super) fn size(text: &str, min: u64, max: u64) -> Result<u64, Malformed> {
    within(scaled(text, &SIZES, "not a number, alone or with a unit (`KiB`, `MiB` or `GiB`)")?, min, max)
}

pub(super) fn count(text: &str, min: u64, max: u64) -> Result<u64, Malformed> {
    within(scaled(text, &[("", 1)], "not a whole number")?, min, max)
}

pub(super) fn flag(text: &str) -> Result<bool, Malformed> {
    match text {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(Malformed::INVALID),
    }
}

/// A percentage of the lifetime, or a duration. The code that uses the margin clamps it to its bounds, which also apply to a percentage.
pub(super) fn margin(text: &str) -> Result<Margin, Malformed> {
    let Some(percent) = text.strip_suffix('%') else {
        return duration(text, Duration::from_secs(1), Duration::from_secs(365 * 86_400)).map(Margin::Fixed);
    };
    let plain = !percent.is_empty() && percent.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    match percent.parse::<f64>() {
        Ok(percent) if plain && (1.0..=100.0).contains(&percent) => Ok(Margin::Share(percent / 100.0)),
        Ok(_) if plain => Err("out of range".into()),
        _ => Err("not a percentage".into()),
    }
}

/// In the largest unit that gives a whole number.
pub(super) fn duration_text(duration: Duration) -> String {
    text(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX), &DURATIONS, "0s")
}

pub(super) fn size_text(bytes: u64) -> String {
    text(bytes, &SIZES, "0")
}

fn scaled(text: &str, units: &[(&str, u64)], malformed: &'static str) -> Result<u64, Malformed> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let factor = units.iter().find(|(name, _)| *name == unit).map(|(_, factor)| *factor);
    let (Some(factor), false) = (factor, number.is_empty()) else { return Err(malformed.into()) };
    number.parse::<u64>().ok().and_then(|number| number.checked_mul(factor)).ok_or("out of range".into())
}

fn within<T: PartialOrd>(value: T, min: T, max: T) -> Result<T, Malformed> {
    if min <= value && value <= max { Ok(value) } else { Err("out of range".into()) }
}

fn text(value: u64, units: &[(&str, u64)], zero: &str) -> String {
    let unit = units.iter().rev().find(|(_, factor)| value > 0 && value.is_multiple_of(*factor));
    unit.map_or_else(|| zero.to_owned(), |(name, factor)| format!("{}{name}", value / factor))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_duration(text: &str) -> Result<Duration, Malformed> {
        duration(text, Duration::ZERO, Duration::MAX)
    }

    #[test]
    fn a_duration_is_one_number_and_one_unit() {
        for (text, millis) in
            [("250ms", 250), ("5s", 5_000), ("10m", 600_000), ("2h", 7_200_000), ("30d", 2_592_000_000), ("0s", 0)]
        {
            assert_eq!(any_duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in [
            "",
            "5",
            "s",
            "5 s",
            "-5s",
            "+5s",
            "1.5s",
            "5S",
            "1h30m",
            "5us",
            "5w",
            "99999999999999999999s",
            "999999999999999999d",
        ] {
            assert!(any_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_size_is_bytes_or_a_binary_unit() {
        for (text, bytes) in [("65536", 65_536), ("64KiB", 65_536), ("1MiB", 1 << 20), ("1GiB", 1 << 30)] {
            assert_eq!(size(text, 0, u64::MAX), Ok(bytes), "{text}");
        }
        for text in ["", "KiB", "1KB", "1K", "1kib", "1 KiB", "-1", "0x10", "99999999999GiB"] {
            assert!(size(text, 0, u64::MAX).is_err(), "{text}");
        }
    }

    #[test]
    fn a_margin_is_a_share_or_a_duration() {
        assert_eq!(margin("20%"), Ok(Margin::Share(0.2)));
        assert_eq!(margin("12.5%"), Ok(Margin::Share(0.125)));
        assert_eq!(margin("10m"), Ok(Margin::Fixed(Duration::from_secs(600))));
        for text in ["%", "0%", "0.5%", "101%", "-5%", "nan%", "inf%", "1e1%", "1.2.3%", "20", "0s", "20 %"] {
            assert!(margin(text).is_err(), "{text}");
        }
    }

    #[test]
    fn bounds_are_part_of_the_range() {
        let (min, max) = (Duration::from_secs(1), Duration::from_secs(60));
        assert!(duration("1s", min, max).is_ok() && duration("1m", min, max).is_ok());
        assert!(duration("999ms", min, max).is_err() && duration("61s", min, max).is_err());
        assert!(count("1", 1, 2).is_ok() && count("0", 1, 2).is_err() && count("3", 1, 2).is_err());
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(millis in 0..u64::MAX / 2, bytes: u64) {
            let duration = Duration::from_millis(millis);
            prop_assert_eq!(any_duration(&duration_text(duration)), Ok(duration));
            prop_assert_eq!(size(&size_text(bytes), 0, u64::MAX), Ok(bytes));
        }

        #[test]
        fn no_text_panics(text in "\\PC*") {
            let _ = (any_duration(&text), size(&text, 0, u64::MAX), count(&text, 0, u64::MAX), margin(&text), flag(&text));
        }
    }
}
