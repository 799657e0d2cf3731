//! `store.keys`: none, one, rotated, and the wrong one, which is a clear error that changes nothing.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::StatusCode;
use simulator::{Options, Simulator};

use crate::support::{Proxy, Setup};

fn key(byte: u8) -> String {
    BASE64_STANDARD.encode([byte; 32])
}

fn document(setup: &Setup) -> String {
    std::fs::read_to_string(setup.store()).unwrap()
}

/// Whether tokens stand in it as they are.
fn readable(document: &str) -> bool {
    document.contains("eyJ") && document.contains("def502")
}

#[tokio::test]
async fn each_key_takes_over_with_the_next_write_and_a_wrong_one_changes_nothing() {
    let simulator = Simulator::start(Options::league8()).await.unwrap();
    let setup = Proxy::before(&simulator);
    let calls = || simulator.with_ledger(|ledger| ledger.token_calls().len());
    let mut generation = 1;
    // The keys, and whether the document can be read without them before and after the next refresh.
    let rows = [
        (None, true, true),
        (Some(key(1)), true, false),
        (Some(format!("{},{}", key(2), key(1))), false, false),
        (Some(key(2)), false, false),
    ];
    for (number, (keys, before, after)) in rows.into_iter().enumerate() {
        let setup = keys.iter().fold(setup.again(), |setup, keys| setup.set("STORE__KEYS", keys));
        let proxy = setup.again().start().await;
        proxy.wait_for_status("read", |status| status["state"] == "valid" && status["generation"] == generation).await;
        assert_eq!(calls(), generation, "{number}: what is stored is used");
        assert_eq!(readable(&document(&setup)), before, "{number}");
        assert_eq!(proxy.refresh().await.status, StatusCode::OK);
        generation += 1;
        assert_eq!(readable(&document(&setup)), after, "{number}");
        proxy.stop().await;
        let (code, out, _) = setup.run(&["status"]).await;
        assert_eq!(code, 0, "{number}: {out}");
    }

    let sealed = document(&setup);
    for wrong in [None, Some(key(3)), Some(key(1))] {
        let setup = wrong.iter().fold(setup.again(), |setup, keys| setup.set("STORE__KEYS", keys));
        let proxy = setup.again().start().await;
        let status = proxy.wait_for_status("refused", |status| status["state"] == "needs_login").await;
        assert!(status["reason"].as_str().unwrap().contains("store.keys"), "{status}");
        assert_eq!(proxy.get("/api/v2/version").await.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(proxy.refresh().await.status, StatusCode::SERVICE_UNAVAILABLE);
        for arguments in [&[][..], &["--replace-damaged"]] {
            let (code, _, err) = proxy.commands().import(arguments, &simulator.grant().refresh_token).await;
            assert!(code == 1 && err.contains("store.keys"), "{err}");
        }
        proxy.stop().await;
        let (code, _, err) = setup.run(&["status"]).await;
        assert!(code == 1 && err.contains("store.keys"), "{err}");
        assert_eq!(document(&setup), sealed, "{wrong:?}");
    }
    assert_eq!(calls(), generation);

    let proxy = setup.set("STORE__KEYS", key(2)).start().await;
    proxy
        .wait_for_status("read again", |status| status["state"] == "valid" && status["generation"] == generation)
        .await;
    assert_eq!(proxy.get("/api/v2/version").await.status, StatusCode::OK);
    proxy.stop().await;
}
