//! Records that other processes or persons store.

use super::*;
use crate::token::import::{Damaged, NewGrant};
use crate::token::store::StoreError;
use simulator::{Kind as Issued, Revocation};

impl World {
    async fn import(&self, refresh: RefreshToken, access: Option<Access>) {
        let lineage = Lineage::random().unwrap();
        self.supply(NewGrant { lineage, refresh, access, awaited: false }).await;
    }

    async fn supply(&self, grant: NewGrant) {
        grant.store(&self.store, &self.settings.binding, Damaged::Leave, MINUTE).await.unwrap();
    }

    /// Waits for the final outcome of the candidate.
    async fn settled(&self, process: &Process) -> RefreshOutcome {
        for _ in 0..1000 {
            let candidate = self.load().await.candidate.unwrap();
            if candidate.token.is_none() {
                return candidate.result.unwrap().outcome;
            }
            process.pass(SECOND / 10, SECOND / 10).await;
        }
        panic!("never settled");
    }

    /// With this initial token in the configuration.
    fn with_first(self, first: Option<RefreshToken>) -> Self {
        Self { settings: Settings { kind: Kind::RefreshToken { initial: first }, ..self.settings.clone() }, ..self }
    }

    fn presented(&self, token: &RefreshToken) -> usize {
        let serial = self.simulator.serial(token.secret().expose()).unwrap();
        self.simulator.with_ledger(|ledger| ledger.calls_with(serial).count())
    }
}

fn access(text: &str) -> Access {
    let now = Timestamp::now();
    let token = AccessToken::parse(text).unwrap();
    Access { token, obtained_at: now, expires_at: Some(now + SignedDuration::from_hours(1)) }
}

#[tokio::test]
async fn a_peers_refresh_is_adopted_and_said_to_be_one() {
    let world = World::with_lifetime(HOUR).await;
    let (one, other) = (world.started().await, world.started().await);
    assert_eq!(world.calls(), 1);
    assert!(one.tokens.refresh().await.is_ok());
    let seen = other.generation(2).await;
    assert_eq!(seen.last_refresh.as_ref().unwrap().trigger, Trigger::Peer);
    assert_eq!((other.count("peer", "ok"), other.count("manual", "ok")), (1, 0));
    assert_eq!((one.count("peer", "ok"), one.count("manual", "ok")), (0, 1));
    assert_eq!(one.tokens.status().last_refresh.unwrap().trigger, Trigger::Manual);
    // Its next refresh is its own again.
    assert!(other.tokens.refresh().await.is_ok());
    assert_eq!(other.tokens.status().last_refresh.unwrap().trigger, Trigger::Manual);
    assert_eq!((world.calls(), world.presented_at_most()), (3, 1));
    one.stop().await;
    other.stop().await;
}

#[tokio::test]
async fn a_herd_on_two_processes_causes_one_refresh() {
    let world = World::with_lifetime(HOUR).await;
    let (one, other) = (world.started().await, world.started().await);
    let (first, same) = (one.at_hand().unwrap(), other.at_hand().unwrap());
    let told = tokio::join!(one.tokens.refused(&first), other.tokens.refused(&same), one.pass(SECOND, SECOND / 10));
    assert!(matches!(told, (Ok(Refusal::Replay(_)), Ok(Refusal::Replay(_)), ())), "{told:?}");
    assert_eq!(world.calls(), 2);
    one.stop().await;
    other.stop().await;
}

#[tokio::test]
async fn an_import_is_adopted_and_is_nobodys_refresh() {
    let world = World::with_lifetime(HOUR).await;
    let process = world.started().await;
    world.import(world.login(), Some(access("imported"))).await;
    process.generation(2).await;
    assert_eq!((world.calls(), process.count("peer", "ok")), (1, 0));
    assert_eq!(process.tokens.status().last_refresh.unwrap().trigger, Trigger::Startup);
    process.stop().await;
}

