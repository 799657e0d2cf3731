//! A missing table: a writer creates it, and a reader reports how to create it.

use super::*;

async fn drop_table(url: &str) {
    client(url).await.batch_execute("DROP TABLE bearer_proxy_grant").await.unwrap();
}

#[tokio::test]
async fn a_table_that_was_dropped_is_created_by_whoever_writes() {
    let server = Postgres::shared();
    let url = fresh_database(&server, "dropped").await;
    let store = open(&url, "one");
    store.prepare().await.unwrap();
    write(&store, NOTHING, &grant(1, "one")).await;
    store.changed().await;

    drop_table(&url).await;
    timeout(2 * SECOND, store.changed()).await.expect("the loss is a change");
    assert_eq!(store.load().await.unwrap(), None);
    write(&store, NOTHING, &grant(1, "one")).await;
    drop_table(&url).await;
    write(&store, NOTHING, &grant(2, "two")).await;
    drop_table(&url).await;
    let lease = held(store.lease("one", LONG).await.unwrap());
    drop_table(&url).await;
    store.release(lease).await;
    assert!(matches!(store.replace_damaged(&grant(3, "three")).await.unwrap(), Written::Done));
    assert_eq!(store.load().await.unwrap(), Some(grant(3, "three")));
}

#[tokio::test]
async fn who_only_reads_creates_nothing_and_is_told_how() {
    let server = Postgres::shared();
    let url = fresh_database(&server, "reader").await;
    let store = open(&url, "one");
    for _ in 0..2 {
        let error = unavailable(store.load().await);
        assert!(error.contains("`serve` and `import` create it, or the SQL that `config --schema` prints"), "{error}");
    }
}
