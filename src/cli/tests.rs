//! What commands do against a running proxy's admin listener and a store on disk.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use clap::CommandFactory;
use clap::error::ErrorKind;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;

use super::*;
use crate::admin::{Admin, Listener, Scope, Settings};
use crate::config::ListenAddress;
use crate::metrics::Metrics;
use crate::telemetry::problems::Problems;
use crate::token::live::{LiveToken, View};
use crate::token::refresher::Tokens;
use crate::token::{Access, AccessToken, Generation};

/// A configuration with its store in `folder`, and the admin listener at `admin`.
pub(super) fn config(folder: &Path, admin: &str, more: &[(&str, &str)]) -> Config {
    let path = folder.join("grant.json").display().to_string();
    let base = [
        ("BEARER_PROXY_OAUTH__CLIENT_ID", "7"),
        ("BEARER_PROXY_OAUTH__CLIENT_SECRET", "canary-secret"),
        ("BEARER_PROXY_STORE__PATH", &path),
        ("BEARER_PROXY_ADMIN__LISTEN", admin),
    ];
    let environment = base.iter().chain(more).map(|(name, value)| (name.to_string(), value.to_string()));
    Config::load(&Sources::new(None, environment)).unwrap().config
}

/// An address that nobody listens on.
pub(super) fn nobody() -> String {
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    socket.local_addr().unwrap().to_string()
}

pub(super) fn valid() -> View {
    let obtained_at = Timestamp::now() - SignedDuration::from_hours(1);
    let expires_at = Some(obtained_at + SignedDuration::from_hours(48));
    let access = Access { token: AccessToken::parse("canary-access").unwrap(), obtained_at, expires_at };
    let token = Some(LiveToken::new(Generation(3), &access).unwrap().into());
    View { token, generation: Generation(3), ..View::default() }
}

/// A running proxy's admin listener. Stops with the test.
pub(super) async fn proxy(
    view: View,
    refuse: Option<&'static str>,
    key: Option<&str>,
) -> (SocketAddr, watch::Sender<bool>) {
    let admin = Admin::new(
        Tokens::scripted(view, refuse),
        Metrics::new(),
        watch::Sender::new(false),
        Settings::of_tests(key),
        Problems::default(),
    );
    let listener = Listener::bind(&ListenAddress::Tcp(([127, 0, 0, 1], 0).into()), Scope::Admin).unwrap();
    let ListenAddress::Tcp(address) = *listener.address() else { panic!("not TCP") };
    let (stop, stopped) = watch::channel(false);
    tokio::spawn(listener.serve(Arc::new(admin), stopped));
    (address, stop)
}

fn parse(arguments: &[&str]) -> Result<Arguments, clap::Error> {
    Arguments::try_parse_from([&["bearer-proxy"], arguments].concat())
}

#[test]
fn the_command_line_is_well_formed_and_every_command_has_help() {
    Arguments::command().debug_assert();
    let names: Vec<_> = Arguments::command().get_subcommands().map(|command| command.get_name().to_owned()).collect();
    for name in
        ["init", "serve", "login", "import", "status", "refresh", "wait", "config", "demo", "completions", "man"]
    {
        assert!(names.iter().any(|known| known == name), "{name}");
    }
    for name in names {
        assert_eq!(parse(&[&name, "--help"]).unwrap_err().kind(), ErrorKind::DisplayHelp, "{name}");
        let required: &[&str] = if name == "completions" { &["bash"] } else { &[] };
        assert!(parse(&[&[&name, "--config", "a.toml"], required].concat()).is_ok(), "{name}");
        assert!(parse(&[&["--config", "a.toml", &name], required].concat()).is_ok(), "{name}");
    }
}

#[test]
fn the_help_of_every_command_has_an_example() {
    for command in Arguments::command().get_subcommands() {
        let name = command.get_name();
        let help = parse(&[name, "--help"]).unwrap_err().to_string();
        assert!(help.contains(&format!("\n  bearer-proxy {name}")) || help.contains(&format!(" {name}\n")), "{help}");
        assert!(help.contains("Example"), "{help}");
    }
}

