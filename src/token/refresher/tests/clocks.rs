//! Clocks that jump, stop or differ, and lifetimes of seconds and of years.

use super::*;

#[tokio::test]
async fn a_jump_forward_by_a_day_causes_one_refresh() {
    let world = World::with_lifetime(HOUR).await;
    let process = world.started().await;
    process.jump(SignedDuration::from_hours(24)).await;
    assert_eq!(process.view().generation(), Generation(2));
    assert!(process.at_hand().is_some());
    assert_eq!(process.view().last_refresh.as_ref().unwrap().trigger, Trigger::Scheduled);
    process.pass(10 * MINUTE, TICK).await;
    assert_eq!(world.calls(), 2, "no storm");
    process.stop().await;
}

#[tokio::test]
async fn a_request_after_a_suspend_does_not_wait_for_the_tick() {
    let world = World::with_lifetime(HOUR).await;
    let process = world.started().await;
    // The wall clock has advanced, and the monotonic one has not.
    process.clock.jump(SignedDuration::from_hours(2));
    assert!(process.at_hand().is_none(), "an expired token is not sent, though nobody has noticed yet");
    let before = Instant::now();
    let token = process.tokens.wait_for_token(false).await.unwrap();
    assert_eq!((token.generation, before.elapsed()), (Generation(2), Duration::ZERO));
    process.stop().await;
}

#[tokio::test]
async fn a_clock_that_was_set_back_by_a_day_sends_no_expired_token_and_forgets_no_refresh() {
    let world = World::with_lifetime(HOUR).await;
    let process = world.started().await;
    process.jump(SignedDuration::from_hours(-24)).await;
    process.pass(40 * MINUTE, MINUTE).await;
    assert_eq!(world.calls(), 1);
    process.pass(10 * MINUTE, MINUTE).await;
    assert_eq!(
        process.view().generation(),
        Generation(2),
        "refreshed a margin before its end, though the wall clock is behind"
    );

    process.jump(SignedDuration::from_hours(-24)).await;
    world.simulator.fault(Fault::throttled(None).forever());
    process.pass(50 * MINUTE, MINUTE).await;
    assert_eq!(process.at_hand().unwrap().generation, Generation(2));
    process.pass(10 * MINUTE, MINUTE).await;
    assert!(process.at_hand().is_none(), "its hour is over, whatever the wall clock says");
    assert_eq!(process.tokens.status().state.name(), "expired");
    world.simulator.clear_faults();
    process.pass(2 * MINUTE, MINUTE).await;
    assert_eq!(process.view().generation(), Generation(3), "{:?}", process.view());
    assert!(process.at_hand().is_some());
    process.stop().await;
}

#[tokio::test]
async fn a_server_whose_clock_differs_changes_nothing() {
    for offset in [-86_400_000, 86_400_000] {
        let world = World::with_lifetime(HOUR).await;
        world.simulator.clock().set_offset_ms(offset);
        // Its clock dates its grants.
        let world = World {
            settings: Settings { kind: Kind::RefreshToken { initial: Some(world.login()) }, ..world.settings.clone() },
            ..world
        };
        let process = world.started().await;
        let left = process.at_hand().unwrap().expires_at.unwrap().duration_since(process.clock.now());
        assert!((3590..=3600).contains(&left.as_secs()), "{left:?}");
        process.pass(10 * HOUR, MINUTE).await;
        // One in 46 to 48 minutes.
        assert!((13..=15).contains(&world.calls()), "{}", world.calls());
        process.stop().await;
    }
}

#[tokio::test]
async fn a_life_of_years_is_refreshed_once_in_it() {
    // The margin is at most 30 days, and jitter makes the refresh up to 10 % earlier.
    for (life, quiet) in [(YEAR, YEAR - 34 * DAY), (10 * YEAR, 10 * YEAR - 34 * DAY)] {
        let world = World::with_lifetime(life).await;
        let process = world.started().await;
        process.pass(quiet, 100 * DAY).await;
        assert_eq!(world.calls(), 1, "{life:?}");
        process.pass(4 * DAY, DAY).await;
        assert_eq!((world.calls(), process.view().generation()), (2, Generation(2)), "{life:?}");
        process.stop().await;
    }
}

