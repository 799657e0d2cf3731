//! The grant `login`: one command and a browser to the first answered request.

use std::net::SocketAddr;
use std::process::Stdio;

use http::StatusCode;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::time::timeout;

use crate::site::{PATIENCE, Ran, Site, User, get};

/// What a browser does: it follows the redirect to the address of the program.
pub async fn browser(url: &str) {
    let (address, path) = redirect(url).await;
    assert_eq!(get(address, &path).await.status(), 200);
}

async fn redirect(url: &str) -> (SocketAddr, String) {
    let (address, path) = split(url);
    split(get(address, &path).await.headers()["location"].to_str().unwrap())
}

fn split(url: &str) -> (SocketAddr, String) {
    let (address, path) = url.strip_prefix("http://").unwrap().split_once('/').unwrap();
    (address.parse().unwrap(), format!("/{path}"))
}

/// Runs `init`, and does what its URL asks for. Also returns the status of the page after the redirect.
async fn logged_in(site: &Site) -> (Ran, Option<StatusCode>) {
    let more = ["--authorize-url", &site.simulator.authorize_url(), "--no-browser"];
    let mut command = site.command(&site.flags("login", &more));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let (mut err, mut page) = (String::new(), None);
    while let Some(line) = timeout(PATIENCE, lines.next_line()).await.expect("no line came").unwrap() {
        err += &format!("{line}\n");
        if line.starts_with(&site.simulator.authorize_url()) {
            let (address, path) = redirect(&line).await;
            page = Some(get(address, &path).await.status());
        }
    }
    let output = timeout(PATIENCE, child.wait_with_output()).await.expect("the program did not end").unwrap();
    (Ran { status: output.status, out: String::from_utf8(output.stdout).unwrap(), err }, page)
}

#[tokio::test]
async fn a_login_needs_one_command_and_a_browser() {
    for user in User::all() {
        let site = Site::new(user).await;
        let (ran, page) = logged_in(&site).await;
        assert_eq!(page, Some(StatusCode::OK));
        assert!(ran.status.success() && ran.out.starts_with("GET /api/v2/countries: 200 OK\n"), "{user:?}: {ran:?}");
        ran.is_without_secrets(&[]);
        assert_eq!(site.files().get("state/grant.json"), Some(&(0o600, user.owner())), "{user:?}");
        assert_eq!(site.simulator.with_ledger(|ledger| ledger.token_calls().len()), 1);
    }
}

#[tokio::test]
async fn a_wrong_secret_is_told_with_the_file_to_correct() {
    let site = Site::new(User::Own).await;
    std::fs::write(site.home().join("given-secret"), "canary-wrong-secret").unwrap();
    let (ran, page) = logged_in(&site).await;
    assert_eq!(page, Some(StatusCode::BAD_REQUEST));
    let expected =
        format!("unchanged.\nThe client secret is in {}/client-secret.\nThe files are", site.dir().display());
    assert!(ran.status.code() == Some(1) && ran.err.contains(&expected), "{ran:?}");
    assert!(ran.err.contains("refused the client's credentials") && !ran.err.contains("canary"), "{ran:?}");
}

#[tokio::test]
async fn a_login_that_fails_says_how_to_go_on() {
    let site = Site::new(User::Own).await;
    let more = ["--authorize-url", &site.simulator.authorize_url(), "--no-browser", "--timeout", "1s"];
    let ran = site.run(&site.flags("login", &more), "").await;
    let expected = format!("To go on: bearer-proxy --config {}/config.toml login\n", site.dir().display());
    assert!(ran.status.code() == Some(1) && ran.out.is_empty() && ran.err.ends_with(&expected), "{ran:?}");
    ran.is_without_secrets(&[]);
}
