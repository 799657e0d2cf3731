//! Limits of the process that are too low for the configuration.

use testkit::{Cgroup, Proxy};

use crate::checked::{Checked, league, small, stored};

#[tokio::test]
async fn a_low_limit_of_open_files_is_found() {
    let simulator = league().await;
    let setup = stored(&simulator).await.set("GUARD__MAX_CONNECTIONS", 1000);
    let checked = Checked::run_by(&setup, &["sh", "-c", r#"ulimit -n 500; exec "$0" "$@""#]).await;
    checked.finds("limit-descriptors", 0);
}

/// The log of `serve` has the same finding. A cgroup of version 1: version 2 is in a table of recorded files.
#[tokio::test]
async fn a_low_memory_limit_is_found() {
    let Some(cgroup) = Cgroup::new(64 << 20) else {
        return println!("not run: no memory cgroup can be created here");
    };
    let simulator = league().await;
    let proxy = cgroup.around(small(Proxy::before(&simulator))).start().await;
    let line = proxy.wait_for_log("the finding", |line| line["check"] == "limit-memory").await;
    assert!(line.contains("64 MiB"), "{line}");
    proxy.stop().await;
}

/// A check that is in no test is a check that nobody has seen to fail.
#[test]
fn every_check_is_made_to_fail_here_or_in_a_table() {
    // The rest of each row is in the comment at the top of main.rs.
    const IN_TABLES: [&str; 2] = ["store-network-filesystem", "limit-cpu"];
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/check");
    let sources =
        std::fs::read_dir(folder).unwrap().filter_map(|entry| std::fs::read_to_string(entry.unwrap().path()).ok());
    let sources: String = sources.collect();
    for id in bearer_proxy::internals::check::ids::Id::ALL {
        let is_named = sources.contains(&format!("\"{}\"", id.name()));
        assert!(is_named, "{} is not made to fail", id.name());
    }
    for id in IN_TABLES {
        assert!(bearer_proxy::internals::check::ids::Id::from_name(id).is_some(), "{id}");
    }
}
