//! Several processes on one file store, and processes without the rights that they need.

use std::io::{BufRead, BufReader, Write as _};
use std::process::{Child, ChildStdin, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use super::*;

/// This very test in a process of its own, which finds the document's path in its environment.
struct Peer {
    process: Child,
    stdin: ChildStdin,
    stdout: BufReader<std::process::ChildStdout>,
}

const PEER: &str = "BEARER_PROXY_TEST_PEER";

/// Set: this process is the peer.
fn peer_path() -> Option<PathBuf> {
    std::env::var_os(PEER).map(PathBuf::from)
}

/// `wrapper`: a command that is given the test's own to run.
fn peer_command(test: &str, document: &Path, wrapper: &[&str]) -> Command {
    let exe = std::env::current_exe().unwrap();
    let mut words = wrapper.iter().map(|word| Path::new(word).to_owned()).chain([exe]);
    let mut command = Command::new(words.next().unwrap());
    command.args(words).args(["--exact", &format!("token::store::file::tests::processes::{test}"), "--nocapture"]);
    command.env(PEER, document).stdin(Stdio::piped()).stdout(Stdio::piped());
    command
}

impl Peer {
    fn start(test: &str, document: &Path) -> Self {
        let mut process = peer_command(test, document, &[]).spawn().unwrap();
        let (stdin, stdout) = (process.stdin.take().unwrap(), BufReader::new(process.stdout.take().unwrap()));
        Self { process, stdin, stdout }
    }

    /// What the peer said, by its next line with a mark in it.
    fn heard(&mut self) -> String {
        loop {
            let mut line = String::new();
            assert_ne!(self.stdout.read_line(&mut line).unwrap(), 0, "the peer ended without a word");
            if let Some((_, said)) = line.split_once("peer: ") {
                return said.trim_end().to_owned();
            }
        }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.process), signal).unwrap();
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn say(what: &str) {
    println!("peer: {what}");
    std::io::stdout().flush().unwrap();
}

/// Until the test says so.
fn wait_for_word() {
    std::io::stdin().read_line(&mut String::new()).unwrap();
}

#[tokio::test]
async fn a_lease_ends_with_its_process_however_it_ends() {
    if let Some(path) = peer_path() {
        let _lease = held(open(&path).await.unwrap().lease("peer", LONG).await.unwrap());
        say("held");
        return wait_for_word();
    }
    let (_folder, path) = folder();
    let store = open(&path).await.unwrap();
    let mut last = 0;
    for _ in 0..3 {
        let mut peer = Peer::start("a_lease_ends_with_its_process_however_it_ends", &path);
        assert_eq!(peer.heard(), "held");
        assert!(matches!(store.lease("one", LONG).await.unwrap(), Leased::Busy { .. }));
        drop(peer);
        let lease = held(store.lease("one", LONG).await.unwrap());
        assert!(lease.fence > last + 1, "the peer's own lay between");
        last = lease.fence;
        store.release(lease).await;
    }
}

#[tokio::test]
async fn a_stopped_holder_is_waited_for_as_long_as_it_wrote_and_then_fenced() {
    let duration = Duration::from_millis(800);
    if let Some(path) = peer_path() {
        let store = open(&path).await.unwrap();
        let first = store.load().await.unwrap().unwrap();
        let lease = held(store.lease("peer", duration).await.unwrap());
        say("held");
        wait_for_word();
        let intent = Expect { fence: Some(lease.fence), ..expecting(&first) };
        let written = store.write(intent, &grant(1, "peer")).await.unwrap();
        return say(&format!("{written:?} with {:?} left", lease.remaining()));
    }
    let (_folder, path) = folder();
    let store = open(&path).await.unwrap();
    write(&store, NOTHING, &grant(1, "one")).await;
    let mut peer = Peer::start("a_stopped_holder_is_waited_for_as_long_as_it_wrote_and_then_fenced", &path);
    assert_eq!(peer.heard(), "held");
    peer.signal(Signal::STOP);

    let begun = Instant::now();
    let lease = timeout(Duration::from_secs(10), lease(&store, "one", Duration::from_millis(1))).await.unwrap();
    assert!(begun.elapsed() >= duration, "its own duration is not what counts: {:?}", begun.elapsed());
    peer.signal(Signal::CONT);
    peer.stdin.write_all(b"\n").unwrap();
    assert_eq!(peer.heard(), "Fenced with 0ns left");
    assert_eq!(store.load().await.unwrap().unwrap().refresh, grant(1, "one").refresh);
    store.release(lease).await;
}

#[tokio::test]
async fn a_process_killed_while_it_writes_leaves_a_whole_document() {
    if let Some(path) = peer_path() {
        let store = open(&path).await.unwrap();
        loop {
            let present = store.load().await.unwrap().unwrap();
            let next = grant(present.generation.0 + 1, &"x".repeat(20_000));
            write(&store, expecting(&present), &next).await;
            say(&next.generation.to_string());
        }
    }
    let (folder, path) = folder();
    let store = open(&path).await.unwrap();
    write(&store, NOTHING, &grant(1, "one")).await;
    for round in 0..12 {
        let mut peer = Peer::start("a_process_killed_while_it_writes_leaves_a_whole_document", &path);
        let mut heard = peer.heard();
        let until = Instant::now() + Duration::from_micros(700 * round);
        while Instant::now() < until {
            heard = peer.heard();
        }
        drop(peer);
        let generation = store.load().await.unwrap().unwrap().generation.0;
        assert!(generation >= heard.parse().unwrap(), "{generation} is less than the {heard} that was written");
    }
    assert!(names(folder.path()).iter().all(|name| !name.contains("damaged")));
}

#[tokio::test]
async fn a_full_disk_is_an_error_that_leaves_the_old_document_and_no_other_file() {
    const TEST: &str = "a_full_disk_is_an_error_that_leaves_the_old_document_and_no_other_file";
    if let Some(path) = peer_path() {
        let store = open(&path).await.unwrap();
        let present = store.load().await.unwrap().unwrap();
        let error = unavailable(store.write(expecting(&present), &grant(2, "two")).await);
        assert!(error.contains("grant.json: File too large"), "{error}");
        let error = unavailable(store.lease("peer", LONG).await);
        assert!(error.contains("grant.json.lease: File too large"), "{error}");
        assert_eq!(store.load().await.unwrap(), Some(present));
        return;
    }
    let (folder, path) = folder();
    write(&open(&path).await.unwrap(), NOTHING, &grant(1, "one")).await;
    // No file of the peer may grow: each write fails as on a full disk.
    let limit = ["sh", "-c", "trap '' XFSZ; ulimit -f 0; exec \"$@\"", "sh"];
    let output = peer_command(TEST, &path, &limit).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    assert_eq!(names(folder.path()), ["grant.json", "grant.json.lock"]);
}

#[tokio::test]
async fn a_folder_that_can_not_be_written_is_named_with_its_owner_and_can_still_be_read() {
    const TEST: &str = "a_folder_that_can_not_be_written_is_named_with_its_owner_and_can_still_be_read";
    if let Some(path) = peer_path() {
        let store = open(&path).await.unwrap();
        let present = store.load().await.unwrap().unwrap();
        for error in [
            unavailable(store.write(expecting(&present), &grant(2, "two")).await),
            unavailable(store.lease("peer", LONG).await),
        ] {
            assert!(error.contains("Permission denied") && error.contains("it belongs to uid "), "{error}");
        }
        fs::write(&path, "damaged").unwrap();
        let error = store.load().await.unwrap_err();
        assert!(matches!(&error, StoreError::Damaged(text) if text.contains("no copy could be kept")), "{error:?}");
        return;
    }
    let (folder, path) = folder();
    write(&open(&path).await.unwrap(), NOTHING, &grant(1, "one")).await;
    fs::remove_file(beside(&path, ".lock")).unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o500)).unwrap();
    // Modes bind root only without this capability.
    let bound = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"];
    let wrapper = if rustix::process::geteuid().is_root() { &bound[..] } else { &[] };
    let output = peer_command(TEST, &path, wrapper).output().expect("setpriv, of the package util-linux");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    assert_eq!(names(folder.path()), ["grant.json"]);
}

#[tokio::test]
async fn root_without_the_right_to_act_as_the_owner_says_so_and_changes_nothing() {
    const TEST: &str = "root_without_the_right_to_act_as_the_owner_says_so_and_changes_nothing";
    if let Some(path) = peer_path() {
        let error = unavailable(open(&path).await);
        assert!(error.contains("belongs to uid 65534") && error.contains("CAP_SETUID"), "{error}");
        return;
    }
    if !rustix::process::geteuid().is_root() {
        return println!("not run: needs root");
    }
    let (folder, path) = folder();
    chown(folder.path(), Some(65534), None).unwrap();
    for capability in ["setuid", "setgid"] {
        let bound = ["setpriv", &format!("--bounding-set=-{capability}"), "--"];
        let output = peer_command(TEST, &path, &bound).output().expect("setpriv, of the package util-linux");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }
    assert_eq!(names(folder.path()), [""; 0]);
}
