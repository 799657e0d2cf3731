//! `import`, `status`, `refresh` and `wait` against the running proxy and against its store, by exit code and output.

use std::process::Stdio;

use bearer_proxy::simulator::{Act, Fault, Kind, Options, Revocation, Simulator, Step};
use serde_json::Value;
use tokio::io::AsyncWriteExt;

use crate::support::{Proxy, Setup, output};

/// A command, in the environment of a proxy that may be running.
async fn run(setup: &Setup, arguments: &[&str]) -> (i32, String, String) {
    let (status, out, err) = output(setup.command(arguments)).await;
    (status.code().unwrap(), out, err)
}

async fn import(setup: &Setup, input: &str) -> (i32, String, String) {
    let mut command = setup.command(&["import"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).await.unwrap();
    let output = child.wait_with_output().await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[tokio::test]
async fn a_running_proxy_adopts_what_is_imported() {
    let simulator = Simulator::start(Options::league8()).await.unwrap();
    let proxy = Proxy::without_grant(&simulator).start().await;
    let setup = proxy.setup().again().set("ADMIN__LISTEN", proxy.admin_address());
    let (code, out, _) = run(&setup, &["status"]).await;
    assert_eq!(code, 3, "{out}");
    let (code, _, err) = run(&setup, &["wait", "--timeout", "0s"]).await;
    assert!(code == 1 && err.contains("needs a login"), "{err}");

    // A bare refresh token is refreshed at once.
    let token = simulator.grant().refresh_token;
    let (code, out, err) = import(&setup, &token).await;
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    let (code, _, err) = run(&setup, &["wait"]).await;
    assert_eq!((code, err.as_str()), (0, ""));
    assert_eq!(simulator.with_ledger(|ledger| ledger.token_calls().len()), 1);
    let (code, out, _) = run(&setup, &["status", "--json"]).await;
    let status: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &status["state"], &status["generation"]), (0, &"valid".into(), &1.into()), "{out}");

    // An answer with its access token is used as it is, and is the next generation.
    let grant = simulator.grant();
    let answer = serde_json::json!({
        "token_type": "Bearer",
        "expires_in": 3600,
        "access_token": grant.access_token,
        "refresh_token": grant.refresh_token,
    });
    assert_eq!(import(&setup, &answer.to_string()).await.0, 0);
    proxy.wait_for_status("the imported generation", |status| status["generation"] == 2).await;
    assert_eq!(simulator.with_ledger(|ledger| ledger.token_calls().len()), 1);

    let (code, out, _) = run(&setup, &["refresh"]).await;
    assert!(code == 0 && out.contains("generation 3"), "{out}");

    // Without the proxy, the store tells.
    proxy.stop().await;
    let (code, out, _) = run(&setup, &["status"]).await;
    assert!(code == 0 && out.contains("generation 3") && out.contains("no proxy runs"), "{out}");
    let (code, _, err) = run(&setup, &["refresh"]).await;
    assert!(code == 1 && err.contains("no proxy runs"), "{err}");
}

#[tokio::test]
async fn a_grant_that_is_gone_is_exit_code_3_until_the_next_import() {
    let simulator = Simulator::start(Options::league8()).await.unwrap();
    let proxy = Proxy::before(&simulator).start().await;
    proxy.ready().await;
    let setup = proxy.setup().again().set("ADMIN__LISTEN", proxy.admin_address());
    simulator.revoke(Revocation::All(Kind::Both));
    let (code, _, err) = run(&setup, &["refresh"]).await;
    assert_eq!(code, 3, "{err}");
    assert_eq!(run(&setup, &["status"]).await.0, 3);

    assert_eq!(import(&setup, &simulator.grant().refresh_token).await.0, 0);
    // Ready it was all the time: the last access token has not expired.
    proxy.wait_for_status("the imported grant", |status| status["generation"] == 2).await;
    assert_eq!(run(&setup, &["status"]).await.0, 0);
    proxy.stop().await;
}

#[tokio::test]
async fn a_refresh_that_fails_for_a_while_is_exit_code_1() {
    let simulator = Simulator::start(Options::league8()).await.unwrap();
    let proxy = Proxy::before(&simulator).start().await;
    proxy.ready().await;
    let setup = proxy.setup().again().set("ADMIN__LISTEN", proxy.admin_address());
    simulator.fault(Fault::token(Step::BeforeCommit, Act::Close));
    let (code, _, err) = run(&setup, &["refresh"]).await;
    assert!(code == 1 && err.contains("the token was not refreshed"), "{err}");
    proxy.stop().await;
}

#[tokio::test]
async fn what_is_not_a_grant_is_not_stored_and_not_repeated() {
    let simulator = Simulator::start(Options::league8()).await.unwrap();
    let setup = Proxy::without_grant(&simulator);
    for input in ["", "canary canary", r#"{"access_token":"canary"}"#] {
        let (code, out, err) = import(&setup, input).await;
        assert!(code == 1 && !err.is_empty(), "{err}");
        assert!(!format!("{out}{err}").contains("canary"), "{out}{err}");
    }
    assert!(!setup.store().exists());
}

#[tokio::test]
async fn a_wrong_command_line_is_2_and_a_wrong_configuration_78() {
    let simulator = Simulator::start(Options::league8()).await.unwrap();
    let setup = Proxy::without_grant(&simulator);
    assert_eq!(run(&setup, &["status", "--yaml"]).await.0, 2);
    let wrong = setup.set("UPSTREAM__IDLE_TIMEOUT", "soon");
    for command in ["serve", "status", "import", "refresh", "wait", "config"] {
        let (code, out, err) = run(&wrong, &[command]).await;
        assert!(code == 78 && out.is_empty() && err.contains("upstream.idle_timeout"), "{command}: {err}");
    }
}
