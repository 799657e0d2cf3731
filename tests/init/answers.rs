//! Every answer as a flag: the grant is obtained, the files are private, and nothing is replaced unasked.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use simulator::CLIENT_SECRET;
use tokio::net::TcpListener;
use tokio::time::timeout;

use crate::site::{PATIENCE, Serving, Site, User};

#[tokio::test]
async fn client_credentials_need_one_command_to_the_first_200() {
    for user in User::all() {
        let site = Site::new(user).await;
        let ran = site.init("client_credentials", &[], "").await;
        ran.is_without_secrets(&[]);
        let root = if user == User::Own { rustix::process::geteuid().as_raw() } else { user.owner() };
        let owner = user.owner();
        let expected = BTreeMap::from([
            ("client-secret".to_owned(), (0o600, owner)),
            ("config.toml".to_owned(), (0o644, root)),
            ("state".to_owned(), (0o700, owner)),
        ]);
        assert_eq!(site.files(), expected, "{user:?}");
        assert_eq!(fs::read_to_string(site.dir().join("client-secret")).unwrap(), CLIENT_SECRET);
        let config = fs::read_to_string(site.dir().join("config.toml")).unwrap();
        assert!(config.contains("grant = \"client_credentials\"") && !config.contains(CLIENT_SECRET), "{config}");
        assert!(!config.contains("[store]"), "{config}");
    }
}

#[tokio::test]
async fn a_refresh_token_is_presented_once_and_its_successor_serves() {
    for user in User::all() {
        let site = Site::new(user).await;
        let token = site.simulator.grant().refresh_token;
        let ran = site.init("refresh_token", &["--refresh-token-file", "-"], &token).await;
        ran.is_without_secrets(&[&token]);
        assert_eq!(site.files().get("state/grant.json"), Some(&(0o600, user.owner())), "{user:?}");
        assert_eq!(site.simulator.with_ledger(|ledger| ledger.token_calls().len()), 1);

        // Another process goes on from there, without a login.
        let config = site.dir().join("config.toml").display().to_string();
        let program = site.program().display().to_string();
        let words = [user.wrapper(), vec![program, "--config".into(), config, "serve".into()]].concat();
        let serving = Serving::start(&words, &[]).await;
        assert_eq!(serving.get("/api/v2/countries").await, 200);
        assert_eq!(site.simulator.with_ledger(|ledger| ledger.token_calls().len()), 1);
    }
}

#[tokio::test]
async fn a_response_of_the_token_endpoint_is_stored_as_it_is() {
    let site = Site::new(User::Own).await;
    let grant = site.simulator.grant();
    let response = serde_json::json!({
        "token_type": "Bearer", "expires_in": 3600,
        "access_token": grant.access_token, "refresh_token": grant.refresh_token,
    });
    let file = site.home().join("response.json");
    fs::write(&file, response.to_string()).unwrap();
    let ran = site.init("refresh_token", &["--refresh-token-file", file.to_str().unwrap()], "").await;
    ran.is_without_secrets(&[&grant.access_token, &grant.refresh_token]);
    assert_eq!(site.simulator.with_ledger(|ledger| ledger.token_calls().len()), 0);
}

#[tokio::test]
async fn the_secret_comes_from_standard_input_too() {
    let site = Site::new(User::Own).await;
    let mut flags = site.flags("client_credentials", &[]);
    *flags.iter_mut().find(|flag| flag.ends_with("given-secret")).unwrap() = "-".to_owned();
    let ran = site.run(&flags, &format!("{CLIENT_SECRET}\r\n")).await;
    assert!(ran.status.success() && ran.out.starts_with("GET /api/v2/countries: 200 OK\n"), "{ran:?}");
    assert_eq!(fs::read_to_string(site.dir().join("client-secret")).unwrap(), CLIENT_SECRET);

    let both = [flags, ["--overwrite", "--refresh-token-file", "-"].map(str::to_owned).to_vec()].concat();
    let ran = site.run(&both, "x").await;
    assert!(ran.status.code() == Some(1) && ran.err.contains("can't hold both"), "{ran:?}");
}

