//! Clocks that jump, stand still or disagree; lives of seconds and of years.

use super::*;

#[tokio::test]
async fn a_jump_forward_by_a_day_causes_one_refresh() {
    let world = World::of(HOUR).await;
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
    let world = World::of(HOUR).await;
    let process = world.started().await;
    // The wall clock went on, the monotonic one did not.
    process.clock.jump(SignedDuration::from_hours(2));
    assert!(process.at_hand().is_none(), "an expired token is not sent, though nobody has noticed yet");
    let before = Instant::now();
    let token = process.tokens.wait_for_token(false).await.unwrap();
    assert_eq!((token.generation, before.elapsed()), (Generation(2), Duration::ZERO));
    process.stop().await;
}

#[tokio::test]
async fn a_clock_that_was_set_back_by_a_day_sends_no_expired_token_and_forgets_no_refresh() {
    let world = World::of(HOUR).await;
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
        let world = World::of(HOUR).await;
        world.simulator.clock().set_offset_ms(offset);
        // Its grants are as old as its clock says.
        let world = World {
            settings: Settings { kind: Kind::RefreshToken { first: Some(world.login()) }, ..world.settings.clone() },
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
    // The margin is at most 30 days, and chance makes it up to 10 % earlier.
    for (life, quiet) in [(YEAR, YEAR - 34 * DAY), (10 * YEAR, 10 * YEAR - 34 * DAY)] {
        let world = World::of(life).await;
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
    let world = World::of(HOUR).await;
    world.simulator.fault(Fault::expires_in("1000000000000000000"));
    let process = world.started().await;
    let token = process.at_hand().unwrap();
    assert_eq!(token.expires_at.unwrap().duration_since(token.obtained_at).unsigned_abs(), 10 * YEAR);
    process.pass(20 * YEAR, YEAR).await;
    assert!(process.at_hand().is_some());
    process.stop().await;
}

#[tokio::test]
async fn a_life_of_seconds_leaves_no_gap_and_makes_no_storm() {
    let world = World::of(2 * SECOND).await;
    let process = world.started().await;
    for _ in 0..200 {
        process.pass(SECOND / 10, SECOND / 10).await;
        assert!(process.at_hand().is_some(), "{:?}", process.view());
    }
    let calls = world.calls();
    assert!((10..=25).contains(&calls), "{calls} refreshes of a token of 2 s in 20 s");
    assert_eq!(world.presented_at_most(), 1);
    process.stop().await;
}

#[tokio::test]
async fn a_stored_token_that_has_expired_is_renewed_by_the_start() {
    let world = World::of(HOUR).await;
    world.started().await.stop().await;
    let late = world.start();
    late.clock.jump(SignedDuration::from_hours(2));
    late.generation(2).await;
    assert_eq!((late.count("startup", "ok"), late.count("scheduled", "ok")), (1, 0));
    late.stop().await;
}
