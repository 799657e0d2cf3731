//! The PostgreSQL store's own promises: rights, encryption, and databases that fail.

mod abandoned;
mod outages;
mod pooler;
mod table;
mod wire;

use std::fmt;
use std::fs;
use std::sync::Arc;

use tokio::time::timeout;

use self::wire::{Cut, Wire};
use super::*;
use crate::token::store::Store;
use crate::token::store::tests::server::Postgres;
use crate::token::store::tests::{NOTHING, expecting, grant, held, write};

const LONG: Duration = Duration::from_secs(60);
const SECOND: Duration = Duration::from_secs(1);

/// A connection of the test's own.
pub(in crate::token::store) async fn client(url: &str) -> tokio_postgres::Client {
    let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

fn try_open(url: &str, name: &str, ca_file: Option<&Path>) -> Result<Store, StoreError> {
    let store = PostgresStore::open(&Secret::new(url), name, ca_file, Sealer::default())?;
    Ok(Store::Postgres(Box::new(store)))
}

fn open(url: &str, name: &str) -> Store {
    try_open(url, name, None).unwrap()
}

fn unavailable(result: Result<impl fmt::Debug, StoreError>) -> String {
    match result {
        Err(StoreError::Unavailable(text)) => text,
        other => panic!("{other:?}"),
    }
}

/// A database of its own in the shared server.
async fn fresh_database(server: &Postgres, name: &str) -> String {
    client(&server.url()).await.batch_execute(&format!("CREATE DATABASE {name}")).await.unwrap();
    format!("postgres://tester@127.0.0.1:{}/{name}", server.port())
}

/// A store with the table made, on the shared server.
async fn prepared(server: &Postgres, name: &str) -> Store {
    let store = open(&server.url(), name);
    store.prepare().await.unwrap();
    store
}

/// How often the document was written, and how many leases were taken.
async fn counts(server: &Postgres, name: &str) -> (i64, i64) {
    let sql = "SELECT revision, fence FROM bearer_proxy_grant WHERE name = $1";
    let row = client(&server.url()).await.query_one(sql, &[&name]).await.unwrap();
    (row.get(0), row.get(1))
}

/// The page shows who holds the lease, and who held it last.
#[tokio::test]
async fn a_watch_sees_who_holds_the_lease() {
    let server = Postgres::shared();
    let (one, other) = (prepared(&server, "seen").await, Arc::new(open(&server.url(), "seen")));
    assert_eq!(other.lease_holder(), None);
    let watching = tokio::spawn({
        let other = Arc::clone(&other);
        async move {
            loop {
                other.changed().await;
            }
        }
    });
    let holds = |present: bool| {
        let holder = other.lease_holder();
        holder.is_some_and(|holder| holder.owner.starts_with("web-0 ") && (Instant::now() < holder.until) == present)
    };
    let until = async |present| {
        while !holds(present) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let Leased::Held(lease) = one.lease("web-0", LONG).await.unwrap() else { panic!("busy") };
    timeout(LONG, until(true)).await.unwrap();
    one.release(lease).await;
    timeout(LONG, until(false)).await.unwrap();
    watching.abort();
}

#[tokio::test]
async fn many_that_start_at_once_make_the_table_once() {
    let server = Postgres::shared();
    let url = fresh_database(&server, "many").await;
    let starting: Vec<_> = (0..12)
        .map(|number| {
            let store = open(&url, &number.to_string());
            tokio::spawn(async move { store.prepare().await })
        })
        .collect();
    for started in starting {
        started.await.unwrap().unwrap();
    }
    write(&open(&url, "one"), NOTHING, &grant(1, "one")).await;
}

#[tokio::test]
async fn a_role_without_the_right_to_make_tables_is_told_what_to_ask_for_and_needs_no_more() {
    let server = Postgres::shared();
    let url = fresh_database(&server, "rights").await;
    let owner = client(&url).await;
    owner.batch_execute("CREATE ROLE modest LOGIN; REVOKE CREATE ON SCHEMA public FROM PUBLIC").await.unwrap();
    let store = open(&url.replace("tester@", "modest@"), "one");

    let error = unavailable(store.load().await);
    assert!(error.contains("`serve` and `import` create it, or the SQL that `config --schema` prints"), "{error}");
    let error = unavailable(store.prepare().await);
    assert!(error.contains("permission denied") && error.contains("`config --schema`"), "{error}");

    owner.batch_execute(schema()).await.unwrap();
    let error = unavailable(store.load().await);
    assert!(error.contains("permission denied") && error.contains("`config --schema`"), "{error}");
    let grants = schema().lines().find_map(|line| line.strip_prefix("-- GRANT ")).unwrap();
    owner.batch_execute(&format!("GRANT {}", grants.replace("role;", "modest;"))).await.unwrap();
    store.prepare().await.unwrap();
    let lease = held(store.lease("one", LONG).await.unwrap());
    write(&store, NOTHING, &grant(1, "one")).await;
    store.release(lease).await;
    store.load().await.unwrap().unwrap();
    store.changed().await;
}

#[tokio::test]
async fn grants_of_different_names_know_nothing_of_each_other() {
    let server = Postgres::shared();
    let (one, other) = (prepared(&server, "name one").await, prepared(&server, "name other").await);
    let _lease = held(one.lease("one", LONG).await.unwrap());
    write(&one, NOTHING, &grant(1, "one")).await;
    other.changed().await;
    held(other.lease("other", LONG).await.unwrap());
    assert_eq!(other.load().await.unwrap(), None);
    write(&one, expecting(&grant(1, "one")), &grant(2, "two")).await;
    assert!(timeout(SECOND, other.changed()).await.is_err());
}

#[tokio::test]
async fn a_notification_alone_and_a_look_alone_each_tell_of_a_write() {
    let server = Postgres::shared();
    let writer = prepared(&server, "watched").await;
    write(&writer, NOTHING, &grant(1, "1")).await;
    let (listener, looker) = (open(&server.url(), "watched"), open(&server.url(), "watched"));
    let Store::Postgres(inner) = &listener else { unreachable!() };
    inner.watch.lock().await.listen_only();
    listener.changed().await;
    looker.changed().await;
    for generation in 2..5 {
        let (old, new) = (grant(generation - 1, "x"), grant(generation, "x"));
        let old = if generation == 2 { grant(1, "1") } else { old };
        let (told, ()) = tokio::join!(timeout(SECOND, listener.changed()), write(&writer, expecting(&old), &new));
        told.expect("a notification");
    }
    timeout(SECOND, looker.changed()).await.unwrap();
    let silently = "UPDATE bearer_proxy_grant SET revision = revision + 1 WHERE name = 'watched'";
    client(&server.url()).await.batch_execute(silently).await.unwrap();
    timeout(SECOND, looker.changed()).await.expect("a look");
}

/// A certificate authority and a server certificate for `localhost`, in this folder.
fn certificates(folder: &Path) {
    let mut authority = rcgen::CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority_key = rcgen::KeyPair::generate().unwrap();
    fs::write(folder.join("ca.pem"), authority.self_signed(&authority_key).unwrap().pem()).unwrap();
    let issuer = rcgen::Issuer::new(authority, authority_key);
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap().signed_by(&key, &issuer);
    fs::write(folder.join("server.pem"), certificate.unwrap().pem()).unwrap();
    fs::write(folder.join("server.key"), key.serialize_pem()).unwrap();
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    fs::set_permissions(folder.join("server.key"), private).unwrap();
}

#[tokio::test]
async fn the_way_is_encrypted_to_the_server_that_is_meant_or_there_is_none() {
    let authority = tempfile::tempdir().unwrap();
    let ca_file = authority.path().join("ca.pem");
    let server = Postgres::start_with(
        |folder| {
            certificates(folder);
            fs::copy(folder.join("ca.pem"), &ca_file).unwrap();
            fs::write(folder.join("password"), "canary").unwrap();
            let file = |name| folder.join(name).display().to_string();
            let (cert, key) = (file("server.pem"), file("server.key"));
            vec!["ssl=on".to_owned(), format!("ssl_cert_file={cert}"), format!("ssl_key_file={key}")]
        },
        &[],
    );
    let plain = Postgres::shared();
    client(&server.url()).await.batch_execute("ALTER ROLE tester PASSWORD 'canary'").await.unwrap();
    let url =
        |host: &str, mode: &str| format!("postgres://tester:canary@{host}:{}/postgres?sslmode={mode}", server.port());
    let encrypted = "SELECT count(*) FROM pg_stat_ssl WHERE ssl";
    let watching = client(&server.url()).await;
    for mode in ["prefer", "require", "verify-full"] {
        let store = try_open(&url("localhost", mode), "one", Some(&ca_file)).unwrap();
        store.prepare().await.unwrap();
        store.load().await.unwrap();
        assert_eq!(watching.query_one(encrypted, &[]).await.unwrap().get::<_, i64>(0), 1, "{mode}");
        drop(store);
        while watching.query_one(encrypted, &[]).await.unwrap().get::<_, i64>(0) != 0 {}

        let error = unavailable(open(&url("localhost", mode), "one").load().await);
        assert!(error.contains("not trusted") && error.contains("outbound.ca_file"), "{mode}: {error}");
        let error = unavailable(try_open(&url("127.0.0.1", mode), "one", Some(&ca_file)).unwrap().load().await);
        assert!(error.contains("not trusted") && !error.contains("canary"), "{mode}: {error}");
    }
    open(&url("localhost", "disable"), "one").load().await.unwrap();

    let error = unavailable(open(&format!("{}?sslmode=require", plain.url()), "one").load().await);
    assert!(error.contains("server does not support TLS") && error.contains("?sslmode=disable"), "{error}");
    prepared(&plain, "one").await;
    open(&format!("{}?sslmode=prefer", plain.url()), "one").load().await.unwrap();

    for (text, what) in [(None, "outbound.ca_file"), (Some("no PEM"), "outbound.ca_file")] {
        let path = authority.path().join("other.pem");
        if let Some(text) = text {
            fs::write(&path, text).unwrap();
        }
        let error = unavailable(try_open(&url("localhost", "require"), "one", Some(&path)));
        assert!(error.contains(what), "{error}");
    }
}

#[tokio::test]
async fn a_wrong_password_is_an_error_that_shows_none() {
    let server = Postgres::start_with(|_| vec!["password_encryption=scram-sha-256".to_owned()], &[]);
    let owner = client(&server.url()).await;
    owner.batch_execute("CREATE ROLE careful LOGIN PASSWORD 'right'").await.unwrap();
    let hba: String = owner.query_one("SHOW hba_file", &[]).await.unwrap().get(0);
    fs::write(&hba, "host all careful 127.0.0.1/32 scram-sha-256\nhost all tester 127.0.0.1/32 trust\n").unwrap();
    owner.batch_execute("SELECT pg_reload_conf()").await.unwrap();
    let url = |password| format!("postgres://careful:{password}@127.0.0.1:{}/postgres", server.port());
    let mut error = unavailable(open(&url("canary"), "one").load().await);
    // The reload is seen by a connection that comes a moment later.
    while error.contains("42P01") {
        error = unavailable(open(&url("canary"), "one").load().await);
    }
    assert!(error.contains("28P01") && error.contains("see user, password"), "{error}");
    assert!(!error.contains("canary"), "{error}");
    let error = unavailable(open(&url("right"), "one").load().await);
    assert!(error.contains("42P01"), "the right one is let in: {error}");
}
