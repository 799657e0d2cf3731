//! Connections that are cut, and databases that fail.

use super::*;

/// The request or the answer is lost at each step of each operation. The operation is done exactly once.
#[tokio::test]
async fn a_connection_that_is_cut_at_any_step_neither_loses_nor_doubles_anything() {
    let server = Postgres::shared();
    let mut cases = Vec::new();
    for cut in [Cut::Before, Cut::After, Cut::Silence] {
        for at in ["BEGIN", "FOR UPDATE", "UPDATE bearer_proxy_grant", "COMMIT\0"] {
            for operation in ["lease", "write", "first write", "replace"] {
                cases.push((operation, at, cut));
            }
        }
        cases.extend([("load", "SELECT document FROM", cut), ("release", "lease_until = NULL", cut)]);
    }
    let cases: Vec<_> = cases
        .into_iter()
        .map(|case| tokio::spawn(timeout(10 * SECOND, done_once_though_cut(Arc::clone(&server), case))))
        .collect();
    for case in cases {
        case.await.unwrap().unwrap();
    }
}

async fn done_once_though_cut(server: Arc<Postgres>, case: (&'static str, &'static str, Cut)) {
    let (operation, at, cut) = case;
    let name = format!("cut {case:?}");
    let direct = prepared(&server, &name).await;
    let (first, second) = (grant(1, "one"), grant(2, "two"));
    if operation != "first write" {
        write(&direct, NOTHING, &first).await;
    }
    if operation == "replace" {
        let spoil = "UPDATE bearer_proxy_grant SET document = 'spoiled' WHERE name = $1";
        client(&server.url()).await.execute(spoil, &[&name]).await.unwrap();
    }
    let wire = Wire::to(server.port()).await;
    let store = open(&wire.url(), &name);
    let mut lease = None;
    if operation == "release" {
        lease = Some(held(store.lease("one", LONG).await.unwrap()));
    }
    let (revision, fence) = if operation == "first write" { (0, 0) } else { counts(&server, &name).await };
    wire.cut(at, cut, Duration::ZERO);
    let expected = match operation {
        "load" => {
            assert_eq!(store.load().await.unwrap().unwrap(), first, "{case:?}");
            (revision, fence)
        }
        "lease" => {
            let lease = held(store.lease("one", LONG).await.unwrap_or_else(|error| panic!("{case:?}: {error}")));
            assert_eq!(lease.fence, fence.unsigned_abs() + 1, "{case:?}");
            let intent = Expect { fence: Some(lease.fence), ..expecting(&first) };
            write(&store, intent, &first).await;
            assert!(matches!(direct.lease("other", LONG).await.unwrap(), Leased::Busy { .. }), "{case:?}");
            (revision + 1, fence + 1)
        }
        "release" => {
            store.release(lease.take().unwrap()).await;
            held(direct.lease("other", LONG).await.unwrap());
            (revision, fence + 1)
        }
        "replace" => {
            let written = store.replace_damaged(&second).await.unwrap_or_else(|error| panic!("{case:?}: {error}"));
            assert!(matches!(written, Written::Done), "{case:?}: {written:?}");
            (revision + 1, fence)
        }
        _ => {
            let expect = if operation == "write" { expecting(&first) } else { NOTHING };
            let written = store.write(expect, &second).await.unwrap_or_else(|error| panic!("{case:?}: {error}"));
            assert!(matches!(written, Written::Done), "{case:?}: {written:?}");
            assert_eq!(direct.load().await.unwrap(), Some(second), "{case:?}");
            (revision + 1, fence)
        }
    };
    assert!(wire.was_cut(), "{case:?}");
    assert_eq!(counts(&server, &name).await, expected, "{case:?}");
}

#[tokio::test]
async fn a_commit_whose_answer_is_lost_in_an_outage_is_found_again_after_it() {
    let server = Postgres::shared();
    let direct = prepared(&server, "outage").await;
    write(&direct, NOTHING, &grant(1, "one")).await;
    let wire = Wire::to(server.port()).await;
    let store = open(&wire.url(), "outage");
    wire.cut("COMMIT\0", Cut::After, Duration::from_millis(1500));
    write(&store, expecting(&grant(1, "one")), &grant(2, "two")).await;
    assert_eq!(counts(&server, "outage").await.0, 2);

    // Nothing can have been made where no commit was sent: then it is not worth the wait.
    wire.cut("BEGIN", Cut::Before, Duration::from_millis(1500));
    let begun = Instant::now();
    unavailable(store.write(expecting(&grant(2, "two")), &grant(3, "three")).await);
    assert!(begun.elapsed() < SECOND, "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_row_that_somebody_else_keeps_locked_is_an_error_in_time() {
    let server = Postgres::shared();
    let store = prepared(&server, "locked").await;
    write(&store, NOTHING, &grant(1, "one")).await;
    let other = client(&server.url()).await;
    other.batch_execute("BEGIN; SELECT * FROM bearer_proxy_grant WHERE name = 'locked' FOR UPDATE").await.unwrap();
    let written = timeout(6 * SECOND, store.write(expecting(&grant(1, "one")), &grant(2, "two"))).await.unwrap();
    assert!(unavailable(written).contains("statement timeout"));
    assert_eq!(store.load().await.unwrap(), Some(grant(1, "one")), "a reader waits for nobody");
    drop(other);
    write(&store, expecting(&grant(1, "one")), &grant(2, "two")).await;
}

#[tokio::test]
async fn a_database_that_never_answers_is_an_error_in_time() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let store = open(&format!("postgres://tester:canary@{}/d", silent.local_addr().unwrap()), "one");
    let (first, lease) = (grant(1, "one"), store.lease("one", LONG));
    let answers = tokio::join!(
        timeout(6 * SECOND, store.load()),
        timeout(6 * SECOND, lease),
        timeout(6 * SECOND, store.write(NOTHING, &first)),
        timeout(6 * SECOND, store.prepare()),
    );
    let errors = [
        unavailable(answers.0.unwrap()),
        unavailable(answers.1.unwrap()),
        unavailable(answers.2.unwrap()),
        unavailable(answers.3.unwrap()),
    ];
    for error in errors {
        assert!(error.contains("PostgreSQL at 127.0.0.1:") && error.contains("no answer within"), "{error}");
        assert!(!error.contains("canary"), "{error}");
    }
}

