//! Faults of the token endpoint, and of the path to it.

use std::time::{Duration, Instant};

use http::StatusCode;
use simulator::{Fault, Options, Simulator};
use testkit::{Namespaces, Proxy};
use tokio::time::sleep;

use crate::{recovered, until_answered, until_stored};

#[tokio::test]
async fn a_page_instead_of_a_response() {
    let options = Options { access_lifetime: Duration::from_secs(60), ..Options::league8() };
    let simulator = Simulator::start(options).await.unwrap();
    let proxy = Proxy::before(&simulator).start().await;
    proxy.ready().await;
    simulator.fault(Fault::page_expired());
    assert_eq!(proxy.refresh().await.status, StatusCode::SERVICE_UNAVAILABLE);
    let began = Instant::now();
    until_stored(&proxy, 2).await;
    recovered(
        "The token endpoint answers one refresh of a token that lives 60 s with an error page",
        "the next attempt succeeds",
        Duration::from_secs(10),
        began.elapsed(),
    );
    proxy.stop().await;
}

#[tokio::test]
async fn an_endpoint_that_is_down_until_the_token_has_expired() {
    let options = Options { access_lifetime: Duration::from_secs(6), ..Options::league8() };
    let simulator = Simulator::start(options).await.unwrap();
    let proxy = Proxy::before(&simulator).set("REFRESH__WAIT", "100ms").start().await;
    proxy.ready().await;
    simulator.stop_listening().await;
    proxy.wait_for_status("expired", |status| status["state"] == "expired").await;
    simulator.reconfigure(|options| options.access_lifetime = Duration::from_secs(3600));
    simulator.listen_again().await.unwrap();
    let began = Instant::now();
    until_answered(&proxy).await;
    recovered(
        "The token endpoint refuses connections until the access token has expired, then returns",
        "a request is answered",
        Duration::from_secs(30),
        began.elapsed(),
    );
    proxy.stop().await;
}

#[tokio::test]
async fn a_secret_that_was_rotated() {
    let simulator = Simulator::start(Options::league8()).await.unwrap();
    let setup = Proxy::before(&simulator).unset("OAUTH__CLIENT_SECRET");
    let secret = setup.folder().join("secret");
    std::fs::write(&secret, "wrong").unwrap();
    let proxy = setup.set("OAUTH__CLIENT_SECRET_FILE", secret.display()).start().await;
    proxy.wait_for_status("refused", |status| status["last_refresh"]["outcome"] == "misconfigured").await;
    std::fs::write(&secret, simulator::CLIENT_SECRET).unwrap();
    let began = Instant::now();
    until_stored(&proxy, 1).await;
    recovered(
        "The client secret was rotated, then the new one is written to its file",
        "a refresh succeeds",
        Duration::from_secs(5),
        began.elapsed(),
    );
    proxy.stop().await;
}

/// The call is abandoned after `oauth.request_timeout`. Its bytes must not reach the server after those of the retry.
#[test]
fn a_path_that_drops_packets() {
    let Some(namespaces) = Namespaces::new() else { return };
    let (give, take) = std::sync::mpsc::channel();
    let (end, ended) = tokio::sync::oneshot::channel::<()>();
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    std::thread::scope(|scope| {
        let server = &namespaces.server;
        scope.spawn(move || {
            Namespaces::within(server, || {
                runtime().block_on(async {
                    let listen = format!("{}:0", Namespaces::SERVER).parse().unwrap();
                    let simulator = Simulator::start(Options { listen, ..Options::league8() }).await.unwrap();
                    give.send((simulator.token_url(), simulator.origin(), simulator.grant().refresh_token)).unwrap();
                    let _ = ended.await;
                    let presented =
                        simulator.with_ledger(|ledger| ledger.calls_per_refresh_token().into_values().max());
                    assert_eq!(presented, Some(1), "the bytes of the abandoned call arrived too");
                });
            });
        });
        let (token_url, origin, first) = take.recv().unwrap();
        Namespaces::within(&namespaces.client, || {
            runtime().block_on(async {
                let setup = Proxy::with_urls(&origin, &token_url).set("OAUTH__REFRESH_TOKEN", first);
                let proxy = setup.set("OAUTH__REQUEST_TIMEOUT", "2s").start().await;
                proxy.ready().await;
                // Handshakes pass, and requests do not.
                namespaces.nft("add table inet loss");
                namespaces.nft("add chain inet loss in { type filter hook input priority 0 ; }");
                namespaces.nft("add rule inet loss in meta length gt 100 drop");
                assert_ne!(proxy.refresh().await.status, StatusCode::OK);
                namespaces.nft("delete table inet loss");
                let began = Instant::now();
                until_stored(&proxy, 2).await;
                recovered(
                    "The path to the token endpoint drops the request, then heals",
                    "a refresh succeeds, without a token that is presented twice",
                    Duration::from_secs(30),
                    began.elapsed(),
                );
                // The kernel would have sent the bytes of the abandoned call by then.
                sleep(Duration::from_secs(5)).await;
                assert_eq!(proxy.refresh().await.status, StatusCode::OK, "the grant is alive");
                proxy.stop().await;
            });
        });
        drop(end);
    });
}
