//! A lease in the row whose holder is gone: its own process takes it back, any other waits for its end.

use super::*;

async fn is_busy(store: &Store) -> bool {
    match store.lease("other", LONG).await.unwrap() {
        Leased::Busy { .. } => true,
        Leased::Held(_) => false,
    }
}

#[tokio::test]
async fn a_process_that_could_not_give_its_lease_back_does_not_wait_for_itself() {
    let server = Postgres::shared();
    let peer = prepared(&server, "release fails").await;
    let first = grant(1, "one");
    write(&peer, NOTHING, &first).await;
    let wire = Wire::to(server.port()).await;
    let store = open(&wire.url(), "release fails");
    let lease = held(store.lease("one", LONG).await.unwrap());
    let fence = lease.fence;
    // The release never arrives, and the outage lasts as long as it is tried.
    wire.cut("lease_until = NULL", Cut::Before, 7 * SECOND);
    store.release(lease).await;
    assert!(is_busy(&peer).await, "another process cannot know that the holder is gone");

    let again = timeout(LONG / 2, async {
        loop {
            match store.lease("one", LONG).await {
                Ok(leased) => break held(leased),
                // The outage.
                Err(_) => tokio::time::sleep(SECOND / 10).await,
            }
        }
    });
    let again = again.await.expect("the database is back");
    assert!(again.fence > fence);
    let stale = Expect { fence: Some(fence), ..expecting(&first) };
    assert!(matches!(store.write(stale, &grant(2, "two")).await.unwrap(), Written::Fenced));
    assert!(is_busy(&store).await, "a task that holds the lease keeps it, also from its own process");
    assert!(is_busy(&peer).await);
    store.release(again).await;
    assert!(!is_busy(&peer).await);
}

#[tokio::test]
async fn a_lease_whose_commit_came_after_its_task_had_given_up_is_taken_back() {
    let server = Postgres::shared();
    let peer = prepared(&server, "late commit").await;
    write(&peer, NOTHING, &grant(1, "one")).await;
    let wire = Wire::to(server.port()).await;
    let store = open(&wire.url(), "late commit");
    // The commit succeeds, and its answer is delayed beyond the time limit of the operation.
    wire.cut("COMMIT\0", Cut::After, 7 * SECOND);
    unavailable(store.lease("one", LONG).await);
    assert!(is_busy(&peer).await);
    let taken = timeout(LONG / 2, async {
        loop {
            if let Ok(leased) = store.lease("one", LONG).await {
                break held(leased);
            }
        }
    });
    let lease = taken.await.expect("the database is back");
    // A handle of another process start has no claim to it, whatever its name.
    let restarted = open(&server.url(), "late commit");
    assert!(is_busy(&restarted).await);
    store.release(lease).await;
}

#[tokio::test]
async fn a_lease_whose_task_has_ended_is_taken_back() {
    let server = Postgres::shared();
    let store = prepared(&server, "task ended").await;
    drop(held(store.lease("one", LONG).await.unwrap()));
    assert!(is_busy(&open(&server.url(), "task ended")).await);
    assert!(!is_busy(&store).await);
}

/// Tasks of one process that ask for the lease all the time: never do two hold it at once.
#[tokio::test]
async fn tasks_of_one_process_never_hold_the_lease_at_once() {
    let server = Postgres::shared();
    let store = Arc::new(prepared(&server, "tasks").await);
    let holders = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let tasks: Vec<_> = (0..4)
        .map(|number| {
            let (store, holders) = (Arc::clone(&store), Arc::clone(&holders));
            tokio::spawn(async move {
                let mut taken = 0;
                while taken < 25 {
                    let Leased::Held(lease) = store.lease("one", LONG).await.unwrap() else {
                        tokio::task::yield_now().await;
                        continue;
                    };
                    assert_eq!(holders.fetch_add(1, Ordering::SeqCst), 0, "two tasks hold the lease");
                    tokio::task::yield_now().await;
                    holders.fetch_sub(1, Ordering::SeqCst);
                    // Every other one is forgotten instead of given back.
                    if (taken + number) % 2 == 0 {
                        store.release(lease).await;
                    }
                    taken += 1;
                }
            })
        })
        .collect();
    for task in tasks {
        timeout(LONG, task).await.unwrap().unwrap();
    }
}
