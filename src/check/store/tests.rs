use super::*;
use crate::check::tests::names;
#[cfg(feature = "kubernetes")]
use crate::token::store::ClusterLook;
use crate::token::store::{Holder, Overdue, Rights};

const ME: u32 = 1000;

fn healthy() -> FileFacts {
    FileFacts {
        folder: "/var/lib/bearer-proxy".into(),
        directory: Ok(Directory { uid: ME, mode: 0o700, writable: Ok(()) }),
        mount: Some(Mount { kind: "ext4".into(), root: "/".into() }),
        document_uid: None,
        uid: ME,
        look: Ok(look()),
    }
}

fn look() -> Look {
    Look { record: Ok(None), overdue: None, holder: None, rights: None, cluster: None }
}

fn problems(findings: &[Finding]) -> Vec<&'static str> {
    let problems: Vec<_> = findings.iter().filter(|finding| finding.is_problem()).cloned().collect();
    names(&problems)
}

#[test]
fn each_fault_of_a_file_store_has_its_id_and_hides_what_depends_on_it() {
    let mount = |kind: &str| Some(Mount { kind: kind.into(), root: "/".into() });
    let denied = || io::Error::from(io::ErrorKind::PermissionDenied);
    let directory = |uid, writable| Ok(Directory { uid, mode: 0o755, writable });
    let broken = |error| Ok(Look { record: Err(error), ..look() });
    let unavailable = || StoreError::Unavailable("could not read the grant".into());
    let rows: Vec<(FileFacts, &[&str])> = vec![
        (healthy(), &[]),
        (
            FileFacts { directory: Err(io::ErrorKind::NotFound.into()), look: Err(unavailable()), ..healthy() },
            &["store-folder-missing"],
        ),
        (
            FileFacts { directory: directory(ME, Err(io::ErrorKind::ReadOnlyFilesystem.into())), ..healthy() },
            &["store-read-only"],
        ),
        (FileFacts { directory: directory(ME, Err(denied())), ..healthy() }, &["store-read-only"]),
        (FileFacts { directory: directory(0, Err(denied())), ..healthy() }, &["store-owner"]),
        (FileFacts { mount: mount("tmpfs"), ..healthy() }, &["store-ephemeral"]),
        (FileFacts { mount: mount("nfs4"), ..healthy() }, &["store-network-filesystem"]),
        (FileFacts { look: broken(StoreError::Damaged("x".into())), ..healthy() }, &["store-damaged"]),
        (FileFacts { look: broken(unavailable()), document_uid: Some(ME), ..healthy() }, &["store-damaged"]),
        (FileFacts { look: broken(unavailable()), document_uid: Some(0), ..healthy() }, &["store-owner"]),
        // Root acts as the owner of the directory.
        (FileFacts { uid: 0, document_uid: Some(ME), ..healthy() }, &[]),
        (FileFacts { look: broken(StoreError::WrongKey("x".into())), ..healthy() }, &["store-key-missing"]),
        (FileFacts { look: broken(StoreError::Refused("x".into())), ..healthy() }, &["store-key-missing"]),
        (
            FileFacts {
                look: Ok(Look { overdue: Some(Overdue { owner: "7-a".into(), by: Duration::from_secs(9) }), ..look() }),
                ..healthy()
            },
            &["store-lease-stuck"],
        ),
    ];
    for (facts, expected) in rows {
        let text = format!("{facts:?}");
        let findings = judge(&Facts::File(facts), true);
        assert_eq!(problems(&findings), expected, "{text}");
    }
}

#[test]
fn only_a_refresh_token_is_lost_with_its_store() {
    let facts = FileFacts { mount: Some(Mount { kind: "tmpfs".into(), root: "/".into() }), ..healthy() };
    assert_eq!(problems(&judge(&Facts::File(facts), false)), [""; 0]);
}

#[test]
fn each_fault_of_a_database_has_its_id() {
    let all = Rights { table_exists: true, create_table: false, select: true, insert: true, update: true };
    let rows = [
        (Ok(Look { rights: Some(all), ..look() }), &[][..]),
        (Ok(Look { rights: Some(Rights { update: false, ..all }), ..look() }), &["store-database-rights"]),
        (Ok(Look { rights: Some(Rights { table_exists: false, create_table: true, ..all }), ..look() }), &[]),
        (Ok(Look { rights: Some(Rights { table_exists: false, ..all }), ..look() }), &["store-database-rights"]),
        (Err(StoreError::Unavailable("db:5432: no answer".into())), &["store-database-unreachable"]),
    ];
    for (look, expected) in rows {
        let text = format!("{look:?}");
        assert_eq!(problems(&judge(&Facts::Database(look), true)), expected, "{text}");
    }
}

#[test]
fn replicas_on_other_hosts_are_found_by_their_leases() {
    let found = |owner: &str, shared_with: Option<&str>, by_peer| {
        let holder = Holder { owner: owner.into(), shared_with: shared_with.map(str::to_owned) };
        let facts = Facts::File(FileFacts { look: Ok(Look { holder: Some(holder), ..look() }), ..healthy() });
        shared(&facts, by_peer, Some("web-0")).is_some()
    };
    for (owner, shared_with, by_peer, expected) in [
        ("7-a@web-0", None, false, false),
        // A command on this host.
        ("login-7", None, true, false),
        ("8-c@web-0", None, true, false),
        // The predecessor of this pod.
        ("7-b@web-1", None, false, false),
        ("7-b@web-1", None, true, true),
        ("7-a@web-0", Some("7-b@web-1"), false, true),
        ("7-b@web-1", Some("7-a@web-0"), false, true),
    ] {
        assert_eq!(found(owner, shared_with, by_peer), expected, "{owner} {shared_with:?} {by_peer}");
    }
    assert_eq!(shared(&Facts::File(healthy()), true, Some("web-0")), None);
}

#[test]
#[cfg(feature = "kubernetes")]
fn each_fault_of_a_cluster_has_its_id() {
    let healthy = ClusterLook::default();
    let rules = |rules: &[&str]| rules.iter().map(ToString::to_string).collect();
    let rows = [
        (Ok(healthy.clone()), &[][..]),
        (Ok(ClusterLook { forbidden: rules(&["patch", "watch"]), ..healthy.clone() }), &["store-cluster-forbidden"]),
        (Ok(ClusterLook { immutable: true, ..healthy.clone() }), &["store-cluster-immutable"]),
        (Ok(ClusterLook { foreign_owner: Some("Helm".into()), ..healthy }), &["store-cluster-foreign-owner"]),
        (Err(StoreError::Unavailable("https://10.96.0.1:443: no answer".into())), &["store-cluster-unreachable"]),
    ];
    for (cluster, expected) in rows {
        let text = format!("{cluster:?}");
        let look = cluster.map(|cluster| Look { cluster: Some(cluster), ..look() });
        let findings = judge(&Facts::Cluster(look), true);
        assert_eq!(problems(&findings), expected, "{text}");
        assert!(!text.contains("watch") || findings[0].detail.contains("watch"), "each missing rule is named");
    }
}
