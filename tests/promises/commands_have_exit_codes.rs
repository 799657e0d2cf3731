//! Exit codes and output of `import`, `status`, `refresh` and `wait`, with and without a running proxy.

use serde_json::Value;
use simulator::{Act, Fault, Kind, Options, Revocation, Simulator, Step};

use testkit::Proxy;

#[tokio::test]
async fn a_running_proxy_adopts_what_is_imported() {
    let simulator = Simulator::start(Options::league8()).await.unwrap();
    let proxy = Proxy::without_grant(&simulator).start().await;
    let setup = proxy.commands();
    let (code, out, _) = setup.run(&["status"]).await;
    assert_eq!(code, 3, "{out}");
    let (code, _, err) = setup.run(&["wait", "--timeout", "0s"]).await;
    assert!(code == 1 && err.contains("needs a login"), "{err}");

    // A bare refresh token is refreshed at once.
    let token = simulator.grant().refresh_token;
    let (code, out, err) = setup.import(&[], &token).await;
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    let (code, _, err) = setup.run(&["wait"]).await;
    assert_eq!((code, err.as_str()), (0, ""));
    assert_eq!(simulator.with_ledger(|ledger| ledger.token_calls().len()), 1);
    let (code, out, _) = setup.run(&["status", "--json"]).await;
    let status: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &status["state"], &status["generation"]), (0, &"valid".into(), &1.into()), "{out}");

    // A response with an access token needs no refresh. It becomes the next generation.
    let grant = simulator.grant();
    let answer = serde_json::json!({
        "token_type": "Bearer",
        "expires_in": 3600,
        "access_token": grant.access_token,
        "refresh_token": grant.refresh_token,
    });
    assert_eq!(setup.import(&[], &answer.to_string()).await.0, 0);
    proxy.wait_for_status("the imported generation", |status| status["generation"] == 2).await;
    assert_eq!(simulator.with_ledger(|ledger| ledger.token_calls().len()), 1);

    proxy.rested().await;
    let (code, out, _) = setup.run(&["refresh"]).await;
    assert!(code == 0 && out.contains("generation 3"), "{out}");

    // Without a proxy, the commands read the store.
    proxy.stop().await;
    let (code, out, _) = setup.run(&["status"]).await;
    assert!(code == 0 && out.contains("generation 3") && out.contains("no proxy runs"), "{out}");
    let (code, _, err) = setup.run(&["refresh"]).await;
    assert!(code == 1 && err.contains("no proxy runs"), "{err}");
}

#[tokio::test]
async fn a_grant_that_is_gone_is_exit_code_3_until_the_next_import() {
    let simulator = Simulator::start(Options::league8()).await.unwrap();
    let proxy = Proxy::before(&simulator).start().await;
    proxy.ready().await;
    proxy.rested().await;
    let setup = proxy.commands();
    simulator.revoke(Revocation::All(Kind::Both));
    let (code, _, err) = setup.run(&["refresh"]).await;
    assert_eq!(code, 3, "{err}");
    assert_eq!(setup.run(&["status"]).await.0, 3);

    assert_eq!(setup.import(&[], &simulator.grant().refresh_token).await.0, 0);
    // It was ready throughout: the last access token has not expired.
    proxy.wait_for_status("the imported grant", |status| status["generation"] == 2).await;
    assert_eq!(setup.run(&["status"]).await.0, 0);
    proxy.stop().await;
}

#[tokio::test]
async fn a_refresh_that_fails_for_a_while_is_exit_code_1() {
    let simulator = Simulator::start(Options::league8()).await.unwrap();
    let proxy = Proxy::before(&simulator).start().await;
    proxy.ready().await;
    proxy.rested().await;
    let setup = proxy.commands();
    simulator.fault(Fault::token(Step::BeforeCommit, Act::Close));
    let (code, _, err) = setup.run(&["refresh"]).await;
    assert!(code == 1 && err.contains("the token was not refreshed"), "{err}");
    proxy.stop().await;
}

#[tokio::test]
async fn what_is_not_a_grant_is_not_stored_and_not_repeated() {
    let simulator = Simulator::start(Options::league8()).await.unwrap();
    let setup = Proxy::without_grant(&simulator);
    for input in ["", "canary canary", r#"{"access_token":"canary"}"#] {
        let (code, out, err) = setup.import(&[], input).await;
        assert!(code == 1 && !err.is_empty(), "{err}");
        assert!(!format!("{out}{err}").contains("canary"), "{out}{err}");
    }
    assert!(!setup.store().exists());
}

#[tokio::test]
async fn a_wrong_command_line_is_2_and_a_wrong_configuration_78() {
    let simulator = Simulator::start(Options::league8()).await.unwrap();
    let setup = Proxy::without_grant(&simulator);
    assert_eq!(setup.run(&["status", "--yaml"]).await.0, 2);
    let wrong = setup.set("UPSTREAM__IDLE_TIMEOUT", "soon");
    for command in ["serve", "status", "import", "refresh", "wait", "config"] {
        let (code, out, err) = wrong.run(&[command]).await;
        assert!(code == 78 && out.is_empty() && err.contains("upstream.idle_timeout"), "{command}: {err}");
    }
}