#[tokio::test]
async fn a_life_beyond_all_bounds_is_ten_years() {
    let world = World::with_lifetime(HOUR).await;
    world.simulator.fault(Fault::expires_in("1000000000000000000"));
    let process = world.started().await;
    let token = process.at_hand().unwrap();
    assert_eq!(token.expires_at.unwrap().duration_since(token.obtained_at).unsigned_abs(), 10 * YEAR);
    process.pass(20 * YEAR, YEAR).await;
    assert!(process.at_hand().is_some());
    process.stop().await;
}

#[tokio::test]
async fn a_life_of_seconds_makes_no_storm_and_fails_no_request() {
    for life in [1, 2, 4] {
        let world = World::with_lifetime(life * SECOND).await;
        let process = world.started().await;
        for _ in 0..10 {
            let token = async { process.tokens.wait_for_token(false).await };
            let (token, ()) = tokio::join!(token, process.pass(6 * SECOND, SECOND / 10));
            assert!(token.is_ok(), "{life} s: {token:?}");
        }
        // The first refresh, and one scheduled refresh every 5 s.
        let calls = world.calls();
        assert!((10..=14).contains(&calls), "{calls} refreshes of a token of {life} s in a minute");
        assert_eq!(world.presented_at_most(), 1);
        process.stop().await;
    }
}

#[tokio::test]
async fn a_token_that_is_dated_tomorrow_is_used_for_its_lifetime_and_renewed_once() {
    let world = World::with_lifetime(HOUR).await;
    world.started().await.stop().await;
    let mut record = world.load().await;
    if let Some(access) = &mut record.access {
        let tomorrow = |time: Timestamp| time + SignedDuration::from_hours(24);
        (access.obtained_at, access.expires_at) = (tomorrow(access.obtained_at), access.expires_at.map(tomorrow));
    }
    // The token endpoint is down for an hour, so the token can't be renewed.
    let world = World { store: memory().await, ..world };
    world.replace(&record).await;
    world.simulator.fault(Fault::throttled(None).forever());
    let process = world.start();
    process.generation(1).await;
    let token = process.at_hand().unwrap();
    let left = token.expires_at.unwrap().duration_since(process.clock.now()).as_secs();
    assert!((3590..=3600).contains(&left), "{left} s");
    process.pass(59 * MINUTE, MINUTE).await;
    assert!(process.at_hand().is_some());
    process.pass(2 * MINUTE, MINUTE).await;
    assert!(process.at_hand().is_none(), "its lifetime is over");
    assert_eq!(process.tokens.status().state.name(), "expired");
    // A start renews it once.
    process.stop().await;
    world.replace(&record).await;
    world.simulator.clear_faults();
    let calls = world.calls();
    let process = world.start();
    process.generation(2).await;
    process.pass(10 * MINUTE, MINUTE).await;
    assert_eq!(world.calls(), calls + 1);
    assert_eq!(process.tokens.status().state.name(), "valid");
    process.stop().await;
}

#[tokio::test]
async fn replicas_whose_clocks_differ_cause_no_storm() {
    // A second, an hour, and a clock that was never set.
    for behind in [1, 3600, Timestamp::now().as_second()] {
        let world = World::with_lifetime(HOUR).await;
        let one = world.started().await;
        let other = world.start();
        other.clock.jump(SignedDuration::from_secs(-behind));
        other.until("a token", |view| view.token.is_some()).await;
        world.settle_both(&one, &other).await;
        for _ in 0..3 * 12 {
            for process in [&one, &other] {
                process.clock.jump(SignedDuration::from_mins(5));
            }
            tokio::time::advance(5 * MINUTE).await;
            world.settle_both(&one, &other).await;
            assert!(one.at_hand().is_some() && other.at_hand().is_some(), "{behind} s");
        }
        // Four refreshes are due in three hours. Either process may make each of them.
        let calls = world.calls();
        assert!((4..=12).contains(&calls), "{behind} s: {calls}");
        assert!(world.presented_at_most() == 1);
        assert!(one.view().needs_login.is_none() && other.view().needs_login.is_none());
        one.stop().await;
        other.stop().await;
    }
}

#[tokio::test]
async fn a_stored_token_that_has_expired_is_renewed_by_the_start() {
    let world = World::with_lifetime(HOUR).await;
    world.started().await.stop().await;
    let late = world.start();
    late.clock.jump(SignedDuration::from_hours(2));
    late.generation(2).await;
    assert_eq!((late.count("startup", "ok"), late.count("scheduled", "ok")), (1, 0));
    late.stop().await;
}
