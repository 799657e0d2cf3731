//! `status` for a person and for a program: colours, and a watch that shows each change until a signal.

use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::time::timeout;

use crate::session::Session;
use crate::site::{PATIENCE, Site, User};

const CLEAR: &str = "\x1b[H\x1b[2J";

/// The configuration of a proxy that does not run: its status is that of the store.
fn environment(site: &Site) -> [(&'static str, String); 6] {
    [
        ("BEARER_PROXY_ADMIN__LISTEN", "off".to_owned()),
        ("BEARER_PROXY_UPSTREAM__URL", site.simulator.origin()),
        ("BEARER_PROXY_OAUTH__TOKEN_URL", site.simulator.token_url()),
        ("BEARER_PROXY_OAUTH__CLIENT_ID", simulator::CLIENT_ID.to_owned()),
        ("BEARER_PROXY_OAUTH__CLIENT_SECRET", simulator::CLIENT_SECRET.to_owned()),
        ("BEARER_PROXY_STORE__PATH", site.home().join("grant.json").display().to_string()),
    ]
}

async fn import(site: &Site) {
    let mut import = site.command(&["import"]);
    import.envs(environment(site)).stdin(Stdio::piped()).stdout(Stdio::null());
    let mut importing = import.spawn().unwrap();
    let token = site.simulator.grant().refresh_token;
    importing.stdin.take().unwrap().write_all(token.as_bytes()).await.unwrap();
    assert!(importing.wait().await.unwrap().success());
}

/// https://no-color.org: the variable counts if it is set and not empty.
#[tokio::test]
async fn a_terminal_gets_colours_unless_no_color_is_set() {
    let site = Site::new(User::Own).await;
    for (no_color, coloured) in [(None, true), (Some(""), true), (Some("1"), false)] {
        let command = |arguments: &[&str]| {
            let mut command = site.command(arguments);
            command.envs(environment(&site)).envs(no_color.map(|value| ("NO_COLOR", value)));
            command
        };
        let mut status = Session::start(command(&["status"]));
        status.shows("to do").await;
        status.ended().await;
        assert_eq!(status.screen.borrow().contains("\x1b[31mneeds_login\x1b[0m"), coloured, "{no_color:?}");

        let mut serve = command(&["serve"]);
        serve.env("BEARER_PROXY_LISTEN", "127.0.0.1:0");
        let mut serve = Session::start(serve);
        serve.shows("the grant needs a login").await;
        assert_eq!(serve.screen.borrow().contains("\x1b["), coloured, "{no_color:?}");
    }
    // A pipe gets none.
    let mut status = site.command(&["status"]);
    let piped = status.envs(environment(&site)).output().await.unwrap();
    let text = String::from_utf8(piped.stdout).unwrap();
    assert!(text.contains("needs_login") && !text.contains('\x1b'), "{text}");
}

#[tokio::test]
async fn a_watched_status_on_a_terminal_is_one_page_that_ctrl_c_ends() {
    let site = Site::new(User::Own).await;
    let mut watch = site.command(&["status", "--watch"]);
    watch.envs(environment(&site)).env("NO_COLOR", "1");
    let mut session = Session::start_in_foreground(&watch);
    session.shows(&format!("{CLEAR}state         needs_login")).await;
    import(&site).await;
    session.shows(&format!("{CLEAR}state         valid")).await;
    session.shows("store         file").await;
    session.types("\x03");
    // As `status` would end now.
    assert_eq!(session.ended().await.code(), Some(0));
    assert_eq!(session.modes(), session.before);
}

#[tokio::test]
async fn a_watched_status_prints_each_change_and_ends_on_a_signal() {
    let site = Site::new(User::Own).await;
    let mut watch = site.command(&["status", "--watch", "--json"]);
    watch.envs(environment(&site)).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = watch.spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut state = async || {
        let line = timeout(PATIENCE, lines.next_line()).await.expect("no line came").unwrap().unwrap();
        serde_json::from_str::<Value>(&line).unwrap()["state"].as_str().unwrap().to_owned()
    };
    assert_eq!(state().await, "needs_login");

    import(&site).await;
    while state().await != "valid" {}

    let pid = Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap()).unwrap();
    kill_process(pid, Signal::INT).unwrap();
    assert_eq!(timeout(PATIENCE, child.wait()).await.unwrap().unwrap().code(), Some(0));
}