#[test]
fn a_near_miss_gets_a_suggestion() {
    for (arguments, suggestion) in [
        (&["statsu"] as &[_], "'status'"),
        (&["inti"], "'init'"),
        (&["logn"], "'login'"),
        (&["status", "--jsno"], "'--json'"),
        (&["init", "--client"], "'--client-id'"),
        (&["init", "--profile", "pasolution"], "'passolution'"),
    ] {
        let error = parse(arguments).unwrap_err();
        assert!(error.exit_code() == 2 && error.to_string().contains(suggestion), "{arguments:?}: {error}");
    }
}

#[test]
fn completions_and_the_manual_page_know_every_command() {
    let text = |arguments: &[&str]| parse(arguments).unwrap().run().unwrap().text;
    let page = text(&["man"]);
    let scripts = ["bash", "elvish", "fish", "powershell", "zsh"].map(|shell| text(&["completions", shell]));
    for command in Arguments::command().get_subcommands() {
        let name = command.get_name();
        assert!(page.contains(&format!(".SS {name}\n")), "{name} in {page}");
        for script in &scripts {
            assert!(script.contains(name), "{name} in {script}");
        }
    }
    assert!(page.starts_with(".ie") || page.contains(".TH bearer-proxy 1"), "{page}");
    assert!(page.contains("\\-\\-client\\-secret\\-file") || page.contains("client\\-secret\\-file"), "{page}");
    // No section of a command stands beside those of the page.
    let sections: Vec<_> = page.lines().filter_map(|line| line.strip_prefix(".SH ")).collect();
    assert_eq!(sections, ["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "COMMANDS", "VERSION"]);
}

#[test]
fn a_wrong_command_line_is_exit_code_2() {
    for arguments in [
        &["nothing"] as &[_],
        &["status", "--yaml"],
        &["wait", "--timeout", "60"],
        &["wait", "--timeout", "soon"],
        &["import", "def502-a-secret"],
        &["login", "--port", "0"],
        &["login", "--paste", "--port", "4000"],
        &["login", "--paste", "--from-file", "response"],
        &["--config", "a.toml"],
        &[],
    ] {
        assert_eq!(parse(arguments).unwrap_err().exit_code(), 2, "{arguments:?}");
    }
    assert_eq!(parse(&["--version"]).unwrap_err().exit_code(), 0);
    assert!(parse(&["wait", "--timeout", "500ms"]).is_ok());
}

#[test]
fn missing_keys_without_a_file_hint_at_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.toml");
    std::fs::write(&file, "").unwrap();
    let variable = ("BEARER_PROXY_CONFIG", file.display().to_string());
    let unset = ("PATH", String::new());
    for (flag, variable, hinted) in
        [(None, &unset, true), (Some(file.clone()), &unset, false), (None, &variable, false)]
    {
        let failure = load(&Sources::new(flag, [variable.clone()])).unwrap_err();
        assert!(failure.text.contains("oauth.client_id: missing"), "{failure}");
        let hint = "\nno configuration file was read: name one with --config or BEARER_PROXY_CONFIG";
        assert_eq!(failure.text.ends_with(hint), hinted, "{failure}");
    }
}

#[tokio::test]
async fn a_refresh_prints_the_new_state() {
    let folder = tempfile::tempdir().unwrap();
    let (address, _stop) = proxy(valid(), None, Some("key")).await;
    let config = config(folder.path(), &address.to_string(), &[("BEARER_PROXY_ADMIN__KEY", "key")]);
    let outcome = refresh::run(&config).await.unwrap();
    assert_eq!(outcome.exit, Exit::Done);
    assert!(outcome.text.contains("generation 3"), "{}", outcome.text);
}

#[tokio::test]
async fn a_refresh_that_fails_says_why_and_whether_a_login_is_needed() {
    let folder = tempfile::tempdir().unwrap();
    let needs_login = View { needs_login: Some("refused".into()), ..View::default() };
    for (view, exit) in [(View::default(), Exit::Failed), (needs_login, Exit::NeedsLogin)] {
        let (address, _stop) = proxy(view, Some("HTTP 400"), None).await;
        let failure = refresh::run(&config(folder.path(), &address.to_string(), &[])).await.unwrap_err();
        assert_eq!((failure.exit, failure.text.as_str()), (exit, "the token was not refreshed: HTTP 400"));
    }
    let failure = refresh::run(&config(folder.path(), &nobody(), &[])).await.unwrap_err();
    assert!(failure.exit == Exit::Failed && failure.text.starts_with("no proxy runs at 127.0.0.1:"), "{failure}");
    let failure = refresh::run(&config(folder.path(), "off", &[])).await.unwrap_err();
    assert!(failure.text.contains("admin.listen is off"), "{failure}");
}

#[tokio::test]
async fn a_wrong_key_is_told_as_such() {
    let folder = tempfile::tempdir().unwrap();
    let (address, _stop) = proxy(valid(), None, Some("key")).await;
    let config = config(folder.path(), &address.to_string(), &[("BEARER_PROXY_ADMIN__KEY", "canary-key")]);
    let failure = refresh::run(&config).await.unwrap_err();
    assert!(failure.text.contains("401") && failure.text.contains("admin.key"), "{failure}");
    assert!(!failure.text.contains("canary"), "{failure}");
}

mod waiting {
    use super::*;
    use crate::cli::wait::{Options, run};

    fn at_most(timeout: &str) -> Options {
        let arguments = parse(&["wait", "--timeout", timeout]).unwrap();
        match arguments.command {
            Command::Wait(options) => options,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn a_ready_proxy_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let (address, _stop) = proxy(valid(), None, None).await;
        let outcome = run(&config(folder.path(), &address.to_string(), &[]), &at_most("1m")).await.unwrap();
        assert_eq!((outcome.exit, outcome.text.as_str()), (Exit::Done, ""));
    }

    #[tokio::test]
    async fn a_proxy_that_starts_late_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.sock");
        let config = config(folder.path(), &format!("unix:{}", path.display()), &[]);
        let waiting = tokio::spawn(async move { run(&config, &at_most("1m")).await });
        tokio::task::yield_now().await;

        let admin = Admin::new(
            Tokens::scripted(valid(), None),
            Metrics::new(),
            watch::Sender::new(false),
            Settings::of_tests(None),
            Problems::default(),
        );
        let listener = Listener::bind(&ListenAddress::Unix(path), Scope::Admin).unwrap();
        let (_stop, stopped) = watch::channel(false);
        tokio::spawn(listener.serve(Arc::new(admin), stopped));
        assert_eq!(waiting.await.unwrap().unwrap().exit, Exit::Done);
    }

    #[tokio::test]
    async fn giving_up_says_the_last_reasons() {
        let folder = tempfile::tempdir().unwrap();
        let view = View { draining: true, ..valid() };
        let (address, _stop) = proxy(view, None, None).await;
        let failure = run(&config(folder.path(), &address.to_string(), &[]), &at_most("0s")).await.unwrap_err();
        assert_eq!(failure.text, "not ready after 0ns: valid: the proxy is draining");
        let failure = run(&config(folder.path(), &nobody(), &[]), &at_most("0s")).await.unwrap_err();
        assert!(failure.text.contains("no proxy runs at"), "{failure}");
    }

    #[tokio::test]
    async fn without_an_admin_listener_the_probes_are_asked() {
        let folder = tempfile::tempdir().unwrap();
        let (address, _stop) = proxy(valid(), None, None).await;
        let probes = address.to_string();
        let config = config(folder.path(), "off", &[("BEARER_PROXY_PROBES__LISTEN", &probes)]);
        assert_eq!(run(&config, &at_most("1m")).await.unwrap().exit, Exit::Done);
        let config = super::config(folder.path(), "off", &[]);
        assert!(run(&config, &at_most("1m")).await.unwrap_err().text.contains("are off"));
    }
}
