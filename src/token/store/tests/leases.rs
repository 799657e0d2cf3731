//! What every store promises about leases.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::time::timeout;

use super::*;

// === the promises ===

pub(super) async fn a_lease_is_had_by_one_until_it_is_given_back(site: Site) {
    let (one, other) = (site.store().await, site.store().await);
    let mut last = 0;
    for _ in 0..3 {
        let lease = held(one.lease("one", LONG).await.unwrap());
        assert!(lease.fence > last, "a fence never goes back");
        assert!(lease.remaining() > LONG - SECOND && lease.remaining() <= LONG);
        last = lease.fence;
        for (store, owner) in [(&one, "one"), (&one, "task"), (&other, "one"), (&other, "other")] {
            let leased = store.lease(owner, LONG).await.unwrap();
            assert!(matches!(leased, Leased::Busy { retry_in } if retry_in <= LEASE_POLL), "{owner}: {leased:?}");
        }
        one.release(lease).await;
        let lease = held(other.lease("other", LONG).await.unwrap());
        assert!(lease.fence > last, "a fence never goes back");
        last = lease.fence;
        other.release(lease).await;
    }
}

pub(super) async fn a_lease_that_has_run_out_is_taken_over_and_its_fence_is_stale(site: Site) {
    let (paused, taker) = (site.store().await, site.store().await);
    let first = grant(1, "one");
    write(&paused, NOTHING, &first).await;
    let duration = Duration::from_millis(400);
    let begun = Instant::now();
    let old = held(paused.lease("paused", duration).await.unwrap());
    let new = timeout(5 * SECOND, lease(&taker, "taker", LONG)).await.unwrap();
    assert!(begun.elapsed() >= duration, "taken after {:?}", begun.elapsed());
    assert!(old.remaining().is_zero());
    assert!(new.fence > old.fence);

    let intent = Record { needs_login: Some("the paused one's".to_owned()), ..first.clone() };
    let stale = Expect { fence: Some(old.fence), ..expecting(&first) };
    assert!(matches!(paused.write(stale, &intent).await.unwrap(), Written::Fenced));
    paused.release(old).await;
    assert!(
        matches!(paused.lease("paused", LONG).await.unwrap(), Leased::Busy { .. }),
        "released what was not its own"
    );
    assert_eq!(taker.load().await.unwrap(), Some(first.clone()));
    write(&taker, Expect { fence: Some(new.fence), ..expecting(&first) }, &intent).await;
    assert_eq!(taker.load().await.unwrap(), Some(intent));
}

pub(super) async fn a_lease_taken_anew_is_waited_for_anew(site: Site) {
    let (holder, taker) = (site.store().await, site.store().await);
    let duration = Duration::from_millis(500);
    let first = held(holder.lease("holder", duration).await.unwrap());
    assert!(matches!(taker.lease("taker", LONG).await.unwrap(), Leased::Busy { .. }));
    tokio::time::sleep(duration * 3 / 5).await;
    holder.release(first).await;
    let begun = Instant::now();
    let second = held(holder.lease("holder", duration).await.unwrap());
    let taken = timeout(5 * SECOND, lease(&taker, "taker", LONG)).await.unwrap();
    assert!(begun.elapsed() >= duration, "taken after {:?}", begun.elapsed());
    holder.release(second).await;
    taker.release(taken).await;
}

pub(super) async fn a_lease_that_was_given_back_allows_no_intent(site: Site) {
    let store = site.store().await;
    let first = grant(1, "one");
    write(&store, NOTHING, &first).await;
    let unheard_of = Expect { fence: Some(1), ..expecting(&first) };
    assert!(matches!(store.write(unheard_of, &grant(2, "two")).await.unwrap(), Written::Fenced));
    let lease = held(store.lease("one", LONG).await.unwrap());
    let fenced = Expect { fence: Some(lease.fence), ..expecting(&first) };
    store.release(lease).await;
    assert!(matches!(store.write(fenced, &grant(2, "two")).await.unwrap(), Written::Fenced));
    assert_eq!(store.load().await.unwrap(), Some(first));
}

pub(super) async fn two_owners_in_a_race_never_hold_the_lease_at_once(site: Site) {
    const ROUNDS: u64 = 40;
    let busy = Arc::new(AtomicBool::new(false));
    let mut owners = Vec::new();
    write(&site.store().await, NOTHING, &grant(0, "0")).await;
    for owner in ["one", "other"] {
        let (store, busy) = (site.store().await, Arc::clone(&busy));
        owners.push(tokio::spawn(async move {
            for _ in 0..ROUNDS {
                let lease = lease(&store, owner, LONG).await;
                assert!(!busy.swap(true, Ordering::SeqCst), "{owner} got a lease that another holds");
                let present = store.load().await.unwrap().unwrap();
                let intent = Record { needs_login: Some(owner.to_owned()), ..present.clone() };
                write(&store, Expect { fence: Some(lease.fence), ..expecting(&present) }, &intent).await;
                let next = present.generation.0 + 1;
                write(&store, expecting(&intent), &grant(next, &next.to_string())).await;
                busy.store(false, Ordering::SeqCst);
                store.release(lease).await;
                tokio::task::yield_now().await;
            }
        }));
    }
    for owner in owners {
        owner.await.unwrap();
    }
    assert_eq!(site.store().await.load().await.unwrap().unwrap().generation.0, 2 * ROUNDS);
}
