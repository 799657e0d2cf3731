//! `status --watch` into a pipe: one line for each change, until a signal.

use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::time::timeout;

use crate::site::{PATIENCE, Site, User};

#[tokio::test]
async fn a_watched_status_prints_each_change_and_ends_on_a_signal() {
    let site = Site::new(User::Own).await;
    let store = site.home().join("grant.json").display().to_string();
    let environment = [
        ("BEARER_PROXY_ADMIN__LISTEN", "off"),
        ("BEARER_PROXY_UPSTREAM__URL", &site.simulator.origin()),
        ("BEARER_PROXY_OAUTH__TOKEN_URL", &site.simulator.token_url()),
        ("BEARER_PROXY_OAUTH__CLIENT_ID", simulator::CLIENT_ID),
        ("BEARER_PROXY_OAUTH__CLIENT_SECRET", simulator::CLIENT_SECRET),
        ("BEARER_PROXY_STORE__PATH", &store),
    ];
    let mut watch = site.command(&["status", "--watch", "--json"]);
    watch.envs(environment).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = watch.spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut state = async || {
        let line = timeout(PATIENCE, lines.next_line()).await.expect("no line came").unwrap().unwrap();
        serde_json::from_str::<Value>(&line).unwrap()["state"].as_str().unwrap().to_owned()
    };
    assert_eq!(state().await, "needs_login");

    let mut import = site.command(&["import"]);
    import.envs(environment).stdin(Stdio::piped()).stdout(Stdio::null());
    let mut importing = import.spawn().unwrap();
    let token = site.simulator.grant().refresh_token;
    importing.stdin.take().unwrap().write_all(token.as_bytes()).await.unwrap();
    assert!(importing.wait().await.unwrap().success());
    while state().await != "valid" {}

    let pid = Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap()).unwrap();
    kill_process(pid, Signal::INT).unwrap();
    assert_eq!(timeout(PATIENCE, child.wait()).await.unwrap().unwrap().code(), Some(0));
}
