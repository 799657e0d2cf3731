//! The program sends plaintext to loopback addresses only, whatever address the hosts file gives to `localhost`.

use http::StatusCode;
use simulator::{Options, Simulator};

use testkit::Proxy;
use testkit::names::{Names, can_be_mounted};

/// An address of another machine (RFC 5737). The program must send nothing there.
const ELSEWHERE: &str = "192.0.2.1";

fn names() -> Names {
    Names::new(&format!("{ELSEWHERE} localhost\n"), "")
}

#[tokio::test]
async fn an_upstream_name_that_leads_elsewhere_gets_no_request() {
    if !can_be_mounted() {
        return;
    }
    let simulator = Simulator::start(Options::league8()).await.unwrap();
    let upstream = format!("http://localhost:{}", simulator.address().port());
    let names = names();
    let proxy = names.seen_by(Proxy::before(&simulator).set("UPSTREAM__URL", upstream)).start().await;
    let answer = proxy.get("/api/v2/version").await;
    assert_eq!(answer.status, StatusCode::BAD_GATEWAY);
    assert_eq!(answer.problem(), "upstream-unreachable");
    let via = answer.headers["proxy-status"].to_str().unwrap();
    assert!(via.ends_with("error=destination_ip_prohibited"), "{via}");
    let expected = format!("localhost has the address {ELSEWHERE}, which is not loopback");
    assert!(answer.text().contains(&expected), "{}", answer.text());
    proxy.stop().await;
}

#[tokio::test]
async fn a_token_endpoint_that_leads_elsewhere_gets_no_secret() {
    if !can_be_mounted() {
        return;
    }
    let simulator = Simulator::start(Options::league8()).await.unwrap();
    let token_url = simulator.token_url().replace("127.0.0.1", "localhost");
    let names = names();
    let proxy = names.seen_by(Proxy::before(&simulator).set("OAUTH__TOKEN_URL", token_url)).start().await;
    let told = |status: &serde_json::Value| status["last_refresh"]["error"].as_str().map(str::to_owned);
    let status = proxy.wait_for_status("failed", |status| told(status).is_some()).await;
    let error = told(&status).unwrap();
    assert!(error.contains(&format!("localhost has the address {ELSEWHERE}, which is not loopback")), "{error}");
    assert_eq!(status["last_refresh"]["outcome"], "transient");
    assert_eq!(simulator.with_ledger(|ledger| ledger.token_calls().len()), 0);
    proxy.stop().await;
}

#[cfg(feature = "postgres")]
#[tokio::test]
async fn a_database_that_leads_elsewhere_gets_no_password() {
    if !can_be_mounted() {
        return;
    }
    let simulator = Simulator::start(Options::league8()).await.unwrap();
    let setup = Proxy::before(&simulator).set("STORE__KIND", "postgres").unset("STORE__PATH");
    for (url, told) in [
        ("postgres://u:canary@localhost:6/d", "localhost has the address 192.0.2.1, which is not loopback"),
        (
            "postgres://u:canary@localhost:6/d?sslmode=prefer",
            "localhost has the address 192.0.2.1, which is not loopback",
        ),
        ("postgres://u:canary@192.0.2.1:6/d?sslmode=disable", "tokens cross the network to the database in plaintext"),
    ] {
        let setup = setup.again().set("STORE__URL", url);
        let (code, out, err) = names().run(&setup, &["status"]).await;
        assert_ne!(code, 0, "{url}: {out}{err}");
        assert!(format!("{out}{err}").contains(told), "{url}: {out}{err}");
        assert!(!format!("{out}{err}").contains("canary"), "{url}: {out}{err}");
    }
}
