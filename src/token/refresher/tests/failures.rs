//! What follows a failed refresh, by its outcome.

use super::*;
use simulator::{Kind as Issued, Revocation};

#[tokio::test]
async fn a_transient_failure_is_tried_again_with_backoff_and_the_old_token_serves() {
    let world = World::with_lifetime(HOUR).await;
    let process = world.started().await;
    world.simulator.fault(Fault::throttled(None).forever());
    // From the margin to the expiry.
    process.pass(59 * MINUTE, SECOND).await;
    assert!(process.at_hand().is_some(), "a failing refresh takes no good token down");
    assert_eq!(process.tokens.status().state.name(), "expiring");
    let calls = world.calls() - 1;
    // 12 to 13 minutes: 1 + 2 + 4 … seconds, then one in about half a minute on average.
    assert!((10..=60).contains(&calls), "{calls}");
    assert_eq!(process.count("scheduled", "transient"), calls as u64);

    process.pass(2 * MINUTE, SECOND).await;
    assert_eq!(process.tokens.status().state.name(), "expired");
    assert!(process.at_hand().is_none());
    let before = Instant::now();
    let waiting = async { process.tokens.wait_for_token(false).await };
    let (refused, ()) = tokio::join!(waiting, process.pass(11 * SECOND, SECOND));
    let unavailable = refused.unwrap_err();
    assert!((1..=60).contains(&unavailable.retry_after), "{unavailable:?}");
    assert!(before.elapsed() >= 10 * SECOND, "it waits for refresh.wait");

    world.simulator.clear_faults();
    let (token, ()) = tokio::join!(process.tokens.wait_for_token(false), process.pass(61 * SECOND, SECOND));
    // Whether this happens within refresh.wait depends on chance.
    if let Ok(token) = token {
        assert_eq!(token.generation, Generation(2));
    }
    assert_eq!(process.view().generation(), Generation(2));
    assert_eq!(world.presented_at_most(), world.calls() - 1);
    process.stop().await;
}

#[tokio::test]
async fn retry_after_is_waited_for() {
    let world = World::with_lifetime(HOUR).await;
    let process = world.started().await;
    // The response of the server, and the outcome.
    for (said, seconds) in [("120", 120), ("3600", 300)] {
        world.simulator.fault(Fault::throttled(Some(said)));
        process.pass(48 * MINUTE, SECOND).await;
        let calls = world.calls();
        process.until("failed", |view| view.retry_at.is_some()).await;
        let left = process.view().retry_at.unwrap().duration_since(process.clock.now()).as_secs();
        process.pass(Duration::from_secs(left.unsigned_abs()).saturating_sub(SECOND), SECOND).await;
        assert!(left <= seconds && world.calls() == calls, "{said}: {left} s left");
        process.pass(3 * SECOND, SECOND).await;
        assert_eq!(world.calls(), calls + 1, "{said}");
    }
    process.stop().await;
}

#[tokio::test]
async fn a_misconfigured_refresh_rests_for_a_quarter_of_an_hour_unless_a_person_asks() {
    let world = World::with_lifetime(DAY).await;
    let process = world.started().await;
    world.simulator.fault(Fault::page_expired().times(3));
    assert!(process.tokens.refresh().await.is_err());
    let status = process.tokens.status();
    assert_eq!((status.state.name(), status.last_refresh.unwrap().outcome), ("valid", RefreshOutcome::Misconfigured));
    // A person can refresh at once. A refusal can't.
    let refused = process.tokens.refresh().await.unwrap_err();
    assert!(!refused.needs_login && refused.reason.contains("419"), "{refused}");
    assert!(matches!(process.tokens.refused(&process.at_hand().unwrap()).await, Ok(Refusal::PassOn)));
    assert_eq!(world.calls(), 3);
    process.pass(15 * MINUTE - SECOND, MINUTE).await;
    assert_eq!(world.calls(), 3);
    process.pass(2 * SECOND, SECOND).await;
    assert_eq!(world.calls(), 4, "the refused token is renewed as soon as it may be");
    assert!(process.tokens.refresh().await.is_ok());
    assert_eq!(world.presented_at_most(), 4, "the grant was kept");
    process.stop().await;
}

#[tokio::test]
async fn an_unclear_outcome_is_followed_by_what_the_policy_says() {
    use AmbiguousRetry::{Never, Once, UntilClear};
    // Policy; whether it happened before the server's commit, and how often; presentations of the token; whether a login is needed.
    let rows = [
        (UntilClear, true, 5, 6, false),
        (UntilClear, false, 1, 2, true),
        (Once, true, 1, 2, false),
        (Once, true, 5, 2, true),
        (Once, false, 1, 2, true),
        (Never, true, 1, 1, true),
        (Never, false, 1, 1, true),
    ];
    for (policy, before_commit, times, presented, needs_login) in rows {
        let what = format!("{policy:?} {before_commit} {times}");
        let world = World::with_lifetime(HOUR).await;
        let world = World { settings: Settings { ambiguous_retry: policy, ..world.settings.clone() }, ..world };
        let process = world.started().await;
        let fault = if before_commit { Fault::call_lost() } else { Fault::answer_lost() };
        world.simulator.fault(fault.times(times));
        process.pass(45 * MINUTE, MINUTE).await;
        process.pass(14 * MINUTE, 5 * SECOND).await;
        let after = process.view();
        assert_eq!(after.needs_login.is_some(), needs_login, "{what}: {after:?}");
        assert_eq!(world.presented_at_most(), presented, "{what}");
        let expected = if needs_login { "needs_login" } else { "valid" };
        assert_eq!(process.tokens.status().state.name(), expected, "{what}");
        assert_eq!(process.at_hand().unwrap().generation.0, if needs_login { 1 } else { 2 }, "{what}");
        if needs_login {
            let reason = after.needs_login.clone().unwrap();
            assert!(reason.contains("without a clear answer") || reason.contains("was lost"), "{what}: {reason}");
            // A person may ask any number of times.
            assert!(process.tokens.refresh().await.unwrap_err().needs_login, "{what}");
            assert_eq!(world.presented_at_most(), presented, "{what}");
        }
        process.stop().await;
    }
}

