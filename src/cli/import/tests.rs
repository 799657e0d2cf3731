use super::*;
use crate::cli::tests::{config, nobody};
use crate::token::store::Record;
use crate::token::{Generation, RefreshToken};

fn token(text: &str) -> RefreshToken {
    RefreshToken::parse(text).unwrap()
}

async fn import(config: &Config, options: &Options, input: &str) -> Result<Outcome, Failure> {
    store(config, options, "standard input", input.as_bytes()).await
}

async fn record(config: &Config) -> Record {
    Store::open(&config.store, None).await.unwrap().load().await.unwrap().unwrap()
}

/// Nobody answers at these tests' token endpoint.
const PLAIN: Options = Options { replace_damaged: false, unverified: true };

#[tokio::test]
async fn a_grant_is_bound_to_the_configured_server() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), &nobody(), &[]);
    let before = Timestamp::now();
    let answer = r#"{"access_token":"a","refresh_token":"r","expires_in":3600}"#;
    let outcome = import(&config, &PLAIN, answer).await.unwrap();
    assert_eq!(outcome.text, "stored as generation 1; a running proxy uses it within a second\n");

    let stored = record(&config).await;
    assert_eq!(stored.binding.token_url, "https://web.passolution.eu/oauth/token");
    assert_eq!(stored.binding.client_id, "7");
    assert_eq!(stored.binding.upstream_origin, "https://api.passolution.eu");
    assert_eq!(stored.generation, Generation(1));
    let end = stored.access.unwrap().expires_at.unwrap();
    assert!(end >= before + SignedDuration::from_secs(3600));
    assert!(end <= Timestamp::now() + SignedDuration::from_secs(3600));

    let outcome = import(&config, &PLAIN, "bare").await.unwrap();
    assert_eq!(outcome.text, "stored as a candidate: it replaces the grant once a proxy has refreshed with it\n");
    let stored = record(&config).await;
    assert_eq!(stored.refresh, Some(token("r")), "the grant stays until the candidate has worked");
    let candidate = stored.candidate.unwrap();
    assert_eq!((candidate.token, candidate.awaited), (Some(token("bare")), false));
    assert_eq!(candidate.binding.token_url, "https://web.passolution.eu/oauth/token");
}

#[tokio::test]
async fn a_first_token_in_the_configuration_that_would_come_first_is_pointed_out() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), &nobody(), &[("BEARER_PROXY_OAUTH__REFRESH_TOKEN", "canary")]);
    let text = import(&config, &PLAIN, "bare").await.unwrap().text;
    assert!(text.contains("oauth.refresh_token") && !text.contains("canary"), "{text}");
    let known = r#"{"access_token":"a","refresh_token":"canary"}"#;
    assert!(!import(&config, &PLAIN, known).await.unwrap().text.contains("note:"));
}

#[tokio::test]
async fn what_is_not_stored_says_why_and_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), &nobody(), &[]);
    let failure = import(&config, &PLAIN, "two words").await.unwrap_err();
    assert!(
        failure.text.starts_with("standard input holds no grant: ") && !failure.text.contains("two words"),
        "{failure}"
    );

    let path = folder.path().join("grant.json");
    std::fs::write(&path, "half a docu").unwrap();
    let failure = import(&config, &PLAIN, "canary").await.unwrap_err();
    assert!(failure.text.ends_with("`bearer-proxy import --replace-damaged`"), "{failure}");
    assert!(!failure.text.contains("canary"), "{failure}");
    import(&config, &Options { replace_damaged: true, ..PLAIN }, "canary").await.unwrap();
    assert_eq!(record(&config).await.candidate.unwrap().token, Some(token("canary")));
}

#[tokio::test]
async fn a_grant_without_a_refresh_token_takes_none() {
    let environment = [
        ("BEARER_PROXY_OAUTH__GRANT", "client_credentials"),
        ("BEARER_PROXY_OAUTH__CLIENT_ID", "7"),
        ("BEARER_PROXY_OAUTH__CLIENT_SECRET", "s"),
    ];
    let config = Config::load(&crate::config::Sources::new(None, environment)).unwrap().config;
    let failure = import(&config, &PLAIN, "canary").await.unwrap_err();
    assert!(
        failure.text.contains("oauth.grant is client_credentials") && !failure.text.contains("canary"),
        "{failure}"
    );
}