#[tokio::test]
async fn without_a_terminal_a_missing_answer_is_an_error_that_names_the_flag() {
    let site = Site::new(User::Own).await;
    let dir = site.dir().display().to_string();
    let rows: [(&[&str], &[&str]); 5] = [
        (&[], &["--grant", "--profile", "--client-id", "--client-secret-file"]),
        (
            &["--profile", "priava", "--grant", "login"],
            &["--client-id", "--client-secret-file", "--redirect-uri", "--region"],
        ),
        (
            &["--profile", "priava", "--grant", "client_credentials"],
            &["--client-id", "--client-secret-file", "--region"],
        ),
        (
            &["--profile", "custom", "--grant", "login", "--no-client-secret"],
            &["--upstream-url", "--token-url", "--authorize-url", "--client-id"],
        ),
        (
            &["--profile", "passolution", "--grant", "refresh_token", "--client-id", "7", "--no-client-secret"],
            &["--refresh-token-file"],
        ),
    ];
    for (given, missing) in rows {
        let ran = site.run(&[&["init", "--dir", &dir], given].concat(), "").await;
        let expected = format!(
            "bearer-proxy: answers are missing, and there is no terminal to ask: pass {}\n",
            missing.join(", ")
        );
        assert_eq!((ran.status.code(), ran.out.as_str(), ran.err), (Some(1), "", expected), "{given:?}");
        assert!(!site.dir().exists());
    }
}

#[tokio::test]
async fn a_wrong_answer_is_found_before_anything_is_written() {
    let site = Site::new(User::Own).await;
    for (flag, value, part) in [
        ("--token-url", "http://login.example/token", "oauth.token_url (--token-url): "),
        ("--client-id", "two\nlines", "oauth.client_id (--client-id): "),
        ("--redirect-uri", "/callback", "oauth.redirect_uri (--redirect-uri): "),
    ] {
        let mut flags = site.flags("refresh_token", &["--refresh-token-file", "-"]);
        if let Some(at) = flags.iter().position(|given| given == flag) {
            flags.drain(at..at + 2);
        }
        flags.extend([flag.to_owned(), value.to_owned()]);
        let ran = site.run(&flags, "a-refresh-token").await;
        assert!(ran.status.code() == Some(78) && ran.err.contains(part), "{flag}: {ran:?}");
        assert!(ran.err.starts_with("bearer-proxy: nothing was written, because of:\n"), "{ran:?}");
        assert!(!site.dir().exists());
        ran.is_without_secrets(&[]);
    }
    let ran = site.run(&["init", "--dir", "/tmp/a b"], "").await;
    assert!(ran.status.code() == Some(1) && ran.err.contains("invalid --dir \"/tmp/a b\""), "{ran:?}");
}

#[tokio::test]
async fn nothing_is_replaced_unasked() {
    let site = Site::new(User::Own).await;
    site.init("client_credentials", &[], "").await;
    let config = site.dir().join("config.toml");
    fs::write(&config, "# mine\n").unwrap();
    let ran = site.run(&site.flags("client_credentials", &[]), "").await;
    let expected = format!(
        "bearer-proxy: these files exist: {0}/config.toml, {0}/client-secret; pass --overwrite to replace them, or name another --dir\n",
        site.dir().display()
    );
    assert_eq!((ran.status.code(), ran.err), (Some(1), expected));
    assert_eq!(fs::read_to_string(&config).unwrap(), "# mine\n");

    site.init("client_credentials", &["--overwrite"], "").await;
    assert!(fs::read_to_string(&config).unwrap().starts_with("# Written by"));
}

#[tokio::test]
async fn a_link_is_replaced_and_not_followed() {
    let site = Site::new(User::Own).await;
    let victim = site.home().join("victim");
    fs::write(&victim, "untouched").unwrap();
    fs::create_dir(site.dir()).unwrap();
    for name in ["config.toml", "client-secret", ".config.toml.new", ".client-secret.new"] {
        symlink(&victim, site.dir().join(name)).unwrap();
    }
    site.init("client_credentials", &["--overwrite"], "").await;
    assert_eq!(fs::read_to_string(&victim).unwrap(), "untouched");
    assert!(fs::symlink_metadata(site.dir().join("client-secret")).unwrap().is_file());
}

#[tokio::test]
async fn a_directory_of_another_user_is_left_alone() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let site = Site::new(User::Other).await;
    fs::create_dir(site.dir()).unwrap();
    let ran = site.run(&site.flags("client_credentials", &[]), "").await;
    assert!(
        ran.status.code() == Some(1) && ran.err.contains("belongs to uid 0, and this process acts as uid"),
        "{ran:?}"
    );
    assert_eq!(fs::read_dir(site.dir()).unwrap().count(), 0);
}