#[tokio::test]
async fn a_bare_import_is_tried_until_it_is_clear() {
    let world = World::with_lifetime(DAY).await;
    let process = world.started().await;
    world.simulator.fault(Fault::throttled(None).times(3));
    let token = world.login();
    world.import(token.clone(), None).await;
    process.pass(MINUTE, SECOND).await;
    assert_eq!((process.view().generation(), world.presented(&token)), (Generation(2), 4));
    assert_eq!((process.count("manual", "transient"), process.count("manual", "ok")), (3, 1));

    // A candidate that does not work is detected at once, and the live grant stays in use.
    let bad = world.login();
    world.simulator.revoke(Revocation::Refresh(world.simulator.serial(bad.secret().expose()).unwrap()));
    let before = world.load().await;
    world.import(bad.clone(), None).await;
    assert_eq!(world.settled(&process).await, RefreshOutcome::Rejected);
    assert_eq!(Record { candidate: None, ..world.load().await }, Record { candidate: None, ..before });
    assert_eq!((process.at_hand().unwrap().generation, world.presented(&bad)), (Generation(2), 1));
    assert_eq!(process.view().needs_login, None);
    assert!(process.tokens.refresh().await.is_ok(), "the grant is as good as before");
    assert_eq!(world.presented(&bad), 1);
    process.stop().await;
}

#[tokio::test]
async fn a_candidate_whose_import_waits_is_withdrawn_by_a_failure_that_says_nothing_of_it() {
    let world = World::with_lifetime(DAY).await;
    let process = world.started().await;
    world.simulator.fault(Fault::throttled(None));
    let token = world.login();
    world
        .supply(NewGrant { lineage: Lineage::random().unwrap(), refresh: token.clone(), access: None, awaited: true })
        .await;
    assert_eq!(world.settled(&process).await, RefreshOutcome::Transient);
    process.pass(MINUTE, SECOND).await;
    assert_eq!((process.view().generation(), world.presented(&token)), (Generation(1), 1));
    process.stop().await;
}

/// The intents of a candidate and of the grant are separate, and the policy counts each of them.
#[tokio::test]
async fn a_candidate_with_an_unclear_outcome_is_presented_again_only_as_the_policy_allows() {
    for (ambiguous_retry, presented) in
        [(AmbiguousRetry::Never, 1), (AmbiguousRetry::Once, 2), (AmbiguousRetry::UntilClear, 4)]
    {
        let mut world = World::with_lifetime(DAY).await;
        world.settings.ambiguous_retry = ambiguous_retry;
        let process = world.started().await;
        world.simulator.fault(
            Fault::token(
                simulator::Step::BeforeCommit,
                simulator::Act::Error(simulator::TokenError::Server("x".into())),
            )
            .times(3),
        );
        let token = world.login();
        world
            .supply(NewGrant {
                lineage: Lineage::random().unwrap(),
                refresh: token.clone(),
                access: None,
                awaited: true,
            })
            .await;
        let outcome = world.settled(&process).await;
        let expected =
            if ambiguous_retry == AmbiguousRetry::UntilClear { RefreshOutcome::Ok } else { RefreshOutcome::Ambiguous };
        assert_eq!((outcome, world.presented(&token)), (expected, presented), "{ambiguous_retry:?}");
        process.pass(MINUTE, SECOND).await;
        assert_eq!(world.presented(&token), presented, "{ambiguous_retry:?}");
        assert_eq!(world.load().await.intent, None, "the grant was not presented");
        assert!(process.tokens.status().reason.is_none());
        process.stop().await;
    }
}

#[tokio::test]
async fn the_same_refresh_token_imported_again_is_tried_again() {
    let world = World::with_lifetime(DAY).await.with_first(None);
    let process = world.start();
    process.until("empty", |view| view.needs_login.is_some()).await;
    let token = world.login();
    world.simulator.fault(Fault::token(
        simulator::Step::BeforeCommit,
        simulator::Act::Error(simulator::TokenError::RefreshToken(simulator::DeadRefresh::Expired)),
    ));
    world.import(token.clone(), None).await;
    assert_eq!(world.settled(&process).await, RefreshOutcome::Rejected);
    assert_eq!(process.count("startup", "rejected") + process.count("manual", "rejected"), 1);
    world.import(token, None).await;
    process.generation(1).await;
    assert_eq!(process.tokens.status().state.name(), "valid");
    process.stop().await;
}

#[tokio::test]
async fn a_store_that_fell_behind_is_written_anew_and_no_spent_token_is_presented() {
    let world = World::with_lifetime(HOUR).await;
    let process = world.started().await;
    let old = world.load().await;
    assert!(process.tokens.refresh().await.is_ok());
    let newest = world.load().await;
    world.replace(&old).await;
    process.pass(SECOND, SECOND).await;
    assert_eq!(world.load().await, newest);
    process.pass(2 * HOUR, MINUTE).await;
    assert_eq!(world.presented_at_most(), 1);
    process.stop().await;
}

