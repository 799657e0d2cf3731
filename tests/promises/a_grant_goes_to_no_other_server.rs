//! A grant is bound to its server. If the configuration names another server, the program sends nothing to either. The grant works
//! again once the change is undone.

use http::StatusCode;
use simulator::{Client, Options, Simulator};

use testkit::Proxy;

const OTHER_CLIENT: &str = "another-client";

async fn server() -> Simulator {
    let other = Client { id: OTHER_CLIENT.into(), ..Client::default() };
    Simulator::start(Options { clients: vec![Client::default(), other], ..Options::league8() }).await.unwrap()
}

/// Connections, token calls and requests.
fn seen(simulator: &Simulator) -> (u64, usize, u64) {
    simulator.with_ledger(|ledger| (ledger.connections(), ledger.token_calls().len(), ledger.requests_seen()))
}

#[tokio::test]
async fn nothing_is_sent_to_anyone_until_the_change_is_undone() {
    let (old, new) = (server().await, server().await);
    let setup = Proxy::before(&old);
    let proxy = setup.again().start().await;
    proxy.ready().await;
    assert_eq!(proxy.get("/api/v2/version").await.status, StatusCode::OK);
    proxy.stop().await;
    let document = std::fs::read(setup.store()).unwrap();
    let changes = [
        ("OAUTH__TOKEN_URL", new.token_url(), "oauth.token_url"),
        ("OAUTH__CLIENT_ID", OTHER_CLIENT.to_owned(), "oauth.client_id"),
        ("UPSTREAM__URL", new.origin(), "upstream.url"),
    ];
    for (key, value, named) in changes {
        let changed = setup.again().set(key, value);
        let before = (seen(&old), seen(&new));
        let proxy = changed.again().start().await;
        let status = proxy.wait_for_status("mismatched", |status| status["state"] == "needs_login").await;
        let reason = status["reason"].as_str().unwrap();
        assert!(reason.contains(&format!("{named} was ")) && reason.contains("Undo the change"), "{reason}");
        let answer = proxy.get("/api/v2/version").await;
        assert_eq!(
            (answer.status, answer.problem()),
            (StatusCode::SERVICE_UNAVAILABLE, "token-unavailable".to_owned())
        );
        let asked = proxy.refresh().await;
        assert!(asked.status == StatusCode::SERVICE_UNAVAILABLE && asked.text().contains(named), "{}", asked.text());
        assert_eq!(asked.json()["needs_login"], true);
        let (code, out, _) = proxy.commands().run(&["status"]).await;
        assert!(code == 3 && out.contains(named), "{out}");
        proxy.stop().await;
        let (code, out, _) = changed.run(&["status"]).await;
        assert!(code == 3 && out.contains(named), "{out}");
        assert_eq!((seen(&old), seen(&new)), before, "{named}: something was sent");
        assert_eq!(std::fs::read(setup.store()).unwrap(), document, "{named}: the stored grant was touched");
    }
    let calls = seen(&old).1;
    let proxy = setup.start().await;
    proxy.ready().await;
    assert_eq!(proxy.get("/api/v2/version").await.status, StatusCode::OK);
    assert_eq!((seen(&old).1, &proxy.status().await["generation"]), (calls, &1.into()));
    proxy.stop().await;
}

#[tokio::test]
async fn a_change_in_the_running_proxy_stops_it_and_undoing_it_goes_on() {
    let (old, new) = (server().await, server().await);
    let setup = Proxy::before(&old).unset("OAUTH__TOKEN_URL");
    let file = setup.folder().join("config.toml");
    let write = |simulator: &Simulator| {
        std::fs::write(&file, format!("oauth.token_url = \"{}\"\n", simulator.token_url())).unwrap();
    };
    write(&old);
    let proxy = setup.set("CONFIG", file.display()).start().await;
    proxy.ready().await;
    let before = (seen(&old), seen(&new));
    write(&new);
    proxy.signal(rustix::process::Signal::HUP);
    proxy.wait_for_status("mismatched", |status| status["state"] == "needs_login").await;
    assert_eq!(proxy.get("/api/v2/version").await.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(proxy.refresh().await.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!((seen(&old), seen(&new)), before);
    write(&old);
    proxy.signal(rustix::process::Signal::HUP);
    proxy.wait_for_status("undone", |status| status["state"] == "valid" && status["generation"] == 1).await;
    assert_eq!(proxy.get("/api/v2/version").await.status, StatusCode::OK);
    assert_eq!(proxy.refresh().await.status, StatusCode::OK);
    assert_eq!(seen(&new), before.1);
    proxy.stop().await;
}