#[tokio::test]
async fn an_answer_that_is_none_is_a_failure_with_a_reason() {
    let site = Site::new(User::Own).await;
    for (path, part) in [
        ("/api/v2/always-401", "GET /api/v2/always-401: 401 Unauthorized: the API refuses the token"),
        ("/api/v2/forbidden", "GET /api/v2/forbidden: 403 Forbidden: the API accepts the token, but not for this path"),
        ("/api/v2/broken", "GET /api/v2/broken: 503 Service Unavailable: the API failed"),
    ] {
        let flags = site.flags("client_credentials", &["--overwrite"]);
        let flags: Vec<_> =
            flags.into_iter().map(|flag| if flag == "/api/v2/countries" { path.to_owned() } else { flag }).collect();
        let ran = site.run(&flags, "").await;
        assert!(ran.status.code() == Some(1) && ran.out.is_empty() && ran.err.contains(part), "{path}: {ran:?}");
        // The files are right, so the person learns how to run the proxy.
        assert!(ran.err.contains("# Run it as a service") && ran.err.contains("# Run it in Compose"), "{ran:?}");
        let config = site.dir().join("config.toml").display().to_string();
        assert!(ran.err.ends_with(&format!("To go on: bearer-proxy --config {config} check\n")), "{ran:?}");
        assert!(!ran.err.contains("..\n") && !ran.err.contains(".. "), "{ran:?}");
    }
    // A secret that the server does not know: the proxy has no token to send.
    fs::write(site.home().join("given-secret"), "canary-wrong-secret").unwrap();
    let ran = site.run(&site.flags("client_credentials", &["--overwrite"]), "").await;
    // At once, and not after the time for which a request waits for a token.
    let cause = "\nbearer-proxy: the first request failed: no token was obtained: ";
    let (_, cause) = ran.err.split_once(cause).unwrap_or_else(|| panic!("{ran:?}"));
    assert!(ran.status.code() == Some(1) && cause.contains("invalid_client"), "{ran:?}");
    assert!(!ran.err.contains("canary"), "{ran:?}");
}

#[tokio::test]
async fn a_proxy_from_the_environment_is_one_that_a_service_lacks() {
    let site = Site::new(User::Own).await;
    let mut command = site.command(&site.flags("client_credentials", &[]));
    command.env("HTTPS_PROXY", "http://user:canary@127.0.0.1:9").env("NO_PROXY", "*");
    let output = timeout(PATIENCE, command.stdin(Stdio::null()).output()).await.expect("it did not end").unwrap();
    let err = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && err.contains("warning: HTTPS_PROXY gives the outbound proxy"), "{err}");
    assert!(err.contains("outbound.proxy") && !err.contains("canary"), "{err}");
}

#[tokio::test]
async fn replaced_files_are_kept_and_named_if_the_new_ones_fail() {
    for user in User::all() {
        let site = Site::new(user).await;
        site.init("client_credentials", &[], "").await;
        let config = fs::read_to_string(site.dir().join("config.toml")).unwrap();
        for number in [1, 2] {
            fs::write(site.home().join("given-secret"), "canary-wrong-secret").unwrap();
            let ran = site.run(&site.flags("client_credentials", &["--overwrite"]), "").await;
            let named =
                format!("{0}/client-secret.old{number}, {0}/config.toml.old{number}. To go on", site.dir().display());
            assert!(ran.status.code() == Some(1) && ran.err.contains(&named), "{ran:?}");
        }
        assert_eq!(fs::read_to_string(site.dir().join("client-secret.old1")).unwrap(), CLIENT_SECRET);
        assert_eq!(fs::read_to_string(site.dir().join("config.toml.old1")).unwrap(), config);
        assert_eq!(site.files().get("client-secret.old1"), Some(&(0o600, user.owner())), "{user:?}");
    }
}

#[tokio::test]
async fn root_writes_nothing_where_the_owner_cannot_pass() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let site = Site::new(User::Own).await;
    fs::set_permissions(site.home(), fs::Permissions::from_mode(0o700)).unwrap();
    let ran = site.run(&site.flags("client_credentials", &[]), "").await;
    let home = fs::canonicalize(site.home()).unwrap().display().to_string();
    let expected = format!("cannot pass through {home} (mode 0700): run chmod o+x {home}");
    assert!(ran.status.code() == Some(1) && ran.err.contains(&expected), "{ran:?}");
    assert!(!site.dir().exists());
}

#[tokio::test]
async fn a_signal_during_the_first_request_says_how_to_go_on() {
    let site = Site::new(User::Own).await;
    let api = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", api.local_addr().unwrap());
    let mut flags = site.flags("client_credentials", &[]);
    let at = flags.iter().position(|flag| flag == "--upstream-url").unwrap();
    flags[at + 1] = url;
    let mut command = site.command(&flags);
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let accepted = timeout(PATIENCE, api.accept()).await.expect("no request came").unwrap();
    let pid = Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap()).unwrap();
    kill_process(pid, Signal::INT).unwrap();
    let output = timeout(PATIENCE, child.wait_with_output()).await.expect("the program did not end").unwrap();
    drop(accepted);
    let err = String::from_utf8(output.stderr).unwrap();
    let expected = format!("To go on: bearer-proxy --config {}/config.toml check\n", site.dir().display());
    assert!(output.status.code() == Some(1) && err.contains("ended by SIGINT") && err.ends_with(&expected), "{err}");
}
