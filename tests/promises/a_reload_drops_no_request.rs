//! A changed file or SIGHUP: a valid configuration takes effect within 5 s and drops no request. An invalid one changes nothing.

use std::path::{Path, PathBuf};
use std::time::Duration;

use http::{Method, StatusCode};
use simulator::{Options, Simulator};
use tokio::time::{Instant, timeout};

use testkit::{Client, Proxy, request};

/// The promised time, without an allowance.
const WITHIN: Duration = Duration::from_secs(5);

fn write(path: &Path, text: &str) {
    // An editor replaces the file. The name never points to half a file.
    let new = path.with_extension("new");
    std::fs::write(&new, text).unwrap();
    std::fs::rename(new, path).unwrap();
}

async fn until(proxy: &Proxy, what: &str, mut holds: impl AsyncFnMut(&Proxy) -> bool) {
    let wait = async {
        while !holds(proxy).await {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    if timeout(WITHIN, wait).await.is_err() {
        panic!("not within {WITHIN:?}: {what}\n{}", proxy.log().join("\n"));
    }
}

async fn started(simulator: &Simulator, text: &str) -> (Proxy, PathBuf) {
    let setup = Proxy::before(simulator);
    let file = setup.folder().join("proxy.toml");
    write(&file, text);
    let proxy = setup.set("CONFIG", file.display()).start().await;
    proxy.ready().await;
    (proxy, file)
}

#[tokio::test]
async fn a_changed_file_takes_effect_and_drops_no_request() {
    let simulator = Simulator::start(Options::league8()).await.unwrap();
    let (proxy, file) =
        started(&simulator, "[guard]\nallow = [\"GET /api/v2/version\", \"GET /api/v2/events\"]\n").await;
    assert_eq!(proxy.get("/api/v2/countries").await.problem(), "not-allowed");
    let address = proxy.address();
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let load = tokio::spawn(async move {
        let mut client = Client::http1(address).await;
        let mut sent = 0;
        while !*stopped.borrow() {
            assert_eq!(client.get("/api/v2/version").await.status, StatusCode::OK);
            sent += 1;
        }
        sent
    });
    // A long response that began before the change arrives complete after it.
    let long = tokio::spawn(async move { Client::http1(address).await.get("/api/v2/events?n=12&every=500").await });
    write(&file, "[guard]\nallow = [\"GET /api/v2/*\"]\n");
    until(&proxy, "the new allow-list", async |proxy| proxy.get("/api/v2/countries").await.status == StatusCode::OK)
        .await;
    write(&file, "[guard]\nallow = [\"GET /api/v2/version\"]\n");
    until(&proxy, "the old one again", async |proxy| {
        proxy.get("/api/v2/countries").await.status == StatusCode::FORBIDDEN
    })
    .await;
    stop.send_replace(true);
    assert!(load.await.unwrap() > 0);
    let long = long.await.unwrap();
    assert_eq!(long.status, StatusCode::OK);
    assert_eq!(long.text().matches("data:").count(), 12, "whole, though its path is no longer allowed");
    assert_eq!(simulator.with_ledger(|ledger| ledger.token_calls().len()), 1, "a reload presents nothing");
    proxy.stop().await;
}

#[tokio::test]
async fn an_invalid_file_is_refused_whole_and_the_old_one_stays() {
    let simulator = Simulator::start(Options::league8()).await.unwrap();
    let (proxy, file) = started(&simulator, "[guard]\nallow = [\"GET /api/v2/version\"]\n").await;
    write(&file, "[guard]\nallow = [\"GET /api/v2/*\"]\nidle_timeuot = \"1s\"\n");
    let refused =
        |proxy: &Proxy| proxy.log().iter().any(|line| line.contains("idle_timeuot") && line.contains("old one stays"));
    until(&proxy, "the refusal in the log", async |proxy| refused(proxy)).await;
    assert_eq!(proxy.get("/api/v2/countries").await.problem(), "not-allowed");
    assert_eq!(proxy.get("/api/v2/version").await.status, StatusCode::OK);
    proxy.stop().await;
}

#[tokio::test]
async fn a_key_that_needs_a_restart_is_named() {
    let simulator = Simulator::start(Options::league8()).await.unwrap();
    let (proxy, file) = started(&simulator, "listen_mode = \"0660\"\n").await;
    write(&file, "listen_mode = \"0600\"\n");
    let named =
        |proxy: &Proxy| proxy.log().iter().any(|line| line.contains("listen_mode") && line.contains("next start"));
    until(&proxy, "the warning", async |proxy| named(proxy)).await;
    proxy.stop().await;
}

#[tokio::test]
async fn a_listener_loses_no_guard_because_the_next_one_will_not_need_it() {
    let simulator = Simulator::start(Options::league8()).await.unwrap();
    let setup = Proxy::before(&simulator).unset("ADMIN__LISTEN").unset("LISTEN");
    let (file, key) = (setup.folder().join("proxy.toml"), "0123456789abcdef0123456789abcdef");
    write(&file, &format!("listen = \"127.0.0.1:0\"\n[admin]\nlisten = \"0.0.0.0:0\"\nkey = \"{key}\"\n"));
    let proxy = setup.set("CONFIG", file.display()).start().await;
    assert_eq!(proxy.admin(Method::GET, "/status").await.status, StatusCode::UNAUTHORIZED);
    // Only the bound address shows now that a key and hosts are needed.
    write(&file, "listen = \"0.0.0.0:0\"\n[admin]\nlisten = \"127.0.0.1:0\"\n[log]\nlevel = \"debug\"\n");
    let named = |line: &String| {
        line.contains("next start") && ["guard.hosts", "admin.key"].iter().all(|key| line.contains(key))
    };
    until(&proxy, "the warning", async |proxy| proxy.log().iter().any(named)).await;
    assert_eq!(proxy.admin(Method::GET, "/status").await.status, StatusCode::UNAUTHORIZED);
    let mut foreign = request(Method::GET, "/api/v2/version");
    foreign.headers_mut().insert(http::header::HOST, http::HeaderValue::from_static("rebound.example"));
    assert_eq!(proxy.http1().await.send(foreign).await.unwrap().status, StatusCode::MISDIRECTED_REQUEST);
    proxy.stop().await;
}

#[tokio::test]
async fn a_mended_secret_file_ends_a_misconfigured_rest() {
    let simulator = Simulator::start(Options::league8()).await.unwrap();
    let setup = Proxy::before(&simulator).unset("OAUTH__CLIENT_SECRET");
    let secret = setup.folder().join("secret");
    write(&secret, "wrong\n");
    let proxy = setup.set("OAUTH__CLIENT_SECRET_FILE", secret.display()).start().await;
    proxy.wait_for_status("misconfigured", |status| status["last_refresh"]["outcome"] == "misconfigured").await;
    assert_eq!(simulator.with_ledger(|ledger| ledger.committed_calls()), 0);
    write(&secret, simulator::CLIENT_SECRET);
    until(&proxy, "a token", async |proxy| proxy.status().await["state"] == "valid").await;
    assert_eq!(proxy.get("/api/v2/version").await.status, StatusCode::OK);
    proxy.stop().await;
}

#[tokio::test]
async fn sighup_reads_again_at_once() {
    let simulator = Simulator::start(Options::league8()).await.unwrap();
    let (proxy, _) = started(&simulator, "").await;
    let began = Instant::now();
    proxy.signal(rustix::process::Signal::HUP);
    until(&proxy, "the line in the log", async |proxy| proxy.log().iter().any(|line| line.contains("was read again")))
        .await;
    assert!(began.elapsed() < WITHIN);
    proxy.stop().await;
}

#[tokio::test]
async fn a_configuration_that_was_refused_is_read_again_when_the_missing_file_appears() {
    let simulator = Simulator::start(Options::league8()).await.unwrap();
    let setup = Proxy::before(&simulator).unset("OAUTH__CLIENT_SECRET");
    let folder = setup.folder().to_owned();
    let (file, secret, missing) = (folder.join("proxy.toml"), folder.join("secret"), folder.join("missing"));
    let text = |secret: &Path, path: &str| {
        format!("[oauth]\nclient_secret_file = \"{}\"\n[guard]\nallow = [\"GET /api/v2/{path}\"]\n", secret.display())
    };
    write(&secret, simulator::CLIENT_SECRET);
    write(&file, &text(&secret, "version"));
    let proxy = setup.set("CONFIG", file.display()).start().await;
    proxy.ready().await;
    let text = text(&missing, "*");
    write(&file, &text);
    let refused = |proxy: &Proxy| proxy.log().iter().any(|line| line.contains("old one stays"));
    until(&proxy, "the refusal in the log", async |proxy| refused(proxy)).await;
    assert_eq!(proxy.get("/api/v2/countries").await.problem(), "not-allowed");
    write(&missing, simulator::CLIENT_SECRET);
    until(&proxy, "the new configuration", async |proxy| proxy.get("/api/v2/countries").await.status == StatusCode::OK)
        .await;
    proxy.stop().await;
}

#[tokio::test]
async fn a_reload_brings_a_pending_attempt_forward_whatever_has_changed() {
    // Either a wrong secret is corrected, or the server sent a `Retry-After` and another key changes.
    for secret_is_wrong in [true, false] {
        let simulator = Simulator::start(Options::league8()).await.unwrap();
        let setup = Proxy::before(&simulator).unset("OAUTH__CLIENT_SECRET");
        let (secret, file) = (setup.folder().join("secret"), setup.folder().join("proxy.toml"));
        write(&secret, simulator::CLIENT_SECRET);
        write(&file, "");
        let setup = setup.set("OAUTH__CLIENT_SECRET_FILE", secret.display()).set("CONFIG", file.display());
        let proxy = setup.start().await;
        proxy.ready().await;
        if secret_is_wrong {
            write(&secret, "wrong");
            let again = |proxy: &Proxy| proxy.log().iter().any(|line| line.contains("was read again"));
            until(&proxy, "the wrong secret", async |proxy| again(proxy)).await;
        } else {
            simulator.fault(simulator::Fault::throttled(Some("250")));
        }
        simulator.revoke(simulator::Revocation::All(simulator::Kind::Access));
        assert_eq!(proxy.get("/api/v2/version").await.status, StatusCode::UNAUTHORIZED);
        let status = proxy.status().await;
        assert!(status["retry_at"].is_string() && status["retrying"] == "refresh", "{status}");
        if secret_is_wrong {
            write(&secret, simulator::CLIENT_SECRET);
        } else {
            write(&file, "[log]\nlevel = \"debug\"\n");
        }
        until(&proxy, "a new token", async |proxy| proxy.status().await["generation"] == 2).await;
        assert_eq!(proxy.get("/api/v2/version").await.status, StatusCode::OK);
        proxy.stop().await;
    }
}