#[tokio::test]
async fn a_killed_database_is_an_error_and_works_again_when_it_is_back() {
    let mut server = Postgres::start();
    let store = prepared(&server, "one").await;
    let watcher = open(&server.url(), "one");
    write(&store, NOTHING, &grant(1, "one")).await;
    let lease = held(store.lease("one", LONG).await.unwrap());
    watcher.changed().await;
    server.kill();
    for error in [
        unavailable(store.load().await),
        unavailable(store.write(expecting(&grant(1, "one")), &grant(2, "two")).await),
        unavailable(store.lease("one", LONG).await),
        unavailable(store.replace_damaged(&grant(2, "two")).await),
        unavailable(store.prepare().await),
    ] {
        assert!(error.contains("PostgreSQL at 127.0.0.1:"), "{error}");
    }
    assert!(timeout(SECOND, watcher.changed()).await.is_err(), "a lost database is no change");

    server.restart();
    let fence = Expect { fence: Some(lease.fence), ..expecting(&grant(1, "one")) };
    write(&store, fence, &grant(2, "two")).await;
    timeout(2 * SECOND, watcher.changed()).await.expect("the watch goes on");
    assert_eq!(watcher.load().await.unwrap(), Some(grant(2, "two")));
    store.release(lease).await;
    held(watcher.lease("other", LONG).await.unwrap());
}

/// Every connection is cut again and again, at any step, under three owners: each generation is committed by one of them.
#[tokio::test]
async fn whatever_is_cut_and_whenever_each_generation_is_committed_once() {
    const COMMITS: u64 = 40;
    let server = Postgres::shared();
    let url = fresh_database(&server, "chaos").await;
    let setup = open(&url, "one");
    setup.prepare().await.unwrap();
    write(&setup, NOTHING, &grant(0, "0")).await;
    let cutter = client(&url).await;
    let cutting = tokio::spawn(async move {
        const CUT: &str = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                           WHERE datname = 'chaos' AND application_name = 'bearer-proxy'";
        const SHORTEST: Duration = Duration::from_millis(7);
        let (mut seen, mut pause) = (0, SHORTEST);
        loop {
            cutter.batch_execute(CUT).await.unwrap();
            tokio::time::sleep(pause).await;
            let sql = "SELECT revision FROM bearer_proxy_grant WHERE name = 'one'";
            let revision: i64 = cutter.query_one(sql, &[]).await.unwrap().get(0);
            // A machine that is too busy to write anything between two cuts gets more time.
            pause = if revision == seen { pause * 2 } else { SHORTEST };
            seen = revision;
        }
    });
    let owners: Vec<_> =
        ["one", "two", "three"].map(|owner| tokio::spawn(commit_until(open(&url, "one"), owner, COMMITS))).into();
    let mut committed = Vec::new();
    for owner in owners {
        committed.extend(timeout(LONG, owner).await.unwrap().unwrap());
    }
    cutting.abort();
    committed.sort_unstable();
    let expected: Vec<_> = (1..=setup.load().await.unwrap().unwrap().generation.0).collect();
    assert!(expected.len() as u64 >= COMMITS);
    assert_eq!(committed, expected);
}

/// The generations that this owner has committed, each by the rules: lease, load, intent, commit, and a write whose outcome
/// is not known is repeated.
async fn commit_until(store: Store, owner: &str, last: u64) -> Vec<u64> {
    let mut committed = Vec::new();
    loop {
        let Ok(Leased::Held(lease)) = store.lease(owner, Duration::from_millis(300)).await else {
            tokio::time::sleep(Duration::from_millis(3)).await;
            continue;
        };
        let Ok(Some(present)) = store.load().await else { continue };
        if present.generation.0 >= last {
            store.release(lease).await;
            return committed;
        }
        let intent = Record { needs_login: Some(owner.to_owned()), ..present.clone() };
        let fenced = Expect { fence: Some(lease.fence), ..expecting(&present) };
        if matches!(store.write(fenced, &intent).await, Ok(Written::Done)) {
            let next = present.generation.0 + 1;
            let successor = grant(next, &format!("{owner}-{next}"));
            loop {
                match store.write(expecting(&present), &successor).await {
                    Ok(Written::Done) => break committed.push(next),
                    Ok(_) => break,
                    Err(_) => continue,
                }
            }
        }
        store.release(lease).await;
    }
}
