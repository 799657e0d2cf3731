use super::*;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86400);

fn start() -> Timestamp {
    "2026-11-22T02:00:00Z".parse().unwrap()
}

#[test]
fn a_token_expires_its_lifetime_after_the_call_began() {
    assert_eq!(expires_at(start(), HOUR).to_string(), "2026-11-22T03:00:00Z");
    assert_eq!(expires_at(start(), 365 * DAY).to_string(), "2027-11-22T02:00:00Z");
    assert_eq!(expires_at(start(), Duration::MAX), Timestamp::MAX);
    assert_eq!(expires_at(Timestamp::MAX, SECOND), Timestamp::MAX);
}

#[test]
fn a_refresh_comes_a_margin_before_the_expiry_within_its_limits() {
    // lifetime, margin, jitter, how long before the expiry
    let rows = [
        (HOUR, Margin::Share(0.2), 0.0, 12 * MINUTE),
        (6 * HOUR, Margin::Share(0.2), 0.0, 72 * MINUTE),
        (365 * DAY, Margin::Share(0.2), 0.0, 30 * DAY),
        (365 * DAY, Margin::Fixed(90 * DAY), 0.0, 30 * DAY),
        (HOUR, Margin::Fixed(SECOND), 0.0, MINUTE),
        (HOUR, Margin::Share(0.0), 0.0, MINUTE),
        (HOUR, Margin::Share(1.0), 0.0, 30 * MINUTE),
        (HOUR, Margin::Fixed(2 * HOUR), 0.0, 30 * MINUTE),
        (MINUTE, Margin::Share(0.2), 0.0, 30 * SECOND),
        (2 * SECOND, Margin::Share(0.2), 0.0, SECOND),
        (Duration::ZERO, Margin::Share(0.2), 1.0, Duration::ZERO),
        (HOUR, Margin::Share(0.2), 1.0, 12 * MINUTE + 72 * SECOND),
        (HOUR, Margin::Share(0.2), 0.5, 12 * MINUTE + 36 * SECOND),
        (365 * DAY, Margin::Share(0.2), 1.0, 33 * DAY),
        // The jitter is added to the half.
        (HOUR, Margin::Share(1.0), 1.0, 33 * MINUTE),
        // Values out of range are clamped.
        (HOUR, Margin::Share(0.2), 7.0, 12 * MINUTE + 72 * SECOND),
        (HOUR, Margin::Share(0.2), -1.0, 12 * MINUTE),
        (HOUR, Margin::Share(f64::NAN), f64::NAN, MINUTE),
    ];
    for (lifetime, margin, jitter, before) in rows {
        let expiry = expires_at(start(), lifetime);
        let found = refresh_at(start(), expiry, margin, jitter);
        assert_eq!(expiry.duration_since(found).unsigned_abs(), before, "{lifetime:?} {margin:?} {jitter}");
        assert!(found <= expiry && found >= start());
    }
}

#[test]
fn a_record_that_makes_no_sense_still_gives_a_time() {
    let rows = [(Timestamp::MAX, Timestamp::MIN), (Timestamp::MIN, Timestamp::MAX), (start(), start() - SECOND)];
    for (obtained_at, expires_at) in rows {
        let found = refresh_at(obtained_at, expires_at, Margin::Share(0.2), 1.0);
        assert!(found <= expires_at, "{obtained_at} {expires_at} {found}");
    }
}

#[test]
fn a_wait_doubles_up_to_a_minute_and_is_never_nothing() {
    let least = Duration::from_millis(100);
    // failures before, Retry-After, chance, wait
    let rows = [
        (0, None, 1.0, SECOND),
        (1, None, 1.0, 2 * SECOND),
        (2, None, 1.0, 4 * SECOND),
        (5, None, 1.0, 32 * SECOND),
        (6, None, 1.0, MINUTE),
        (7, None, 1.0, MINUTE),
        (32, None, 1.0, MINUTE),
        (u32::MAX, None, 1.0, MINUTE),
        (2, None, 0.5, 2 * SECOND),
        (0, None, 0.05, least),
        (u32::MAX, None, 0.0, least),
        (2, None, f64::NAN, least),
        (0, Some(5 * MINUTE), 0.0, 5 * MINUTE),
        (6, Some(SECOND), 1.0, MINUTE),
        (0, Some(Duration::ZERO), 0.0, least),
    ];
    for (before, retry_after, chance, expected) in rows {
        assert_eq!(backoff(before, retry_after, chance), expected, "{before} {retry_after:?} {chance}");
    }
}

