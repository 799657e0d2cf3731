//! The program stores its intent before it presents a refresh token. A store that cannot be written therefore costs no token, and
//! clients notice nothing while the access token lives.

use http::{Method, StatusCode};
use simulator::{Options, Simulator};

use testkit::{Disk, Proxy, Trouble};

#[tokio::test]
async fn a_store_that_can_not_be_written_puts_a_refresh_off() {
    for trouble in Trouble::ALL {
        let simulator = Simulator::start(Options::league8()).await.unwrap();
        let Some((disk, setup)) = Disk::new(trouble, Proxy::before(&simulator)) else { continue };
        let proxy = setup.start().await;
        proxy.ready().await;
        let calls = || simulator.with_ledger(|ledger| ledger.token_calls().len());
        disk.fail(proxy.pid());

        let refreshed = proxy.refresh().await;
        assert_eq!(refreshed.status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(refreshed.text().contains("put off, nothing was sent: could not "), "{}", refreshed.text());
        assert_eq!(calls(), 1, "{trouble:?}: the token was presented");
        assert_eq!(proxy.get("/api/v2/version").await.status, StatusCode::OK);
        let readiness = proxy.admin(Method::GET, "/readyz").await;
        assert_eq!(readiness.status, StatusCode::OK, "it has a token");
        assert!(readiness.json()["reasons"][0].as_str().unwrap().contains("put off"), "{}", readiness.text());
        let status = proxy.status().await;
        assert_eq!((&status["persisted"], &status["last_refresh"]["outcome"]), (&true.into(), &"transient".into()));

        // The program tries again by itself.
        disk.mend(proxy.pid());
        proxy.wait_for_status("renewed", |status| status["generation"] == 2).await;
        assert_eq!((calls(), proxy.get("/api/v2/version").await.status), (2, StatusCode::OK), "{trouble:?}");
        proxy.stop().await;
    }
}
