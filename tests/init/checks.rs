//! `init` makes the checks of `check`, and prints what it finds with the same ids.

use crate::site::{Site, User};

/// The flags with another value of one.
fn with(mut flags: Vec<String>, flag: &str, value: &str) -> Vec<String> {
    let at = flags.iter().position(|given| given == flag).unwrap();
    flags[at + 1] = value.to_owned();
    flags
}

#[tokio::test]
async fn a_server_that_is_down_is_found_before_the_login() {
    let site = Site::new(User::Own).await;
    let more = ["--authorize-url", &site.simulator.authorize_url(), "--no-browser", "--timeout", "1s"];
    // Nobody listens on port 1.
    let flags = with(site.flags("login", &more), "--upstream-url", "http://127.0.0.1:1");
    let ran = site.run(&flags, "").await;
    let found = ran.err.find("fail  tcp-refused: 127.0.0.1:1 (upstream): connection refused").unwrap();
    let asked = ran.err.find("Open this URL in your browser").unwrap();
    assert!(found < asked, "{ran:?}");
    assert!(ran.err.contains("\n        fix: start the server,"), "{ran:?}");
    // No call was made: neither with the secret, nor with a token.
    assert_eq!(site.simulator.with_ledger(|ledger| ledger.token_calls().len()), 0);
}

#[tokio::test]
async fn a_setup_without_a_fault_has_no_finding_but_that_of_a_test_folder() {
    let site = Site::new(User::Own).await;
    let token = site.simulator.grant().refresh_token;
    let ran = site.init("refresh_token", &["--refresh-token-file", "-"], &token).await;
    let findings: Vec<_> =
        ran.err.lines().filter(|line| line.starts_with("  warn") || line.starts_with("  fail")).collect();
    assert!(findings.iter().all(|line| line.contains("store-ephemeral: ")), "{ran:?}");
    assert!(ran.err.contains("bearer-proxy: checked: "), "{ran:?}");
}

#[tokio::test]
async fn a_first_request_that_fails_is_explained_by_the_checks() {
    let site = Site::new(User::Own).await;
    std::fs::write(site.home().join("given-secret"), "canary-wrong-secret").unwrap();
    let ran = site.run(&site.flags("client_credentials", &[]), "").await;
    let found = ran.err.find("fail  client-rejected: the token endpoint rejects the client: HTTP 401").unwrap();
    // The failure stays in view at the end.
    assert!(found < ran.err.find("the first request failed").unwrap() && !ran.err.contains("canary"), "{ran:?}");

    std::fs::write(site.home().join("given-secret"), simulator::CLIENT_SECRET).unwrap();
    let flags = site.flags("client_credentials", &["--overwrite"]);
    let ran = site.run(&with(flags, "--request-path", "/api/v2/forbidden"), "").await;
    assert!(ran.err.contains("GET /api/v2/forbidden: 403"), "{ran:?}");
}