#[test]
fn a_misconfigured_refresh_waits_for_a_share_of_the_life_and_not_beyond_the_expiry() {
    let life = |whole, left| Some(Life { whole, left });
    // before, life, Retry-After, wait
    let rows = [
        (0, life(MINUTE, 30 * SECOND), None, 5 * SECOND),
        (1, life(MINUTE, 25 * SECOND), None, 6 * SECOND),
        (2, life(MINUTE, 19 * SECOND), None, 12 * SECOND),
        (3, life(MINUTE, 7 * SECOND), None, 7 * SECOND),
        (4, life(MINUTE, SECOND), None, 5 * SECOND),
        (0, life(HOUR, 12 * MINUTE), None, 3 * MINUTE),
        (1, life(HOUR, 9 * MINUTE), None, 6 * MINUTE),
        (2, life(HOUR, 3 * MINUTE), None, 3 * MINUTE),
        (0, life(365 * DAY, 30 * DAY), None, 15 * MINUTE),
        (u32::MAX, life(365 * DAY, 30 * DAY), None, 15 * MINUTE),
        // Without a token.
        (0, None, None, 5 * SECOND),
        (1, None, None, 10 * SECOND),
        (3, None, None, 40 * SECOND),
        (4, None, None, MINUTE),
        (u32::MAX, None, None, MINUTE),
        // The server sets the time.
        (3, life(HOUR, MINUTE), Some(20 * SECOND), 20 * SECOND),
        (3, None, Some(20 * SECOND), 20 * SECOND),
        (0, life(MINUTE, 30 * SECOND), Some(2 * SECOND), 5 * SECOND),
        (0, life(MINUTE, 30 * SECOND), Some(HOUR), 5 * MINUTE),
    ];
    for (before, life, retry_after, expected) in rows {
        assert_eq!(misconfigured(before, life, retry_after), expected, "{before} {life:?} {retry_after:?}");
    }
}

#[test]
fn a_date_that_can_not_be_is_not_trusted() {
    let now = start();
    // obtained_at, expires_at, not_before, corrected
    let rows = [
        (now, Some(now + HOUR), None, None),
        (now - 365 * DAY, Some(now), None, None),
        // Clocks of two machines differ.
        (now + MINUTE, Some(now + HOUR), None, None),
        (now - 2 * MINUTE, Some(now), Some(now - MINUTE), None),
        (now + 61 * SECOND, Some(now + 61 * SECOND + HOUR), None, Some((now, Some(now + HOUR)))),
        (now + DAY, Some(now + DAY + HOUR), Some(now - SECOND), Some((now, Some(now + HOUR)))),
        (now + DAY, Some(now), None, Some((now, Some(now)))),
        (now + DAY, None, None, Some((now, None))),
        (Timestamp::MAX, Some(Timestamp::MIN), None, Some((now, Some(now)))),
        // A peer's clock is behind.
        (now - DAY, Some(now - DAY + HOUR), Some(now - SECOND), Some((now - SECOND, Some(now - SECOND + HOUR)))),
        // The clock of this process was set back since.
        (now - DAY, Some(now - DAY + HOUR), Some(now + DAY), Some((now, Some(now + HOUR)))),
    ];
    for (obtained_at, expires_at, not_before, expected) in rows {
        let found = corrected(obtained_at, expires_at, not_before, now);
        assert_eq!(found, expected, "{obtained_at} {expires_at:?} {not_before:?}");
    }
}

#[test]
fn a_cooldown_doubles_up_to_a_quarter_of_an_hour() {
    let rows = [
        (MINUTE, 0, MINUTE),
        (MINUTE, 1, 2 * MINUTE),
        (MINUTE, 3, 8 * MINUTE),
        (MINUTE, 4, 15 * MINUTE),
        (MINUTE, u32::MAX, 15 * MINUTE),
        (Duration::ZERO, 9, Duration::ZERO),
        (HOUR, 0, HOUR),
        (HOUR, 3, HOUR),
    ];
    for (base, before, expected) in rows {
        assert_eq!(cooldown(base, before), expected, "{base:?} {before}");
    }
}

#[test]
fn chance_is_spread_from_nothing_to_one() {
    let drawn: Vec<f64> = std::iter::repeat_with(random).take(1000).collect();
    assert!(drawn.iter().all(|chance| (0.0..=1.0).contains(chance)));
    assert!(drawn.iter().any(|chance| *chance < 0.1) && drawn.iter().any(|chance| *chance > 0.9));
}
