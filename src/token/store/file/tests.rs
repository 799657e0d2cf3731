//! The file store's own promises: permissions, owners, failing disks, and foreign files.

mod processes;
mod sharing;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;
use tokio::time::timeout;

use super::*;
use crate::config::{StoreConfig, StoreKindConfig};
use crate::token::store::Store;
use crate::token::store::tests::{NOTHING, expecting, grant, held, lease, write};

const LONG: Duration = Duration::from_secs(60);

pub(super) async fn open(path: &Path) -> Result<Store, StoreError> {
    Store::open(&StoreConfig { kind: StoreKindConfig::File { path: path.to_owned() }, keys: Vec::new() }, None).await
}

pub(super) fn folder() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("grant.json");
    (folder, path)
}

pub(super) fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

fn unavailable(result: Result<impl std::fmt::Debug, StoreError>) -> String {
    match result {
        Err(StoreError::Unavailable(text)) => text,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_missing_folder_is_an_error_that_names_the_mend() {
    let (folder, _) = folder();
    let path = folder.path().join("missing/grant.json");
    let error = unavailable(open(&path).await);
    let mend = format!("install -d -m 0700 {}", folder.path().join("missing").display());
    assert!(error.contains(&mend), "{error}");

    let error = unavailable(open(Path::new("/")).await.unwrap().load().await);
    assert!(error.contains("is not a file"), "{error}");
}

#[tokio::test]
async fn a_folder_that_vanishes_is_never_taken_for_no_grant() {
    let (folder, _) = folder();
    let inner = folder.path().join("inner");
    fs::create_dir(&inner).unwrap();
    let store = open(&inner.join("grant.json")).await.unwrap();
    let first = grant(1, "one");
    write(&store, NOTHING, &first).await;
    store.changed().await;
    fs::rename(&inner, folder.path().join("away")).unwrap();
    for error in [
        unavailable(store.load().await),
        unavailable(store.write(NOTHING, &first).await),
        unavailable(store.lease("one", LONG).await),
    ] {
        assert!(error.contains("No such file or directory"), "{error}");
    }
    timeout(Duration::from_secs(1), store.changed()).await.expect("its end is a change");
    fs::rename(folder.path().join("away"), &inner).unwrap();
    timeout(Duration::from_secs(1), store.changed()).await.expect("so is its return");
    assert_eq!(store.load().await.unwrap(), Some(first));
}

#[tokio::test]
async fn every_file_is_for_its_owner_alone() {
    let (folder, path) = folder();
    let store = open(&path).await.unwrap();
    write(&store, NOTHING, &grant(1, "one")).await;
    let lease = held(store.lease("one", LONG).await.unwrap());
    fs::write(&path, "damaged").unwrap();
    store.load().await.unwrap_err();
    let names = names(folder.path());
    assert_eq!(names.len(), 4, "{names:?}");
    for name in names {
        assert_eq!(mode(&folder.path().join(&name)), 0o600, "{name}");
    }
    store.release(lease).await;
}

#[tokio::test]
async fn a_document_that_others_could_read_is_closed_to_them() {
    let (_folder, path) = folder();
    let store = open(&path).await.unwrap();
    write(&store, NOTHING, &grant(1, "one")).await;
    for open_to_others in [0o644, 0o640, 0o666] {
        fs::set_permissions(&path, fs::Permissions::from_mode(open_to_others)).unwrap();
        store.load().await.unwrap();
        assert_eq!(mode(&path), 0o600);
    }
}

#[tokio::test]
async fn what_root_writes_belongs_to_the_owner_of_the_directory() {
    let (folder, path) = folder();
    // Only root can give a file away; anybody else's files are its own.
    let owner = if rustix::process::geteuid().is_root() { 65534 } else { rustix::process::geteuid().as_raw() };
    chown(folder.path(), Some(owner), None).unwrap();
    let store = open(&path).await.unwrap();
    write(&store, NOTHING, &grant(1, "one")).await;
    write(&store, expecting(&grant(1, "one")), &grant(2, "two")).await;
    let lease = held(store.lease("one", LONG).await.unwrap());
    for name in names(folder.path()) {
        assert_eq!(fs::metadata(folder.path().join(&name)).unwrap().uid(), owner, "{name}");
    }
    store.release(lease).await;
}

#[tokio::test]
async fn a_link_in_the_path_is_followed_and_one_in_the_document_s_place_is_refused() {
    let (folder, path) = folder();
    let target = folder.path().join("real/grant.json");
    fs::create_dir(target.parent().unwrap()).unwrap();
    write(&open(&target).await.unwrap(), NOTHING, &grant(1, "one")).await;
    symlink("real", folder.path().join("linked")).unwrap();
    let store = open(&folder.path().join("linked/grant.json")).await.unwrap();
    let lease = held(store.lease("by the link", LONG).await.unwrap());
    let beside = open(&target).await.unwrap().lease("by the name", LONG).await.unwrap();
    assert!(matches!(beside, Leased::Busy { .. }), "one document has one lease");
    write(&store, expecting(&grant(1, "one")), &grant(2, "two")).await;
    assert_eq!(open(&target).await.unwrap().load().await.unwrap().unwrap().generation.0, 2);
    store.release(lease).await;

    symlink(&target, &path).unwrap();
    let store = open(&path).await.unwrap();
    for error in [unavailable(store.load().await), unavailable(store.write(NOTHING, &grant(3, "three")).await)] {
        assert!(error.contains("is not a file but a symbolic link, which is not followed here"), "{error}");
    }
    assert!(fs::symlink_metadata(&path).unwrap().is_symlink());
    assert_eq!(open(&target).await.unwrap().load().await.unwrap().unwrap().generation.0, 2);
}

#[tokio::test]
async fn what_a_crash_left_is_overwritten() {
    let (folder, path) = folder();
    let store = open(&path).await.unwrap();
    fs::write(beside(&path, ".tmp"), "{").unwrap();
    fs::write(beside(&path, ".lease.tmp"), "{").unwrap();
    write(&store, NOTHING, &grant(1, "one")).await;
    let lease = held(store.lease("one", LONG).await.unwrap());
    assert_eq!(names(folder.path()), ["grant.json", "grant.json.lease", "grant.json.lock"]);
    store.release(lease).await;
}

/// What lies at each name of the program, and is not the program's, stays exactly as it is.
#[tokio::test]
async fn what_a_stranger_put_in_the_way_is_neither_followed_nor_changed_nor_removed() {
    type Plant = fn(&Path, &Path);
    let plants: [(&str, Plant); 5] = [
        ("link", |bait, at| symlink(bait, at).unwrap()),
        ("dangling link", |bait, at| symlink(beside(bait, "-missing"), at).unwrap()),
        ("hard link", |bait, at| fs::hard_link(bait, at).unwrap()),
        ("pipe", |_, at| assert!(Command::new("mkfifo").arg(at).status().unwrap().success())),
        ("directory", |_, at| fs::create_dir(at).unwrap()),
    ];
    for (what, plant) in plants {
        for suffix in ["", ".tmp", ".lock", ".lease", ".lease.tmp"] {
            let (folder, path) = folder();
            let (bait, at) = (folder.path().join("bait"), beside(&path, suffix));
            fs::write(&bait, "mine").unwrap();
            fs::set_permissions(&bait, fs::Permissions::from_mode(0o644)).unwrap();
            plant(&bait, &at);
            let before = (fs::symlink_metadata(&at).unwrap(), mode(&bait));
            let work = async {
                let store = open(&path).await.unwrap();
                let leased = store.lease("one", LONG).await;
                let written = store.write(NOTHING, &grant(1, "one")).await;
                let _ = store.load().await;
                let _ = store.replace_damaged(&grant(1, "one")).await;
                (leased.err(), written.err())
            };
            let (leased, written) = timeout(Duration::from_secs(10), work).await.expect("nothing is waited for");
            // Locking a file does nothing to it.
            if (what, suffix) != ("hard link", ".lock") {
                let error =
                    leased.or(written).unwrap_or_else(|| panic!("{what} as grant.json{suffix} was taken for ours"));
                assert!(error.to_string().contains("grant.json"), "{what} as grant.json{suffix}: {error}");
            }
            let after = fs::symlink_metadata(&at).unwrap();
            assert_eq!(
                (after.ino(), after.mode(), after.uid(), after.nlink()),
                (before.0.ino(), before.0.mode(), before.0.uid(), before.0.nlink()),
                "{what} as grant.json{suffix}"
            );
            assert_eq!(
                (fs::read_to_string(&bait).unwrap().as_str(), mode(&bait)),
                ("mine", before.1),
                "{what} as {suffix}"
            );
            let copies =
                names(folder.path()).into_iter().filter(|name| name.contains("damaged") || name.contains("missing"));
            assert_eq!(copies.count(), 0, "{what} as grant.json{suffix}");
        }
    }
}

/// Whoever may only make files in the directory does not decide which grant is used.
#[tokio::test]
async fn where_everybody_may_make_files_those_of_a_stranger_are_refused() {
    if !rustix::process::geteuid().is_root() {
        return println!("not run: only root can give files to another user");
    }
    let (folder, path) = folder();
    let store = open(&path).await.unwrap();
    write(&store, NOTHING, &grant(1, "one")).await;
    for suffix in ["", ".lock"] {
        chown(beside(&path, suffix), Some(65534), None).unwrap();
        let expect = expecting(&grant(1, "one"));
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o1777)).unwrap();
        let error = unavailable(store.write(expect, &grant(1, "one")).await);
        assert!(error.contains("it belongs to uid 65534, and everybody may make files"), "{error}");
        // Where nobody else may, it is the owner of the directory who let them.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        assert!(matches!(store.write(expect, &grant(1, "one")).await.unwrap(), Written::Done));
        chown(beside(&path, suffix), Some(0), None).unwrap();
    }
}

