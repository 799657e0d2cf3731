//! What every store promises about writes and watches.

use tokio::time::timeout;

use super::*;

pub(super) async fn a_late_commit_is_kept_if_the_store_holds_what_it_presented(site: Site) {
    let (paused, taker) = (site.store().await, site.store().await);
    let first = grant(1, "one");
    write(&paused, NOTHING, &first).await;
    let old = held(paused.lease("paused", Duration::from_millis(50)).await.unwrap());
    let new = timeout(5 * SECOND, lease(&taker, "taker", LONG)).await.unwrap();
    let successor = grant(2, "two");
    write(&paused, expecting(&first), &successor).await;
    paused.release(old).await;

    let other = grant(2, "another");
    let written = taker.write(Expect { fence: Some(new.fence), ..expecting(&first) }, &other).await.unwrap();
    assert!(matches!(&written, Written::Superseded(Some(present)) if **present == successor), "{written:?}");
    assert_eq!(taker.load().await.unwrap(), Some(successor));
}

pub(super) async fn a_write_that_expects_something_else_changes_nothing(site: Site) {
    let store = site.store().await;
    assert_eq!(store.load().await.unwrap(), None);
    let present = grant(3, "three");
    let written = store.write(expecting(&present), &grant(4, "four")).await.unwrap();
    assert!(matches!(written, Written::Superseded(None)), "{written:?}");
    assert_eq!(store.load().await.unwrap(), None);

    write(&store, NOTHING, &present).await;
    let no_refresh_token = Record { refresh: None, ..present.clone() };
    let expects = [
        NOTHING,
        expecting(&grant(2, "three")),
        expecting(&grant(4, "three")),
        expecting(&grant(3, "another")),
        expecting(&no_refresh_token),
    ];
    for expect in expects {
        let written = store.write(expect, &grant(4, "four")).await.unwrap();
        let left_alone = matches!(&written, Written::Superseded(Some(found)) if **found == present);
        assert!(left_alone, "{expect:?}: {written:?}");
        assert_eq!(store.load().await.unwrap(), Some(present.clone()), "{expect:?}");
    }
    write(&store, expecting(&present), &grant(4, "four")).await;
}

pub(super) async fn a_repeated_write_is_done_once(site: Site) {
    let store = site.store().await;
    let (first, second) = (grant(1, "one"), grant(2, "two"));
    write(&store, NOTHING, &first).await;
    write(&store, NOTHING, &first).await;
    write(&store, expecting(&first), &second).await;
    write(&store, expecting(&first), &second).await;
    assert_eq!(store.load().await.unwrap(), Some(second));
}

pub(super) async fn of_two_commits_at_once_one_wins_and_the_other_learns_of_it(site: Site) {
    let (one, other) = (site.store().await, site.store().await);
    let mut present = grant(0, "zero");
    write(&one, NOTHING, &present).await;
    for generation in 1..=30 {
        let (left, right) = (grant(generation, "left"), grant(generation, "right"));
        let answers = tokio::join!(one.write(expecting(&present), &left), other.write(expecting(&present), &right));
        present = match (answers.0.unwrap(), answers.1.unwrap()) {
            (Written::Done, Written::Superseded(Some(found))) if *found == left => left,
            (Written::Superseded(Some(found)), Written::Done) if *found == right => right,
            both => panic!("generation {generation}: {both:?}"),
        };
        assert_eq!(one.load().await.unwrap(), Some(present.clone()));
    }
}

pub(super) async fn a_watcher_learns_of_a_write_within_a_second_and_of_a_lease_never(site: Site) {
    let (watcher, writer) = (site.store().await, site.store().await);
    let mut present = grant(1, "one");
    write(&writer, NOTHING, &present).await;
    timeout(SECOND, watcher.changed()).await.expect("a write since the store was opened");
    watcher.load().await.unwrap();
    for generation in 2..5 {
        let quiet = timeout(Duration::from_millis(700), watcher.changed()).await;
        assert!(quiet.is_err(), "nothing had changed");
        let next = grant(generation, &generation.to_string());
        let (changed, ()) =
            tokio::join!(timeout(SECOND, watcher.changed()), write(&writer, expecting(&present), &next));
        changed.expect("within a second");
        assert_eq!(watcher.load().await.unwrap(), Some(next.clone()));
        present = next;
        let lease = held(writer.lease("writer", LONG).await.unwrap());
        writer.release(lease).await;
    }
}

pub(super) async fn a_reopened_store_holds_what_was_written(site: Site) {
    let first = grant(1, "one");
    let fence = {
        let store = site.store().await;
        write(&store, NOTHING, &first).await;
        let lease = held(store.lease("one", LONG).await.unwrap());
        let fence = lease.fence;
        store.release(lease).await;
        fence
    };
    let store = site.store().await;
    assert_eq!(store.load().await.unwrap(), Some(first));
    assert!(held(store.lease("one", LONG).await.unwrap()).fence > fence);
}
