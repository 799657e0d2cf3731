//! `store.keys`: no key, one key, rotated keys, and a wrong key, which is an error that changes nothing.

use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::{Method, StatusCode};
use serde_json::Value;
use simulator::{Options, Simulator};

use testkit::{Proxy, Setup};

fn key(byte: u8) -> String {
    BASE64_STANDARD.encode([byte; 32])
}

fn document(setup: &Setup) -> String {
    std::fs::read_to_string(setup.store()).unwrap()
}

/// Whether it contains tokens in plaintext.
fn readable(document: &str) -> bool {
    document.contains("eyJ") && document.contains("def502")
}

/// The proxy refuses a plaintext document until a person runs `seal`. Then it continues by itself.
async fn sealed_on_request(proxy: &Proxy) {
    let status = proxy.wait_for_status("refused", |status| status["state"] == "needs_login").await;
    assert!(status["reason"].as_str().unwrap().contains("bearer-proxy seal"), "{status}");
    assert_eq!(proxy.admin(Method::GET, "/readyz").await.status, StatusCode::SERVICE_UNAVAILABLE);
    let (code, out, _) = proxy.commands().run(&["status"]).await;
    assert!(code == 3 && out.contains("bearer-proxy seal"), "{out}");
    assert!(readable(&document(proxy.setup())), "not without being told to");
    let (code, out, err) = proxy.commands().run(&["seal"]).await;
    assert!(code == 0 && out.contains("encrypted now"), "{out}{err}");
    let ready = proxy.wait_for_status("going on", |status| status["state"] == "valid");
    tokio::time::timeout(Duration::from_secs(2), ready).await.expect("within two seconds");
    let (code, out, err) = proxy.commands().run(&["seal"]).await;
    assert!(code == 0 && out.contains("already encrypted"), "{out}{err}");
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
        if keys.is_some() && before {
            sealed_on_request(&proxy).await;
        }
        proxy.wait_for_status("read", |status| status["state"] == "valid" && status["generation"] == generation).await;
        assert_eq!(calls(), generation, "{number}: what is stored is used");
        assert_eq!(readable(&document(&setup)), before && keys.is_none(), "{number}");
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

fn put(setup: &Setup, document: &str) {
    let beside = setup.folder().join("new");
    std::fs::write(&beside, document).unwrap();
    std::fs::rename(beside, setup.store()).unwrap();
}

/// A proxy with keys, and what it has stored.
async fn with_keys(simulator: &Simulator) -> (Proxy, String) {
    let proxy = Proxy::before(simulator).set("STORE__KEYS", key(1)).start().await;
    proxy.ready().await;
    let document = document(proxy.setup());
    (proxy, document)
}

/// The proxy continues with its own grant, refuses the document, and stores its grant after the document is moved away.
async fn refuses(proxy: &Proxy, foreign: &str, why: &str) {
    let setup = proxy.setup();
    let generation = proxy.status().await["generation"].clone();
    put(setup, foreign);
    let status = proxy.wait_for_status("refused", |status| status["state"] == "needs_login").await;
    let reason = status["reason"].as_str().unwrap();
    assert!(reason.contains(why) && reason.contains("kept in memory"), "{reason}");
    assert_eq!((&status["persisted"], &status["generation"]), (&Value::Bool(false), &generation));
    assert_eq!(proxy.get("/api/v2/version").await.status, StatusCode::OK, "the live token is used");
    assert_eq!(proxy.refresh().await.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(document(setup), foreign, "nothing was changed");
    std::fs::rename(setup.store(), setup.folder().join("away")).unwrap();
    proxy.wait_for_status("stored", |status| status["state"] == "valid" && status["persisted"] == true).await;
    assert!(setup.store().exists());
}

#[tokio::test]
async fn a_document_of_somebody_else_is_refused_while_the_proxy_runs() {
    let simulator = Simulator::start(Options::league8()).await.unwrap();
    // A plaintext document with other tokens, and an encrypted one of another server under the same key.
    let plaintext = Proxy::before(&simulator).start().await;
    plaintext.ready().await;
    let elsewhere = Simulator::start(Options::league8()).await.unwrap();
    let (other, sealed) = with_keys(&elsewhere).await;

    let (proxy, own) = with_keys(&simulator).await;
    refuses(&proxy, &document(plaintext.setup()), "bearer-proxy seal").await;
    refuses(&proxy, &sealed, "belongs to another server").await;
    let relabelled = {
        let mut envelope: Value = serde_json::from_str(&sealed).unwrap();
        envelope["binding"] = serde_json::from_str::<Value>(&own).unwrap()["binding"].clone();
        envelope.to_string()
    };
    refuses(&proxy, &relabelled, "changed or cut").await;
    assert_eq!(proxy.refresh().await.status, StatusCode::OK);
    let (proxy, other, plaintext) = tokio::join!(proxy.stop(), other.stop(), plaintext.stop());

    // At the start, the proxy has no grant in memory.
    for (foreign, why) in [
        (document(&plaintext), "bearer-proxy seal"),
        (sealed.clone(), "belongs to another server"),
        (relabelled, "changed or cut"),
    ] {
        put(&proxy, &foreign);
        // A document of another server does not say that the initial token was used.
        let proxy = proxy.again().unset("OAUTH__REFRESH_TOKEN").start().await;
        let status = proxy.wait_for_status("refused", |status| status["state"] == "needs_login").await;
        assert!(status["reason"].as_str().unwrap().contains(why), "{status}");
        assert_eq!(proxy.get("/api/v2/version").await.status, StatusCode::SERVICE_UNAVAILABLE);
        proxy.stop().await;
    }
    let spent =
        |simulator: &Simulator| simulator.with_ledger(|ledger| ledger.calls_per_refresh_token().into_values().max());
    assert_eq!((spent(&simulator), spent(&elsewhere)), (Some(1), Some(1)));
    drop(other);
}

#[tokio::test]
async fn a_document_of_another_name_is_refused() {
    let simulator = Simulator::start(Options::league8()).await.unwrap();
    let server = testkit::postgres::Postgres::shared();
    let start = async |name: &str| {
        let setup = Proxy::before(&simulator).unset("STORE__PATH").set("STORE__KIND", "postgres");
        let setup = setup.set("STORE__URL", server.url()).set("STORE__NAME", name).set("STORE__KEYS", key(1));
        let proxy = setup.start().await;
        proxy.ready().await;
        proxy
    };
    let (one, other) = (start("sealed-one").await, start("sealed-other").await);
    let (client, connection) = tokio_postgres::connect(&server.url(), tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    let copy = "UPDATE bearer_proxy_grant SET document = (SELECT document FROM bearer_proxy_grant WHERE name = $1), \
                revision = revision + 1 WHERE name = $2 RETURNING pg_notify('bearer_proxy_grant', name)";
    client.query(copy, &[&"sealed-one", &"sealed-other"]).await.unwrap();
    let refused = |status: &Value| status["state"] == "needs_login" && status["persisted"] == false;
    let status = other.wait_for_status("refused", refused).await;
    assert!(status["reason"].as_str().unwrap().contains("another store.name"), "{status}");
    assert_eq!(other.get("/api/v2/version").await.status, StatusCode::OK);
    assert_eq!(one.refresh().await.status, StatusCode::OK);
    one.stop().await;
    other.kill().await;
}
