//! What refusals cause, a thousand at a time.

use futures_util::future::join_all;

use super::*;
use crate::token::refresher::Refusal;

const HERD: usize = 1000;

impl Process {
    fn live(&self) -> Arc<LiveToken> {
        Arc::clone(self.view().token.as_ref().unwrap())
    }

    /// A thousand requests are refused with `token`. Returns the generation that each replays with, if any.
    async fn refused(&self, token: &LiveToken) -> Vec<Option<u64>> {
        let told = join_all((0..HERD).map(|_| self.tokens.refused(token))).await;
        told.into_iter()
            .map(|told| match told.unwrap() {
                Refusal::Replay(newer) => Some(newer.generation.0),
                Refusal::PassOn => None,
            })
            .collect()
    }

    async fn refused_again(&self, token: &LiveToken) {
        (0..HERD).for_each(|_| self.tokens.refused_again(token));
        self.settle().await;
    }
}

#[tokio::test]
async fn a_herd_causes_one_refresh_and_late_comers_none() {
    let world = World::with_lifetime(HOUR).await;
    let process = world.started().await;
    let first = process.live();
    assert_eq!(process.refused(&first).await, [Some(2); HERD]);
    assert_eq!(world.calls(), 2);
    assert_eq!(process.refused(&first).await, [Some(2); HERD], "there is a newer one already");
    assert_eq!((world.calls(), process.count("rejected", "ok")), (2, 1));
    assert!(first.is_refused() && !process.live().is_refused());
    process.stop().await;
}

#[tokio::test]
async fn a_newer_token_that_has_expired_is_no_answer_to_a_refusal() {
    let world = World::with_lifetime(HOUR).await;
    let process = world.started().await;
    let first = process.live();
    assert!(process.tokens.refresh().await.is_ok());
    // Before the refresher has noticed.
    process.clock.jump(SignedDuration::from_hours(2));
    match process.tokens.refused(&first).await.unwrap() {
        Refusal::Replay(newer) => assert_eq!(newer.generation, Generation(3)),
        Refusal::PassOn => panic!("a refresh could be had"),
    }
    process.stop().await;
}

#[tokio::test]
async fn a_forced_token_that_is_refused_too_is_given_a_rest_that_doubles() {
    let world = World::with_lifetime(DAY).await;
    let process = world.started().await;
    let mut calls = 1;
    // cooldown after this one, and whether a replay was accepted before it
    let rows =
        [(60, false), (120, false), (240, false), (480, false), (900, false), (900, false), (60, true), (120, false)];
    for (seconds, accepted) in rows {
        if accepted {
            process.tokens.replay_accepted();
        }
        let refused = process.live();
        let next = refused.generation.0 + 1;
        assert_eq!(process.refused(&refused).await, [Some(next); HERD], "{seconds}");
        calls += 1;
        let forced = process.live();
        process.refused_again(&forced).await;
        assert_eq!(process.refused(&forced).await, [None; HERD], "{seconds}");
        process.pass(Duration::from_secs(seconds - 1), MINUTE).await;
        assert_eq!(process.refused(&forced).await, [None; HERD], "{seconds}");
        process.pass(SECOND, SECOND).await;
        assert_eq!(world.calls(), calls, "{seconds}");
    }
    let status = process.tokens.status();
    assert!(status.state.name() == "valid" && status.refused_at.is_some(), "{status:?}");
    process.stop().await;
}

#[tokio::test]
async fn a_refused_replay_with_a_token_that_no_refusal_brought_rests_nothing() {
    let world = World::with_lifetime(DAY).await;
    let process = world.started().await;
    process.refused_again(&process.live()).await;
    assert_eq!(process.refused(&process.live()).await, [Some(2); HERD]);
    process.stop().await;
}

#[tokio::test]
async fn a_refresh_that_refusals_joined_counts_as_forced() {
    let world = World::with_lifetime(DAY).await;
    let process = world.started().await;
    let first = process.live();
    let (by_person, by_refusal) = tokio::join!(process.tokens.refresh(), process.refused(&first));
    assert!(by_person.is_ok());
    assert_eq!((by_refusal, world.calls()), (vec![Some(2); HERD], 2));
    process.refused_again(&process.live()).await;
    assert_eq!(process.refused(&process.live()).await, [None; HERD]);
    process.stop().await;
}

#[tokio::test]
async fn refusals_have_a_budget_and_a_person_has_none() {
    let world = World::with_lifetime(DAY).await;
    let world = World { config: RefreshConfig { max_per_hour: 3, ..world.config.clone() }, ..world };
    let process = world.started().await;
    for generation in 2..=4 {
        assert_eq!(process.refused(&process.live()).await, [Some(generation); HERD]);
        process.pass(MINUTE, MINUTE).await;
    }
    assert_eq!(process.refused(&process.live()).await, [None; HERD]);
    assert!(process.tokens.refresh().await.is_ok());
    assert_eq!(process.refused(&process.live()).await, [None; HERD]);
    assert_eq!(world.calls(), 5);
    // An hour after the first one.
    process.pass(58 * MINUTE, MINUTE).await;
    assert_eq!(process.refused(&process.live()).await, [Some(6); HERD]);
    process.stop().await;
}

#[tokio::test]
async fn a_failed_forced_refresh_lets_all_go_on_and_is_tried_again_unasked() {
    let world = World::with_lifetime(DAY).await;
    let process = world.started().await;
    world.simulator.fault(Fault::throttled(Some("20")).times(2));
    let first = process.live();
    // A request during the refresh waits for it, and then uses the old token, which has not expired.
    let waiting = async {
        process.until("held", |view| view.held).await;
        assert!(process.at_hand().is_none());
        process.tokens.wait_for_token(false).await.unwrap().generation
    };
    let (told, sent) = tokio::join!(process.refused(&first), waiting);
    assert_eq!((told, sent), (vec![None; HERD], Generation(1)));
    assert_eq!(process.refused(&first).await, [None; HERD], "the endpoint is left alone");
    assert_eq!(world.calls(), 2);
    process.pass(19 * SECOND, SECOND).await;
    assert_eq!(world.calls(), 2, "Retry-After");
    // An orchestrator sends no requests to an unready process, so no request may ask for the token.
    process.pass(45 * SECOND, SECOND).await;
    assert_eq!((process.view().generation(), world.calls()), (Generation(2), 4));
    assert_eq!((process.count("rejected", "transient"), process.count("rejected", "ok")), (2, 1));
    process.stop().await;
}

#[tokio::test]
async fn a_token_that_is_accepted_again_is_not_refreshed_unasked() {
    let world = World::with_lifetime(DAY).await;
    let process = world.started().await;
    world.simulator.fault(Fault::throttled(None));
    process.refused(&process.live()).await;
    process.tokens.accepted(&process.live(), || Duration::ZERO);
    process.pass(10 * MINUTE, MINUTE).await;
    assert_eq!(world.calls(), 2);
    process.stop().await;
}

#[tokio::test]
async fn an_outage_of_the_token_endpoint_does_not_spend_the_budget() {
    let world = World::with_lifetime(DAY).await;
    let process = world.started().await;
    world.simulator.fault(Fault::throttled(None).forever());
    for _ in 0..120 {
        assert!(matches!(process.tokens.refused(&process.live()).await, Ok(Refusal::PassOn)));
        process.pass(30 * SECOND, 30 * SECOND).await;
    }
    assert!(world.calls() > 30, "{}", world.calls());
    world.simulator.clear_faults();
    process.pass(2 * MINUTE, MINUTE).await;
    assert_eq!(process.view().generation(), Generation(2));
    process.stop().await;
}
