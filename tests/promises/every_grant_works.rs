//! Each grant and profile, end to end through the built program.

use http::StatusCode;
use simulator::{Kind, Options, Presented, Revocation, Simulator};

use testkit::Proxy;

#[tokio::test]
async fn passolution_with_either_league() {
    for options in [Options::league8(), Options::league9()] {
        let simulator = Simulator::start(options).await.unwrap();
        let proxy = Proxy::before(&simulator).start().await;
        let answer = proxy.get("/api/v2/version").await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
        simulator.revoke(Revocation::All(Kind::Access));
        assert_eq!(proxy.get("/api/v2/version").await.status, StatusCode::OK);
        let status = proxy.status().await;
        assert_eq!(status["profile"], "passolution");
        assert_eq!(status["grant"], "refresh_token");
        assert_eq!(status["generation"], 2);
        proxy.stop().await;
    }
}

#[tokio::test]
async fn priava_with_form_bodies_tenant_region_and_redirect_uri() {
    let simulator = Simulator::start(Options::priava()).await.unwrap();
    let setup = Proxy::before(&simulator)
        .set("PROFILE", "priava")
        .set("OAUTH__REDIRECT_URI", "https://app.example/callback")
        .set("OAUTH__HEADERS", "{TenantRegion = \"EU\"}");
    let proxy = setup.start().await;
    let answer = proxy.get("/api/rest/echo").await;
    assert_eq!(answer.status, StatusCode::OK, "{}\n{}", answer.text(), proxy.log().join("\n"));
    assert!(answer.text().to_lowercase().contains("tenantregion"), "{}", answer.text());
    simulator.revoke(Revocation::All(Kind::Access));
    assert_eq!(proxy.get("/api/rest/echo").await.status, StatusCode::OK);
    assert_eq!(proxy.status().await["generation"], 2);
    proxy.stop().await;
}

#[tokio::test]
async fn client_credentials_need_no_store_and_no_login() {
    let simulator = Simulator::start(Options::league9()).await.unwrap();
    let setup = Proxy::without_grant(&simulator).unset("STORE__PATH").set("OAUTH__GRANT", "client_credentials");
    let proxy = setup.start().await;
    assert_eq!(proxy.get("/api/v2/version").await.status, StatusCode::OK);
    simulator.revoke(Revocation::All(Kind::Access));
    assert_eq!(proxy.get("/api/v2/version").await.status, StatusCode::OK);
    let status = proxy.status().await;
    assert_eq!(status["grant"], "client_credentials");
    assert_eq!(status["store"], "memory");
    let all_by_credentials = simulator.with_ledger(|ledger| {
        ledger.token_calls().iter().all(|call| !matches!(call.presented, Presented::Refresh { .. }))
    });
    assert!(all_by_credentials);
    proxy.stop().await;
}

#[tokio::test]
async fn a_static_token_is_read_again_when_it_is_refused() {
    let simulator = Simulator::start(Options::league8()).await.unwrap();
    let setup = Proxy::without_grant(&simulator);
    let path = setup.folder().join("token");
    std::fs::write(&path, simulator.grant().access_token + "\n").unwrap();
    let setup = setup
        .unset("STORE__PATH")
        .unset("OAUTH__TOKEN_URL")
        .unset("OAUTH__CLIENT_ID")
        .unset("OAUTH__CLIENT_SECRET")
        .set("OAUTH__GRANT", "static")
        .set("OAUTH__ACCESS_TOKEN_FILE", path.display());
    let proxy = setup.start().await;
    assert_eq!(proxy.get("/api/v2/version").await.status, StatusCode::OK);

    simulator.revoke(Revocation::All(Kind::Access));
    assert_eq!(proxy.get("/api/v2/version").await.status, StatusCode::UNAUTHORIZED, "the file holds the same token");
    assert_eq!(proxy.get("/api/v2/version").await.status, StatusCode::UNAUTHORIZED);
    // The log says it once, and the status as long as it lasts.
    let status = proxy.status().await;
    let remedy = format!("write a valid one to {}", path.display());
    assert!(status["reason"].as_str().is_some_and(|reason| reason.contains(&remedy)), "{status}");
    let told = || proxy.log().iter().filter(|line| line.contains("refuses the token of the static grant")).count();
    proxy
        .wait_for_log("the refused token", |line| line["to_do"].as_str().is_some_and(|to_do| to_do.contains(&remedy)))
        .await;
    assert_eq!(told(), 1);
    std::fs::write(&path, simulator.grant().access_token).unwrap();
    assert_eq!(proxy.get("/api/v2/version").await.status, StatusCode::OK, "the file holds a new one");
    let status = proxy.status().await;
    assert_eq!((&status["generation"], &status["reason"]), (&2.into(), &serde_json::Value::Null));
    assert_eq!(simulator.with_ledger(|ledger| ledger.token_calls().len()), 0);
    proxy.stop().await;
}