#[tokio::test]
async fn a_clear_no_ends_the_grant_and_the_loop_rests() {
    let world = World::with_lifetime(HOUR).await;
    let process = world.started().await;
    world.simulator.revoke(Revocation::All(Issued::Refresh));
    process.pass(59 * MINUTE, SECOND).await;
    assert_eq!(world.calls(), 2, "asked once");
    assert_eq!(process.tokens.status().state.name(), "needs_login");
    assert!(process.tokens.status().reason.unwrap().contains("bearer-proxy import"));
    assert!(process.at_hand().is_some(), "used to its end");
    process.pass(2 * MINUTE, SECOND).await;
    assert!(process.at_hand().is_none());
    let before = Instant::now();
    let unavailable = process.tokens.wait_for_token(false).await.unwrap_err();
    assert!(unavailable.reason.contains("needs a login") && before.elapsed() == Duration::ZERO, "{unavailable}");
    assert!(process.tokens.refresh().await.unwrap_err().needs_login);
    assert_eq!(world.calls(), 2);
    assert_eq!(
        (process.count("scheduled", "rejected"), process.count("manual", "rejected")),
        (1, 0),
        "nothing was asked"
    );
    process.stop().await;
}

#[tokio::test]
async fn the_loop_sleeps_while_nothing_can_be_done() {
    let mut world = World::with_lifetime(HOUR).await;
    let process = world.started().await;
    let stored = world.load().await;
    let over = Record { needs_login: Some("refused".into()), ..stored.clone() };
    process.stop().await;
    type Change = fn(&mut Refresher, Moment);
    let rows: [(&str, Option<Record>, Change); 5] = [
        ("the grant is over", Some(over.clone()), |_, _| {}),
        ("nothing was ever stored", None, |_, _| {}),
        ("not stored yet", Some(stored.clone()), |refresher, now| {
            let expect = Expect { version: None, fence: None };
            refresher.unpersisted = Some(PersistAgain::after_failure(expect));
            assert_eq!(refresher.next_wake(now), now.monotonic + SECOND / 2);
            refresher.store_sync = Some(tokio::spawn(std::future::pending()));
        }),
        ("a first token rests, and the grant is over", Some(over), |refresher, _| {
            let mut settings = refresher.journal.settings.clone();
            settings.kind = Kind::RefreshToken { initial: Some(RefreshToken::parse("new").unwrap()) };
            let endpoint =
                Endpoint::new(refresher.journal.endpoint.config().clone(), &Outbound { ca_file: None, proxy: None });
            refresher.reconfigure((endpoint.unwrap(), settings, refresher.config.clone()));
            refresher.backoff.rest(TokenSource::Initial, HOUR, refresher.clock.now());
        }),
        ("a refusal has no budget", Some(stored), |refresher, now| {
            refresher.clock.jump(SignedDuration::from_hours(-4));
            refresher.publish();
            refresher.live.view().token.as_ref().unwrap().mark_refused(refresher.clock.now());
            let config = RefreshConfig { max_per_hour: 0, ..refresher.config.clone() };
            refresher.backoff.back_off(TokenSource::Stored, None, refresher.clock.now());
            refresher.backoff.reconfigure(&config, Timestamp::UNIX_EPOCH);
            refresher.refresh_if_due(now);
        }),
    ];
    for (what, record, change) in rows {
        world.store = memory().await;
        if let Some(record) = &record {
            world.replace(record).await;
        }
        world.settings.kind = Kind::RefreshToken { initial: None };
        let (mut refresher, _) = world.refresher();
        refresher.clock.jump(SignedDuration::from_hours(4));
        refresher.start().await;
        let now = refresher.now();
        change(&mut refresher, now);
        let now = refresher.now();
        assert_eq!(refresher.due(now).filter(|(_, trigger)| *trigger != Trigger::Rejected), None, "{what}");
        assert_eq!(refresher.next_wake(now), now.monotonic + TICK, "{what}");
    }
}

#[tokio::test]
async fn a_misconfigured_answer_costs_a_token_of_a_minute_nothing_and_an_outage_ends_within_a_minute() {
    let world = World::with_lifetime(MINUTE).await;
    let process = world.started().await;
    world.simulator.fault(Fault::page_expired());
    process.pass(45 * SECOND, SECOND).await;
    assert_eq!((process.view().generation(), world.calls()), (Generation(2), 3));
    // Until the expiry, and long after it.
    world.simulator.fault(Fault::page_expired().forever());
    process.pass(5 * MINUTE, SECOND).await;
    assert!(process.at_hand().is_none());
    let status = process.tokens.status();
    assert_eq!((status.state.name(), status.retrying.as_deref()), ("expired", Some("refresh")));
    let left = status.retry_at.unwrap().duration_since(process.clock.now()).as_secs();
    assert!((0..=60).contains(&left), "{left} s");
    world.simulator.clear_faults();
    process.pass(Duration::from_secs(61), SECOND).await;
    assert!(process.view().generation() >= Generation(3), "{:?}", process.view());
    assert_eq!(process.tokens.status().retry_at, None);
    process.stop().await;
}
