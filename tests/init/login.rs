//! The grant `login`: one command and a browser to the first answered request.

use std::net::SocketAddr;
use std::process::Stdio;

use simulator::CLIENT_SECRET;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::time::timeout;

use crate::site::{PATIENCE, Site, User, get};

/// What a browser does: it follows the redirect to the address of the program.
pub async fn browser(url: &str) {
    let (address, path) = split(url);
    let response = get(address, &path).await;
    let (address, path) = split(response.headers()["location"].to_str().unwrap());
    assert_eq!(get(address, &path).await.status(), 200);
}

fn split(url: &str) -> (SocketAddr, String) {
    let (address, path) = url.strip_prefix("http://").unwrap().split_once('/').unwrap();
    (address.parse().unwrap(), format!("/{path}"))
}

#[tokio::test]
async fn a_login_needs_one_command_and_a_browser() {
    for user in User::all() {
        let site = Site::new(user).await;
        let more = ["--authorize-url", &site.simulator.authorize_url(), "--no-browser"];
        let mut command = site.command(&site.flags("login", &more));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut said = String::new();
        while let Some(line) = timeout(PATIENCE, lines.next_line()).await.expect("no line came").unwrap() {
            said += &format!("{line}\n");
            if line.starts_with(&site.simulator.authorize_url()) {
                browser(&line).await;
            }
        }
        let output = timeout(PATIENCE, child.wait_with_output()).await.expect("the program did not end").unwrap();
        let out = String::from_utf8(output.stdout).unwrap();
        assert!(
            output.status.success() && out.starts_with("GET /api/v2/countries: 200 OK\n"),
            "{user:?}: {out}\n{said}"
        );
        assert!(!said.contains(CLIENT_SECRET) && !out.contains(CLIENT_SECRET), "{said}\n{out}");
        assert_eq!(site.files().get("state/grant.json"), Some(&(0o600, user.owner())), "{user:?}");
        assert_eq!(site.simulator.with_ledger(|ledger| ledger.token_calls().len()), 1);
    }
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