#[tokio::test]
async fn a_rotation_does_not_follow_a_store_that_fell_behind() {
    let world = World::with_lifetime(HOUR).await;
    let process = world.started().await;
    let old = world.load().await;
    assert!(process.tokens.refresh().await.is_ok());
    // Requested before the change is noticed.
    let (refreshed, ()) = tokio::join!(process.tokens.refresh(), world.replace(&old));
    process.settle().await;
    assert!(refreshed.is_ok() || process.tokens.refresh().await.is_ok());
    assert_eq!(world.presented_at_most(), 1);
    process.stop().await;
}

#[tokio::test]
async fn a_grant_that_counts_anew_is_taken_under_the_next_number() {
    let world = World::with_lifetime(HOUR).await;
    let process = world.started().await;
    for _ in 0..3 {
        assert!(process.tokens.refresh().await.is_ok());
    }
    let taken = world.load().await.tried_initial;
    // As `import --replace-damaged` writes it, without knowledge of an earlier record.
    let fresh = Record {
        generation: Generation(1),
        refresh: Some(world.login()),
        lineage: Lineage::random().unwrap(),
        ..Record::empty(world.settings.binding.clone())
    };
    world.replace(&Record { access: Some(access("imported")), ..fresh.clone() }).await;
    // Generation 5, which is refreshed at once, because its access token may belong to an older grant.
    process.generation(6).await;
    assert_eq!((world.load().await.generation, world.load().await.tried_initial), (Generation(6), taken));
    // A bare refresh token: the old access token is used until a refresh has succeeded.
    let lineage = Lineage::random().unwrap();
    world.replace(&Record { generation: Generation(0), refresh: Some(world.login()), lineage, ..fresh }).await;
    process.generation(7).await;
    assert_eq!((world.load().await.generation, world.presented_at_most()), (Generation(7), 1));
    process.stop().await;
}

#[tokio::test]
async fn a_first_token_that_can_not_be_had_does_not_hold_the_stored_grant_up() {
    let world = World::with_lifetime(HOUR).await;
    world.started().await.stop().await;
    // It belongs to another client. It is kept and tried again in a quarter of an hour.
    let fault = simulator::TokenError::RefreshToken(simulator::DeadRefresh::NotLinked);
    world.simulator.fault(Fault::token(simulator::Step::BeforeCommit, simulator::Act::Error(fault)));
    let first = world.login();
    let world = world.with_first(Some(first.clone()));
    let process = world.start();
    process.until("tried", |view| view.last_refresh.as_ref().is_some_and(|last| last.error.is_some())).await;
    let refused = process.at_hand().unwrap();
    assert_eq!(refused.generation, Generation(1));
    assert!(matches!(process.tokens.refused(&refused).await, Ok(Refusal::Replay(_))), "the stored one is refreshed");
    assert_eq!((process.view().generation(), world.presented(&first)), (Generation(2), 1));
    process.pass(16 * MINUTE, MINUTE).await;
    assert_eq!((process.view().generation(), world.presented(&first)), (Generation(3), 2), "and this one in its time");
    process.stop().await;
}

#[tokio::test]
async fn a_refused_first_token_is_never_tried_again_and_the_stored_grant_stays_in_use() {
    let world = World::with_lifetime(HOUR).await;
    world.started().await.stop().await;
    let bad = world.login();
    world.simulator.revoke(Revocation::Refresh(world.simulator.serial(bad.secret().expose()).unwrap()));
    let world = world.with_first(Some(bad.clone()));
    let process = world.start();
    process
        .until("refused", |view| {
            view.last_refresh.as_ref().is_some_and(|last| last.outcome == RefreshOutcome::Rejected)
        })
        .await;
    let status = process.tokens.status();
    assert_eq!((status.state.name(), status.generation, status.reason), ("valid", Generation(1), None));
    process.pass(HOUR, MINUTE).await;
    assert_eq!(process.view().generation(), Generation(2));
    process.stop().await;
    let again = world.start();
    // Its clock starts anew, so it jumps as far as the clock of the first process advanced.
    again.clock.jump(SignedDuration::from_hours(1));
    again.generation(2).await;
    again.pass(MINUTE, MINUTE).await;
    assert_eq!(world.presented(&bad), 1);
    again.stop().await;
}

