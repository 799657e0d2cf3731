//! A setup that works has no findings, and costs at most one call to each server.

use simulator::{Flavour, Kind, Options, Presented, Revocation, Simulator};

use crate::checked::{Checked, settled, small, stored};
use testkit::{Proxy, Setup};

fn is_healthy(checked: &Checked) {
    assert_eq!((checked.problems(), checked.code), (vec![], 0), "{:#}", checked.document);
    assert_eq!(checked.document["outcome"], "ok");
}

#[tokio::test]
async fn passolution_with_a_file_store() {
    for options in [Options::league8(), Options::league9()] {
        let simulator = Simulator::start(options).await.unwrap();
        let setup = stored(&simulator).await;
        let checked = Checked::before(&simulator, &setup, &["--strict"]).await;
        is_healthy(&checked);
        // Both calls were made, and league proves the secret.
        assert!(
            checked.check("client-rejected")["detail"].as_str().unwrap().contains("has accepted"),
            "{:#}",
            checked.document
        );
        assert_eq!(checked.check("upstream-refuses")["outcome"], "ok");
        assert_eq!(checked.check("clock-off")["outcome"], "ok");

        // Beside the running proxy, whose grant lives on.
        let proxy = setup.start().await;
        proxy.ready().await;
        is_healthy(&Checked::before(&simulator, &proxy.commands(), &["--strict"]).await);
        let (_, text, _) = proxy.commands().run(&["check", "--offline"]).await;
        assert!(text.contains("A proxy runs (version "), "{text}");
        assert_eq!(proxy.refresh().await.status, 200);
        proxy.stop().await;
    }
}

#[tokio::test]
async fn an_upstream_that_speaks_http2() {
    let simulator = Simulator::start(Options::league9()).await.unwrap();
    let setup = stored(&simulator).await.set("UPSTREAM__HTTP", "2");
    is_healthy(&Checked::before(&simulator, &setup, &["--strict"]).await);
    let versions = simulator.with_ledger(|ledger| ledger.requests().map(|request| request.http).collect::<Vec<_>>());
    assert_eq!(versions, [2]);
}

#[tokio::test]
async fn custom_with_a_file_store() {
    let simulator = Simulator::start(Options::rfc6749()).await.unwrap();
    let checked = Checked::before(&simulator, &settled(custom(Proxy::before(&simulator))).await, &["--strict"]).await;
    is_healthy(&checked);
    assert_eq!(checked.check("client-rejected")["outcome"], "ok");
    assert_eq!(checked.check("upstream-refuses")["outcome"], "skip");
}

#[tokio::test]
async fn priava_makes_no_call_unless_it_is_asked_to() {
    let simulator = Simulator::start(Options::priava()).await.unwrap();
    let setup = Proxy::before(&simulator)
        .set("PROFILE", "priava")
        .set("OAUTH__REDIRECT_URI", "https://app.example/callback")
        .set("OAUTH__HEADERS", "{TenantRegion = \"EU\"}");
    let setup = settled(setup).await;
    let made_up = || {
        let is_made_up = |call: &&simulator::TokenCall| call.presented == Presented::Unknown;
        simulator.with_ledger(|ledger| ledger.token_calls().iter().filter(is_made_up).count())
    };
    let checked = Checked::before(&simulator, &setup, &["--strict"]).await;
    is_healthy(&checked);
    assert_eq!((checked.check("client-rejected")["outcome"].as_str().unwrap(), made_up()), ("skip", 0));
    let checked = Checked::before(&simulator, &setup, &["--probe-client"]).await;
    is_healthy(&checked);
    assert_eq!((checked.check("client-rejected")["outcome"].as_str().unwrap(), made_up()), ("ok", 1));
}

#[tokio::test]
async fn grants_without_a_store() {
    let simulator = Simulator::start(Options::league9()).await.unwrap();
    let setup = small(Proxy::without_grant(&simulator)).unset("STORE__PATH");
    is_healthy(
        &Checked::before(&simulator, &setup.again().set("OAUTH__GRANT", "client_credentials"), &["--strict"]).await,
    );
    let setup = setup
        .unset("OAUTH__CLIENT_ID")
        .unset("OAUTH__CLIENT_SECRET")
        .unset("OAUTH__TOKEN_URL")
        .set("OAUTH__GRANT", "static")
        .set("OAUTH__ACCESS_TOKEN", simulator.grant().access_token);
    let checked = Checked::before(&simulator, &setup, &["--strict"]).await;
    is_healthy(&checked);
    assert_eq!(checked.check("upstream-refuses")["outcome"], "ok");
    simulator.revoke(Revocation::All(Kind::Access));
    Checked::before(&simulator, &setup, &[]).await.finds("upstream-refuses", 1);
}

#[cfg(feature = "postgres")]
#[tokio::test]
async fn a_database() {
    let server = testkit::postgres::Postgres::shared();
    let simulator = Simulator::start(Options::league9()).await.unwrap();
    let setup = Proxy::before(&simulator)
        .unset("STORE__PATH")
        .set("STORE__KIND", "postgres")
        .set("STORE__NAME", "check-healthy")
        .set("STORE__URL", server.url());
    is_healthy(&Checked::before(&simulator, &settled(setup).await, &["--strict"]).await);
}

fn custom(setup: Setup) -> Setup {
    assert_eq!(Options::rfc6749().flavour, Flavour::Rfc6749);
    setup.set("PROFILE", "custom")
}
