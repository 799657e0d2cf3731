//! A process gives a grant another generation while other processes use it.

use super::super::store_sync::{PersistAgain, SyncResult};
use super::*;
use crate::token::store::{Intent, Leased};
use simulator::{Act, Step};

fn token(text: &str) -> RefreshToken {
    RefreshToken::parse(text).unwrap()
}

#[tokio::test]
async fn an_answer_is_stored_where_the_grant_got_another_number_meanwhile() {
    let world = World::with_lifetime(HOUR).await;
    let process = world.started().await;
    world.simulator.fault(Fault::token(Step::AfterCommit, Act::Delay(SECOND)));
    let renumber = async {
        loop {
            let stored = world.load().await;
            if stored.intent.is_some() {
                return world.replace(&Record { generation: Generation(5), ..stored }).await;
            }
            tokio::task::yield_now().await;
        }
    };
    let time = async {
        world.simulator.wait_until(|ledger| ledger.token_calls().len() == 2).await.unwrap();
        tokio::time::advance(2 * SECOND).await;
    };
    let (refreshed, (), ()) = tokio::join!(process.tokens.refresh(), renumber, time);
    assert!(refreshed.is_ok(), "{refreshed:?}");
    assert_eq!((process.view().generation(), world.load().await.generation), (Generation(6), Generation(6)));
    // The successor is stored: the next refresh works, and no token was presented twice.
    assert!(process.tokens.refresh().await.is_ok());
    assert_eq!((world.calls(), world.presented_at_most()), (3, 1));
    process.stop().await;
}

#[tokio::test]
async fn a_pair_that_could_not_be_stored_follows_the_grant_under_its_other_number() {
    let world = World::with_lifetime(HOUR).await;
    let (mut refresher, _tokens) = world.refresher();
    let record = |generation, text| Record {
        generation: Generation(generation),
        refresh: Some(token(text)),
        ..Record::empty(world.settings.binding.clone())
    };
    let renumbered = record(5, "old");
    world.store.write(Expect { version: None, fence: None }, &renumbered).await.unwrap();
    refresher.read = true;
    refresher.record = Some(record(2, "new"));
    let expect = Expect { version: Some(record(1, "old").version()), fence: None };
    refresher.unpersisted = Some(PersistAgain::after_failure(expect));
    refresher.store_synced(SyncResult::Persisted(Ok(Written::Superseded(Some(Box::new(renumbered))))));
    assert!(refresher.unpersisted.is_some(), "it is not given up");
    let (ending, ()) = tokio::join!(refresher.persist_to_the_end(SECOND), tokio::time::advance(SECOND / 100));
    assert_eq!(ending, Ending::Stored);
    let stored = world.load().await;
    assert_eq!((stored.generation, stored.refresh), (Generation(6), Some(token("new"))));
}

#[tokio::test]
async fn a_grant_gets_another_number_under_the_lease_and_keeps_what_was_noted_of_it() {
    let world = World::with_lifetime(HOUR).await;
    let (refresher, _tokens) = world.refresher();
    let journal = &refresher.journal;
    let read = Record { refresh: Some(token("given")), ..Record::empty(world.settings.binding.clone()) };
    world.store.write(Expect { version: None, fence: None }, &read).await.unwrap();
    let expect = Expect { version: Some(read.version()), fence: None };
    let wanted = Record { generation: Generation(5), ..read.clone() };

    // A peer is about to present it.
    let Leased::Held(lease) = world.store.lease("peer", MINUTE).await.unwrap() else { panic!("nobody has it") };
    let (at, fingerprint) = (Timestamp::UNIX_EPOCH, token("given").fingerprint());
    let intent = Some(Intent { owner: "peer".into(), at, fingerprint, presented: 1 });
    world.replace(&Record { intent: intent.clone(), ..read.clone() }).await;
    assert!(journal.renumber(expect, &wanted).await.is_err());
    assert_eq!(world.load().await.generation, read.generation);

    // The peer has died in that call.
    world.store.release(lease).await;
    assert!(matches!(journal.renumber(expect, &wanted).await, Ok(Written::Done)));
    assert_eq!(world.load().await, Record { intent, ..wanted.clone() });
    assert!(
        matches!(journal.renumber(expect, &wanted).await, Ok(Written::Superseded(Some(_)))),
        "it is another one now"
    );
    assert!(matches!(world.store.lease("peer", MINUTE).await, Ok(Leased::Held(_))), "the lease was given back");
}
