//! Faults of the store. A run changes none of its files.

use std::fs::{self, File, FileTimes, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::checked::{Checked, league, settled, small, stored};
use testkit::Proxy;

const KEYS: [&str; 2] =
    ["AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE="];

/// Names, contents and modes of the files of a folder.
fn files(folder: &Path) -> Vec<(String, Vec<u8>, u32)> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let mut files: Vec<_> = entries
        .map(|entry| {
            let name = entry.file_name().into_string().unwrap();
            (name, fs::read(entry.path()).unwrap_or_default(), entry.metadata().unwrap().permissions().mode())
        })
        .collect();
    files.sort();
    files
}

fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        println!("not run: needs root");
    }
    root
}

#[tokio::test]
async fn a_directory_that_is_missing_or_read_only_or_of_another_user_is_found() {
    let simulator = league().await;
    let setup = stored(&simulator).await;
    let folder = setup.folder().display().to_string();
    let missing = setup.again().set("STORE__PATH", format!("{folder}/none/grant.json"));
    let checked = Checked::before(&simulator, &missing, &[]).await;
    checked.finds("store-folder-missing", 1);
    for id in ["store-read-only", "store-damaged", "grant-absent", "upstream-refuses"] {
        assert!(checked.because_of("store-folder-missing").contains(&id), "{id} {:#}", checked.document);
    }
    if !is_root() {
        return;
    }
    let script =
        format!(r#"mount --bind {folder} {folder} && mount -o remount,ro,bind {folder} {folder} && exec "$0" "$@""#);
    Checked::run_by(&setup, &["unshare", "--mount", "sh", "-c", &script]).await.finds("store-read-only", 1);

    let nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    fs::set_permissions(setup.folder(), Permissions::from_mode(0o755)).unwrap();
    Checked::run_by(&setup, &nobody).await.finds("store-owner", 1);
    // The directory is writable, and the grant in it is another user's.
    std::os::unix::fs::chown(setup.folder(), Some(65534), Some(65534)).unwrap();
    Checked::run_by(&setup, &nobody).await.finds("store-owner", 1);
}

#[tokio::test]
async fn a_store_in_memory_is_found() {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    if !mounts.lines().any(|line| line.contains(" /dev/shm ") && line.contains(" - tmpfs ")) {
        return println!("not run: /dev/shm is not in memory");
    }
    let simulator = league().await;
    let folder = tempfile::tempdir_in("/dev/shm").unwrap();
    let store = folder.path().join("grant.json");
    let setup = settled(Proxy::before(&simulator).set("STORE__PATH", store.display())).await;
    Checked::judged(&setup, &[], Some(&simulator)).await.finds("store-ephemeral", 0);
}

#[tokio::test]
async fn a_grant_that_cannot_be_read_is_found_and_left_alone() {
    let simulator = league().await;
    let setup = stored(&simulator).await;
    let sealed = setup.again().set("STORE__KEYS", KEYS[0]);
    let before = files(setup.folder());
    // Plaintext, although there are keys.
    Checked::before(&simulator, &sealed, &[]).await.finds("store-key-missing", 1);
    assert!(files(setup.folder()) == before);

    let (code, _, err) = sealed.run(&["seal"]).await;
    assert_eq!(code, 0, "{err}");
    let checked = Checked::before(&simulator, &sealed, &["--strict"]).await;
    assert_eq!(checked.problems(), [""; 0], "{:#}", checked.document);
    for other in [setup.again(), setup.again().set("STORE__KEYS", KEYS[1])] {
        Checked::before(&simulator, &other, &[]).await.finds("store-key-missing", 1);
    }

    fs::write(setup.store(), "{\"canary\": ").unwrap();
    // The store itself would close it to others, and keep a copy.
    fs::set_permissions(setup.store(), Permissions::from_mode(0o644)).unwrap();
    let before = files(setup.folder());
    Checked::before(&simulator, &setup, &[]).await.finds("store-damaged", 1);
    assert!(files(setup.folder()) == before, "{:?}", files(setup.folder()));
}

#[tokio::test]
async fn a_lease_that_is_not_given_back_is_found() {
    let simulator = league().await;
    let setup = stored(&simulator).await;
    let path = setup.folder().join("grant.json.lease");
    fs::write(&path, r#"{"owner":"4711-0000000000000000","fence":1,"duration_ms":45000}"#).unwrap();
    let lease = File::options().read(true).write(true).open(&path).unwrap();
    lease.lock().unwrap();
    let is_found = async || Checked::before(&simulator, &setup, &["--offline"]).await.problems().len();
    assert_eq!(is_found().await, 0, "the lease has just begun");
    lease.set_times(FileTimes::new().set_modified(SystemTime::now() - Duration::from_secs(90))).unwrap();
    let checked = Checked::before(&simulator, &setup, &["--offline"]).await;
    checked.finds("store-lease-stuck", 0);
    assert!(checked.check("store-lease-stuck")["detail"].as_str().unwrap().contains("4711-"));
    drop(lease);
    assert_eq!(is_found().await, 0, "its holder has ended");
}

#[tokio::test]
async fn replicas_that_share_a_file_are_found() {
    if !is_root() {
        return;
    }
    let simulator = league().await;
    let setup = stored(&simulator).await;
    // As in another pod.
    let script = r#"echo other-host >/proc/sys/kernel/hostname && exec "$0" "$@""#;
    let elsewhere = setup.again().under(&["unshare", "--uts", "sh", "-c", script]);
    let (one, other) = (setup.again().start().await, elsewhere.start().await);
    one.ready().await;
    other.ready().await;
    // Healthy so far: a second process alone proves nothing.
    assert_eq!(Checked::new(&one.commands(), &["--offline"]).await.problems(), [""; 0]);
    assert_eq!(other.refresh().await.status, 200);
    one.wait_for_status("refreshed by the other", |status| status["last_refresh"]["trigger"] == "peer").await;
    Checked::new(&one.commands(), &["--offline"]).await.finds("store-shared-file", 0);
    assert_eq!(one.refresh().await.status, 200);
    other.wait_for_status("refreshed by the first", |status| status["last_refresh"]["trigger"] == "peer").await;
    assert_eq!(other.refresh().await.status, 200);
    one.stop().await;
    other.stop().await;
    // Also without a proxy that could be asked.
    let checked = Checked::new(&setup, &["--offline"]).await;
    checked.finds("store-shared-file", 0);
    assert!(checked.check("store-shared-file")["detail"].as_str().unwrap().contains("@other-host"));
}

#[cfg(feature = "postgres")]
#[tokio::test]
async fn a_database_without_an_answer_or_without_rights_is_found() {
    let server = testkit::postgres::Postgres::shared();
    let simulator = league().await;
    let in_database = |url: &str| {
        small(Proxy::before(&simulator))
            .unset("STORE__PATH")
            .set("STORE__KIND", "postgres")
            .set("STORE__NAME", "check-rights")
            .set("STORE__URL", url)
    };
    let down = in_database("postgres://tester:canary-password@127.0.0.1:9/postgres");
    let checked = Checked::before(&simulator, &down, &["--offline"]).await;
    checked.finds("store-database-unreachable", 1);
    assert!(checked.because_of("store-database-unreachable").contains(&"grant-absent"), "{:#}", checked.document);

    let (client, connection) = tokio_postgres::connect(&server.url(), tokio_postgres::NoTls).await.unwrap();
    let connection = tokio::spawn(connection);
    client.batch_execute("CREATE ROLE check_reader LOGIN").await.unwrap();
    let reader = in_database(&server.url().replace("tester", "check_reader"));
    // Another test may have made the table already.
    client.batch_execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC").await.unwrap();
    Checked::before(&simulator, &reader, &["--offline"]).await.finds("store-database-rights", 1);
    client.batch_execute(
        "CREATE TABLE IF NOT EXISTS bearer_proxy_grant (name text PRIMARY KEY, document text, lease_owner text, lease_until timestamptz);
         GRANT SELECT, INSERT ON bearer_proxy_grant TO check_reader",
    )
    .await
    .unwrap();
    let checked = Checked::before(&simulator, &reader, &["--offline"]).await;
    checked.finds("store-database-rights", 1);
    assert!(checked.check("store-database-rights")["detail"].as_str().unwrap().contains("UPDATE"));
    connection.abort();
}
