//! `init` asks at a terminal: answers by number and name, secrets that are not shown, and a terminal that is left as it was.

use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, chown};
use std::process::Stdio;
use std::time::Duration;

use simulator::{CLIENT_ID, CLIENT_SECRET};
use tokio::time::timeout;

use crate::session::Session;
use crate::site::{PATIENCE, Site, User};

#[tokio::test]
async fn a_person_answers_and_the_secret_is_not_shown() {
    let site = Site::new(User::Own).await;
    let (dir, api, token_url) = (site.dir().display().to_string(), site.simulator.origin(), site.simulator.token_url());
    let flags = ["init", "--dir", &dir, "--token-url", &token_url, "--upstream-url", &api];
    let mut session = Session::start(site.command(&flags));
    session.answers("Choice [1]:", "3000").await;
    session.shows("invalid choice \"3000\": expected 1 to 3").await;
    session.answers("Choice [1]:", "client_credentials").await;
    session.answers("Choice [1]:", "").await;
    session.answers("Client id:", "").await;
    session.answers("Client id:", CLIENT_ID).await;
    session.shows("Client secret (not shown):").await;
    // Corrections: Backspace, and Ctrl-U.
    session.types(&format!("wrong\x15{CLIENT_SECRET}x\x7f\r"));
    session.shows("200 OK").await;
    session.shows("# Is it working?").await;
    assert!(session.ended().await.success());
    assert_eq!(session.modes(), session.before);
    let screen = session.screen.borrow().clone();
    assert!(!screen.contains(CLIENT_SECRET) && !screen.contains("wrong"), "{screen}");
    assert_eq!(fs::read_to_string(site.dir().join("client-secret")).unwrap(), CLIENT_SECRET);
}

#[tokio::test]
async fn a_slip_is_asked_for_again_at_once() {
    let site = Site::new(User::Own).await;
    let (dir, api, token_url) = (site.dir().display().to_string(), site.simulator.origin(), site.simulator.token_url());
    let flags = ["init", "--dir", &dir, "--grant", "client_credentials", "--profile", "custom"];
    let mut session = Session::start(site.command(&flags));
    session.answers("URL of the API", "api.example/v1").await;
    session.shows("invalid answer \"api.example/v1\": expected a whole URL, such as https://").await;
    session.answers("URL of the API", &api).await;
    session.answers("URL of the token endpoint", &token_url).await;
    session.answers("Client id:", CLIENT_ID).await;
    session.answers("Client secret", CLIENT_SECRET).await;
    session.answers("Path of a first request", "countries").await;
    session.shows("invalid answer \"countries\": expected a path that begins with `/`").await;
    // The default.
    session.answers("Path of a first request", "").await;
    session.shows("GET /: 302 Found: the API answered, and did not refuse the token.").await;
    // In view, below the ways to run the proxy.
    session.shows("# The first request was answered. GET /: 302 Found").await;
    assert!(session.ended().await.success());
}

#[tokio::test]
async fn a_long_refresh_token_is_read_whole() {
    let site = Site::new(User::Own).await;
    // Longer than the 4,095 bytes of a line that the kernel gathers. The server does not know it.
    let token = "r".repeat(16 * 1024);
    let mut session = Session::start(site.command(&site.flags("refresh_token", &[])));
    session.shows("Refresh token (not shown):").await;
    session.types(&format!("{token}\r"));
    session.shows("the token endpoint refused this refresh token").await;
    assert_eq!(session.ended().await.code(), Some(1));
    assert!(!session.screen.borrow().contains("rrrr"));
}

