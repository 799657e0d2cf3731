use std::net::SocketAddr;

use tempfile::TempDir;
use tokio::sync::watch;

use super::*;
use crate::admin::visit::Connected;
use crate::config::{ListenAddress, Sources};

const ADDRESS: &str = "127.0.0.1:9901";

/// A configuration with its own store. A code would be presented to nobody.
fn config(folder: &TempDir) -> Config {
    let store = folder.path().join("grant.json").display().to_string();
    let variables = [
        ("BEARER_PROXY_OAUTH__CLIENT_ID", "7"),
        ("BEARER_PROXY_OAUTH__CLIENT_SECRET", "canary"),
        ("BEARER_PROXY_OAUTH__TOKEN_URL", "http://127.0.0.1:1/token"),
        ("BEARER_PROXY_ADMIN__KEY", "key"),
        ("BEARER_PROXY_STORE__PATH", &store),
    ];
    Config::load(&Sources::new(None, variables)).unwrap().config
}

fn visit() -> Visit {
    let bound = Arc::new(ListenAddress::Tcp(ADDRESS.parse::<SocketAddr>().unwrap()));
    let connection = Connected { until: Instant::now(), stop: watch::channel(false).1 };
    Visit { bound, host: ADDRESS.parse().unwrap(), connection }
}

/// The server's refusal, which needs no exchange.
async fn denied(logins: &Arc<Logins>, begun: &Begun) -> bool {
    let state = begun.authorize_url.query_pairs().find(|(name, _)| name == "state").unwrap().1.into_owned();
    let callback = Callback::from_query(&format!("error=access_denied&state={state}")).unwrap();
    let result = logins.redirected(callback, &[begun.cookie.clone().unwrap().value]).await;
    matches!(result, Some(Err(LoginError::Denied { .. })))
}

#[tokio::test(start_paused = true)]
async fn a_login_waits_for_ten_minutes_and_holds_nothing_afterwards() {
    let (folder, logins) = (tempfile::tempdir().unwrap(), Arc::new(Logins::default()));
    let config = config(&folder);
    let (early, late) =
        (logins.begin(&config, &visit()).await.unwrap(), logins.begin(&config, &visit()).await.unwrap());
    tokio::time::sleep(LIFETIME - Duration::from_secs(1)).await;
    assert!(denied(&logins, &early).await);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(logins.state().waiting.len(), 0);
    assert!(!denied(&logins, &late).await);
}

#[tokio::test]
async fn a_ninth_login_replaces_the_oldest() {
    let (folder, logins) = (tempfile::tempdir().unwrap(), Arc::new(Logins::default()));
    let config = config(&folder);
    let mut all = Vec::new();
    for _ in 0..=MOST {
        all.push(logins.begin(&config, &visit()).await.unwrap());
    }
    assert!(!denied(&logins, &all[0]).await);
    assert!(denied(&logins, &all[1]).await);
}

/// Only an error says why: nothing was presented.
#[tokio::test]
async fn a_login_that_was_denied_is_over() {
    let (folder, logins) = (tempfile::tempdir().unwrap(), Arc::new(Logins::default()));
    let config = config(&folder);
    let begun = logins.begin(&config, &visit()).await.unwrap();
    assert!(denied(&logins, &begun).await);
    assert!(!denied(&logins, &begun).await);
    let last = logins.offer(&config, &visit()).last.unwrap();
    assert!(!last.ok && last.message.ends_with("The stored grant is unchanged."), "{last:?}");
}

#[tokio::test]
async fn a_store_that_cannot_be_written_is_found_before_a_person_logs_in() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(&folder);
    config.store.kind = crate::config::StoreKindConfig::File { path: folder.path().join("none/grant.json") };
    let error = Arc::new(Logins::default()).begin(&config, &visit()).await.unwrap_err();
    assert!(error.to_string().starts_with("the store cannot take a grant"), "{error}");
}