#[tokio::test]
async fn a_fence_never_goes_back_even_if_the_lease_file_is_lost_or_spoiled() {
    let (_folder, path) = folder();
    let (store, other) = (open(&path).await.unwrap(), open(&path).await.unwrap());
    write(&store, NOTHING, &grant(1, "one")).await;
    let claim = beside(&path, ".lease");
    let mut last = 0;
    for spoil in
        [None, Some(""), Some("{\"owner\""), Some("{\"owner\":\"\",\"fence\":18446744073709551615,\"duration_ms\":1}")]
    {
        let old = held(store.lease("one", LONG).await.unwrap());
        assert!(old.fence > last, "{} after {last}", old.fence);
        // The fence begins at the time, which grows by the millisecond.
        tokio::time::sleep(Duration::from_millis(2)).await;
        fs::remove_file(&claim).unwrap();
        if let Some(text) = spoil {
            fs::write(&claim, text).unwrap();
        }
        let new = held(other.lease("other", LONG).await.unwrap());
        assert!(new.fence > old.fence, "{spoil:?}");
        let intent = Expect { fence: Some(old.fence), ..expecting(&grant(1, "one")) };
        assert!(matches!(store.write(intent, &grant(1, "one")).await.unwrap(), Written::Fenced));
        last = new.fence;
        store.release(old).await;
        other.release(new).await;
    }
}