#[tokio::test]
async fn ctrl_c_and_a_signal_leave_the_terminal_as_it_was() {
    for by_signal in [false, true] {
        let site = Site::new(User::Own).await;
        let mut flags = site.flags("client_credentials", &[]);
        let at = flags.iter().position(|flag| flag == "--client-secret-file").unwrap();
        flags.drain(at..at + 2);
        let mut session = Session::start(site.command(&flags));
        session.shows("Client secret (not shown):").await;
        session.types("canary-half");
        if by_signal {
            let pid = i32::try_from(session.child.id().unwrap()).unwrap();
            let pid = rustix::process::Pid::from_raw(pid).unwrap();
            rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        } else {
            session.types("\x03");
        }
        session.shows("interrupted; nothing was written").await;
        assert_eq!(session.ended().await.code(), Some(1));
        assert_eq!(session.modes(), session.before);
        assert!(!site.dir().exists() && !session.screen.borrow().contains("canary"), "{}", *session.screen.borrow());
    }
}

#[tokio::test]
async fn a_signal_ends_the_wait_for_the_store_after_the_questions() {
    let site = Site::new(User::Own).await;
    let state = site.dir().join("state");
    fs::create_dir_all(&state).unwrap();
    fs::set_permissions(&state, fs::Permissions::from_mode(0o700)).unwrap();
    // Another process holds the right to refresh.
    let lease = state.join("grant.json.lease");
    fs::write(&lease, r#"{"owner":"another","fence":1,"duration_ms":3600000}"#).unwrap();
    for path in [&state, &lease] {
        chown(path, Some(User::Own.owner()), None).unwrap();
    }
    let held = File::open(&lease).unwrap();
    held.lock().unwrap();
    let mut session = Session::start(site.command(&site.flags("refresh_token", &[])));
    session.answers("Refresh token (not shown):", "canary-token").await;
    session.shows("wrote ").await;
    session.shows("checked: ").await;
    let pid = rustix::process::Pid::from_raw(i32::try_from(session.child.id().unwrap()).unwrap()).unwrap();
    // A signal before the wait has no effect, so this repeats it.
    let ended = async {
        loop {
            rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
            if let Ok(status) = timeout(Duration::from_millis(50), session.child.wait()).await {
                return status.unwrap();
            }
        }
    };
    let status = timeout(PATIENCE, ended).await.expect("the program did not end");
    session.shows("ended by SIGINT, while it waited for the store").await;
    assert_eq!(status.code(), Some(1));
    assert!(!site.dir().join("state/grant.json").exists());
}

#[tokio::test]
async fn files_are_replaced_only_on_a_yes() {
    let site = Site::new(User::Own).await;
    site.init("client_credentials", &[], "").await;
    let config = site.dir().join("config.toml");
    fs::write(&config, "# mine\n").unwrap();
    let mut session = Session::start(site.command(&site.flags("client_credentials", &[])));
    session.answers("[y/N]", "").await;
    session.shows("nothing was changed").await;
    assert_eq!(session.ended().await.code(), Some(1));
    assert_eq!(fs::read_to_string(&config).unwrap(), "# mine\n");
    let mut session = Session::start(site.command(&site.flags("client_credentials", &[])));
    session.answers("[y/N]", "y").await;
    session.shows("200 OK").await;
    assert!(session.ended().await.success());
}

#[tokio::test]
async fn work_of_more_than_a_second_is_shown_on_a_terminal_and_not_in_a_pipe() {
    let site = Site::new(User::Own).await;
    let wait = || {
        let mut wait = site.command(&["wait", "--timeout", "2s"]);
        // Nobody listens on port 1.
        wait.env("BEARER_PROXY_ADMIN__LISTEN", "127.0.0.1:1");
        wait.env("BEARER_PROXY_OAUTH__CLIENT_ID", "7").env("BEARER_PROXY_OAUTH__CLIENT_SECRET", "s");
        wait
    };
    let mut session = Session::start(wait());
    session.shows("waiting until the proxy is ready … 1 s").await;
    session.shows("\r\u{1b}[K").await;
    session.shows("not ready after 2s").await;
    assert_eq!(session.ended().await.code(), Some(1));
    let piped = timeout(PATIENCE, wait().stdin(Stdio::null()).output()).await.unwrap().unwrap();
    let said = String::from_utf8(piped.stderr).unwrap();
    assert!(said.starts_with("bearer-proxy: not ready after 2s") && piped.stdout.is_empty(), "{said}");
}