#[tokio::test]
async fn a_first_token_whose_try_was_lost_is_presented_as_often_as_the_policy_says() {
    let world = World::with_lifetime(HOUR).await;
    world.started().await.stop().await;
    world.simulator.fault(Fault::answer_lost());
    let first = world.login();
    let world = world.with_first(Some(first.clone()));
    let world =
        World { settings: Settings { ambiguous_retry: AmbiguousRetry::Never, ..world.settings.clone() }, ..world };
    let process = world.start();
    process
        .until("lost", |view| view.last_refresh.as_ref().is_some_and(|last| last.outcome == RefreshOutcome::Ambiguous))
        .await;
    assert_eq!(process.tokens.status().state.name(), "valid");
    // A refresh of the stored grant replaces the intent of the initial token.
    process.pass(3 * HOUR, MINUTE).await;
    assert!(process.view().generation() >= Generation(3), "{:?}", process.view());
    assert_eq!((world.presented(&first), world.presented_at_most()), (1, 1));
    process.stop().await;
}

#[tokio::test]
async fn a_grant_of_another_server_is_sent_to_nobody_and_outlives_a_bad_first_token() {
    let world = World::with_lifetime(HOUR).await;
    world.started().await.stop().await;
    let stored = world.load().await;
    let ours = world.settings.clone();
    let bad = world.login();
    world.simulator.revoke(Revocation::All(Issued::Refresh));
    let elsewhere = Binding { upstream_origin: "https://elsewhere.test".into(), ..ours.binding.clone() };
    let kind = Kind::RefreshToken { initial: Some(bad) };
    let world = World { settings: Settings { binding: elsewhere, kind, ..ours.clone() }, ..world };
    let process = world.start();
    process.until("mismatched", |view| view.needs_login.is_some() && view.refreshing.is_none()).await;
    assert!(process.tokens.status().reason.unwrap().contains("upstream.url was"));
    assert!(process.at_hand().is_none());
    process.pass(HOUR, MINUTE).await;
    assert_eq!(world.calls(), 2, "the first exchange, and the bad first token");
    process.stop().await;
    let kept = world.load().await;
    assert_eq!((kept.refresh, kept.binding, kept.needs_login), (stored.refresh, ours.binding.clone(), None));

    // After the change is undone, it works again.
    let world = World { settings: ours, ..world };
    let process = world.start();
    process.generation(1).await;
    assert_eq!(process.tokens.status().state.name(), "valid");
    process.stop().await;
}

#[tokio::test]
async fn a_refresh_waits_while_the_grant_is_being_stored_and_is_refused_once_that_has_failed() {
    let world = World::with_lifetime(HOUR).await;
    world.started().await.stop().await;
    for (written, begins) in [(Ok(Written::Done), true), (Err(StoreError::Damaged("not JSON".into())), false)] {
        let (mut refresher, _tokens) = world.refresher();
        refresher.start().await;
        let generation = refresher.live.view().generation();
        refresher.reconcile_with(None);
        let ((asked, mut told), (refused, mut passed_on)) = (oneshot::channel(), oneshot::channel());
        refresher.obey(Command::Refresh(asked));
        refresher.obey(Command::Refused(generation, refused));
        assert!(told.try_recv().is_err_and(|error| error == oneshot::error::TryRecvError::Empty));
        assert!(refresher.in_flight.is_none());
        refresher.store_synced(SyncResult::Persisted(written));
        assert_eq!(refresher.in_flight.is_some(), begins);
        let refusals = [told.try_recv(), passed_on.try_recv()];
        assert!(refusals.iter().all(|told| told.is_ok() != begins), "{refusals:?}");
    }
}

#[tokio::test]
async fn only_so_many_refusals_wait_for_the_store() {
    let world = World::with_lifetime(HOUR).await;
    world.started().await.stop().await;
    let (mut refresher, _tokens) = world.refresher();
    refresher.start().await;
    let generation = refresher.live.view().generation();
    refresher.reconcile_with(None);
    let mut waiting = Vec::new();
    for _ in 0..=MOST_DEFERRED {
        let (reply, told) = oneshot::channel();
        refresher.obey(Command::Refused(generation, reply));
        waiting.push(told);
    }
    let answered = waiting.iter_mut().filter_map(|told| told.try_recv().ok()).count();
    assert_eq!((answered, refresher.deferred.len()), (1, MOST_DEFERRED));
}