#[tokio::test]
async fn a_damaged_document_is_kept_aside_once_however_often_it_is_read() {
    let (folder, path) = folder();
    fs::write(&path, "{\"format\":1,").unwrap();
    for _ in 0..3 {
        let store = open(&path).await.unwrap();
        let error = store.load().await.unwrap_err().to_string();
        assert!(error.contains("it is cut short") && error.contains("a copy is kept as "), "{error}");
        store.write(NOTHING, &grant(1, "one")).await.unwrap_err();
    }
    let copies = names(folder.path()).into_iter().filter(|name| name.starts_with("grant.json.damaged-"));
    assert_eq!(copies.count(), 1);
}

#[tokio::test]
async fn what_is_too_large_or_no_file_is_refused_and_not_waited_for() {
    let (folder, path) = folder();
    let store = open(&path).await.unwrap();
    fs::write(&path, " ".repeat(2 * 1024 * 1024)).unwrap();
    let error = store.load().await.unwrap_err();
    assert!(
        matches!(&error, StoreError::Damaged(text) if text.contains("larger than any grant document")),
        "{error:?}"
    );
    store.replace_damaged(&grant(1, "one")).await.unwrap_err();
    assert_eq!(names(folder.path()), ["grant.json", "grant.json.lock"]);

    fs::remove_file(&path).unwrap();
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    let loaded = timeout(Duration::from_secs(5), store.load()).await.expect("a pipe is not opened");
    assert!(unavailable(loaded).contains("is not a file"));
}
