//! The program reads a document of version 0.1.0, in plaintext or sealed. The next refresh writes the current format. The change of
//! format alone presents no token.

use aws_lc_rs::aead::{AES_256_GCM, Aad, RandomizedNonceKey};
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::StatusCode;
use serde_json::{Value, json};
use simulator::{CLIENT_ID, Options, Simulator};

use testkit::Proxy;

const KEY: [u8; 32] = [7; 32];

/// As version 0.1.0 wrote it (src/token/store/document/format_1.json is a whole one).
fn document(simulator: &Simulator) -> Value {
    let grant = simulator.grant();
    json!({
        "format": 1,
        "binding": {
            "token_url": simulator.token_url(),
            "client_id": CLIENT_ID,
            "upstream_origin": simulator.origin(),
        },
        "generation": 5,
        "access": {
            "token": grant.access_token,
            "obtained_at": jiff::Timestamp::now(),
            "expires_at": jiff::Timestamp::now() + jiff::SignedDuration::from_hours(24 * 365),
        },
        "refresh_token": grant.refresh_token,
        "intent": null,
        "needs_login": null,
        "taken": [],
        "last_refresh": null,
    })
}

fn sealed(document: &Value) -> Value {
    let cipher = RandomizedNonceKey::new(&AES_256_GCM, &KEY).unwrap();
    let mut data = document.to_string().into_bytes();
    let nonce =
        cipher.seal_in_place_append_tag(Aad::from(b"bearer-proxy grant document, format 1"), &mut data).unwrap();
    let key: String = digest(&SHA256, &KEY).as_ref()[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    let (nonce, data) = (BASE64_STANDARD.encode(nonce.as_ref()), BASE64_STANDARD.encode(data));
    json!({ "format": 1, "sealed": { "key": key, "nonce": nonce, "data": data } })
}

#[tokio::test]
async fn in_plaintext_and_sealed() {
    let simulator = Simulator::start(Options::league8()).await.unwrap();
    let mut lineages = Vec::new();
    for keys in [None, Some(BASE64_STANDARD.encode(KEY))] {
        let document = document(&simulator);
        let setup = Proxy::without_grant(&simulator);
        let (setup, stored) = match &keys {
            None => (setup, document),
            Some(key) => (setup.set("STORE__KEYS", key), sealed(&document)),
        };
        std::fs::write(setup.store(), stored.to_string()).unwrap();
        let calls = simulator.with_ledger(|ledger| ledger.token_calls().len());
        let proxy = setup.again().start().await;
        proxy.wait_for_status("read", |status| status["state"] == "valid" && status["generation"] == 5).await;
        assert_eq!(proxy.get("/api/v2/version").await.status, StatusCode::OK);
        assert_eq!(simulator.with_ledger(|ledger| ledger.token_calls().len()), calls);
        assert_eq!(std::fs::read_to_string(setup.store()).unwrap(), stored.to_string());

        assert_eq!(proxy.refresh().await.status, StatusCode::OK);
        let written = setup.document();
        assert_eq!((&written["format"], written["sealed"].is_null()), (&json!(2), keys.is_none()));
        lineages.push(written["lineage"].clone());
        // The restored document is an older state of the same grant.
        let beside = setup.folder().join("backup");
        std::fs::write(&beside, stored.to_string()).unwrap();
        std::fs::rename(beside, setup.store()).unwrap();
        proxy
            .wait_for_log("the backup", |line| line["message"].as_str().unwrap().contains("stored again from memory"))
            .await;
        proxy.wait_for_status("stored", |status| status["persisted"] == true && status["generation"] == 6).await;
        assert_eq!(proxy.refresh().await.status, StatusCode::OK);
        proxy.stop().await;
    }
    assert!(lineages[0].as_str().unwrap().len() == 32, "{lineages:?}");
    let presented = simulator.with_ledger(|ledger| ledger.calls_per_refresh_token().into_values().max());
    assert_eq!(presented, Some(1));
}
