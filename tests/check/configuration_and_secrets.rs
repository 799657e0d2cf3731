//! Faults of the configuration and of its secrets.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::checked::{Checked, league, small, stored};
use testkit::{Proxy, Setup};

const INVALID: i32 = 78;

#[tokio::test]
async fn each_fault_of_the_configuration_is_found() {
    let simulator = league().await;
    let setup = stored(&simulator).await;
    for (name, value, id, code) in [
        ("LISTN", "127.0.0.1:1", "config-unknown-key", INVALID),
        ("LISTEN", "nowhere", "config-invalid", INVALID),
        ("OAUTH__ACCESS_TOKEN", "canary-static-token", "config-unused-key", 0),
        ("LISTEN", "0.0.0.0:8080", "config-insecure-exposure", 0),
        ("GUARD__ALLOW", "GET /a,POST /a", "config-allow-post-laravel", 0),
        ("ADMIN_SERVICE_HOST", "10.0.0.1", "config-service-links", 0),
        ("REFRESH__MARGIN", "1s", "config-doubtful", 0),
    ] {
        let checked = Checked::before(&simulator, &setup.again().set(name, value), &[]).await;
        checked.finds(id, code);
        if code == INVALID {
            assert!(checked.because_of(id).len() > 30, "{:#}", checked.document);
        }
    }
    // Files that only a start would read.
    let upstream =
        setup.again().set("UPSTREAM__URL", "https://127.0.0.1:9").set("OUTBOUND__CA_FILE", "/nowhere/ca.pem");
    let certificate = setup.again().set("TLS__CERT_FILE", "/nowhere/cert.pem").set("TLS__KEY_FILE", "/nowhere/key.pem");
    for setup in [upstream, certificate] {
        Checked::before(&simulator, &setup, &[]).await.finds("config-invalid", INVALID);
    }
}

#[tokio::test]
async fn a_configuration_without_its_file_is_told_as_such() {
    let simulator = league().await;
    let setup = stored(&simulator).await.unset("OAUTH__CLIENT_ID");
    let checked = Checked::before(&simulator, &setup, &[]).await;
    checked.finds("config-invalid", INVALID);
    let hint = "no configuration file was read: name one with --config or BEARER_PROXY_CONFIG";
    assert_eq!(checked.check("config-invalid")["hint"], hint);

    let file = setup.folder().join("config.toml");
    fs::write(&file, "").unwrap();
    let checked = Checked::before(&simulator, &setup.raw("BEARER_PROXY_CONFIG", file.display()), &[]).await;
    checked.finds("config-invalid", INVALID);
    assert_ne!(checked.check("config-invalid")["hint"], hint);
}

#[tokio::test]
async fn each_fault_of_a_secret_is_found_and_none_is_shown() {
    const SECRET: &str = "canary-secret-of-the-client";
    let simulator = league().await;
    let setup = small(Proxy::before(&simulator)).unset("OAUTH__CLIENT_SECRET");
    let file = |name: &str, content: &str, mode: u32| {
        let path = setup.folder().join(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        path.display().to_string()
    };
    for (name, value, id, code) in [
        ("OAUTH__CLIENT_SECRET", String::new(), "secret-missing", INVALID),
        ("OAUTH__CLIENT_SECRET_FILE", file("empty", "\n", 0o600), "secret-empty", INVALID),
        ("OAUTH__CLIENT_SECRET_FILE", "/nowhere/secret".to_owned(), "secret-unreadable", INVALID),
        ("OAUTH__CLIENT_SECRET", format!("{SECRET}\n"), "secret-newline", INVALID),
        ("OAUTH__CLIENT_SECRET_FILE", file("two", &format!("{SECRET}\n\n"), 0o600), "secret-newline", INVALID),
        ("OAUTH__CLIENT_SECRET", STANDARD.encode(SECRET), "secret-encoded-twice", 0),
        ("OAUTH__CLIENT_SECRET_FILE", file("open", SECRET, 0o644), "secret-world-readable", 0),
    ] {
        let setup = setup.again().set(name, value);
        Checked::new(&setup, &["--offline"]).await.finds(id, code);
        let (_, text, err) = setup.run(&["check", "--offline"]).await;
        assert!(!text.contains("canary") && !err.contains("canary"), "{text}{err}");
        assert!(!text.contains(&STANDARD.encode(SECRET)), "{text}");
    }
}

#[tokio::test]
async fn an_admin_socket_that_everyone_may_use_is_found_beside_the_proxy() {
    let simulator = league().await;
    let setup = small(Proxy::before(&simulator));
    let socket = setup.folder().join("admin.sock");
    let setup = setup.set("PROBES__LISTEN", "127.0.0.1:0").set("ADMIN__LISTEN", format!("unix:{}", socket.display()));
    let (commands, started) = (setup.again(), setup.spawn());
    let (code, _, err) = commands.run(&["wait"]).await;
    assert_eq!(code, 0, "{err}");
    assert_eq!(Checked::before(&simulator, &commands, &[]).await.problems(), [""; 0]);
    fs::set_permissions(&socket, Permissions::from_mode(0o666)).unwrap();
    Checked::before(&simulator, &commands, &[]).await.finds("admin-login-open", 0);
    started.kill().await;
}

#[tokio::test]
async fn serve_logs_what_costs_nothing_by_its_id() {
    let simulator = league().await;
    let setup: Setup = small(Proxy::before(&simulator)).set("OAUTH__ACCESS_TOKEN", "canary-static-token");
    let proxy = setup.start().await;
    let line = proxy.wait_for_log("the finding", |line| line["check"] == "config-unused-key").await;
    assert!(line.contains("oauth.access_token") && line.contains("\"hint\""), "{line}");
    proxy.stop().await;
}
