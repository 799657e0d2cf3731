//! A guard that is empty, or still has an example's value, is a configuration error. It does not mean open access.

use simulator::{Options, Simulator};

use testkit::Proxy;

const EMPTY_KEYS_DIGEST: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

#[tokio::test]
async fn an_empty_guard_stops_the_start() {
    let simulator = Simulator::start(Options::league8()).await.unwrap();
    for (variable, value, said) in [
        ("GUARD__ALLOW", "", "guard.allow"),
        ("GUARD__ALLOW", ",", "guard.allow"),
        ("GUARD__CLIENT_KEYS", "", "guard.client_keys"),
        ("GUARD__CLIENT_KEYS", EMPTY_KEYS_DIGEST, "empty key"),
        ("TLS__CLIENT_CA_FILE", "", "tls.client_ca_file"),
        ("STORE__KEYS", "", "store.keys"),
        ("STORE__KEYS_FILE", "", "store.keys_file"),
        ("ADMIN__KEY", "", "admin.key"),
    ] {
        let setup = Proxy::before(&simulator).set(variable, value);
        for command in ["serve", "config"] {
            let (code, _, err) = setup.run(&[command]).await;
            assert!(code == 78 && err.contains(said), "{command} with {variable}={value:?}: {code} {err}");
        }
    }
    for (toml, said) in [
        ("guard.allow = []", "guard.allow"),
        ("guard.client_keys = ['']", "guard.client_keys"),
        ("tls.client_ca_file = ''", "tls.client_ca_file"),
        ("store.keys = []", "store.keys"),
        ("admin.key = ''", "admin.key"),
    ] {
        let setup = Proxy::before(&simulator);
        let file = setup.folder().join("proxy.toml");
        std::fs::write(&file, toml).unwrap();
        let (code, _, err) = setup.set("CONFIG", file.display()).run(&["config"]).await;
        assert!(code == 78 && err.contains(said) && err.contains("line 1"), "{toml}: {code} {err}");
    }
}

#[tokio::test]
async fn a_manifest_does_not_start_unedited() {
    let simulator = Simulator::start(Options::league8()).await.unwrap();
    for name in ["gateway", "gateway-postgres"] {
        let path = format!("{}/deploy/kubernetes/{name}.yaml", env!("CARGO_MANIFEST_DIR"));
        let manifest = std::fs::read_to_string(path).unwrap();
        let value = |variable: &str| {
            let line = manifest.lines().find(|line| line.contains(&format!("name: BEARER_PROXY_{variable},")));
            line.and_then(|line| line.split('"').nth(1)).unwrap_or_else(|| panic!("{name}: no {variable}"))
        };
        let keys = value("GUARD__CLIENT_KEYS");
        let setup =
            Proxy::before(&simulator).set("GUARD__HOSTS", value("GUARD__HOSTS")).set("GUARD__CLIENT_KEYS", keys);
        let (code, _, err) = setup.run(&["config"]).await;
        assert!(code == 78 && err.contains("guard.client_keys"), "{name}: {code} {err}");
        assert!(err.contains("placeholder"), "{name}: {err}");
        assert!(!manifest.contains(EMPTY_KEYS_DIGEST), "{name}");
    }
}
