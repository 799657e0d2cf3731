use super::*;
use crate::cli::tests::{config, nobody};
use crate::token::Generation;
use crate::token::store::Record;

fn parse(text: &str) -> Result<(String, Option<String>, Option<u64>), Malformed> {
    let Offered { refresh, access, lifetime } = Offered::parse(text.as_bytes())?;
    let access = access.map(|token| token.secret().expose().to_owned());
    Ok((refresh.secret().expose().to_owned(), access, lifetime.map(|lifetime| lifetime.as_secs())))
}

#[test]
fn a_bare_token_and_the_endpoints_answer_are_understood() {
    let full = |lifetime| Ok(("r".to_owned(), Some("a".to_owned()), lifetime));
    for (text, expected) in [
        ("def502", Ok(("def502".to_owned(), None, None))),
        ("  def502\r\n", Ok(("def502".to_owned(), None, None))),
        ("\u{feff}def502", Ok(("def502".to_owned(), None, None))),
        (r#"{"refresh_token":"r"}"#, Ok(("r".to_owned(), None, None))),
        (r#"{"refresh_token":"r","access_token":null}"#, Ok(("r".to_owned(), None, None))),
        (
            r#"{"token_type":"Bearer","expires_in":31536000,"access_token":"a","refresh_token":"r"}"#,
            full(Some(31_536_000)),
        ),
        (r#" {"expires_in":"60","access_token":"a","refresh_token":"r"} "#, full(Some(60))),
        (r#"{"expires_in":0,"access_token":"a","refresh_token":"r"}"#, full(None)),
        (r#"{"expires_in":-5,"access_token":"a","refresh_token":"r"}"#, full(None)),
        (r#"{"expires_in":"soon","access_token":"a","refresh_token":"r"}"#, full(None)),
        (r#"{"expires_in":1e300,"access_token":"a","refresh_token":"r"}"#, full(Some(315_360_000))),
        (r#"{"access_token":"a","refresh_token":"r"}"#, full(None)),
    ] {
        assert_eq!(parse(text), expected, "{text}");
    }
}

#[test]
fn anything_else_is_refused_without_repeating_it() {
    let long = "x".repeat(MAX_INPUT + 1);
    for (text, expected) in [
        ("", Malformed::Empty),
        (" \n", Malformed::Empty),
        ("canary canary", Malformed::NotAToken),
        ("\"canary\"", Malformed::NotAToken),
        ("canar\u{fc}", Malformed::NotAToken),
        ("[\"canary\"]", Malformed::NotAToken),
        (r#"{"refresh_token":"canary"#, Malformed::NotJson),
        (r#"{"access_token":"canary"}"#, Malformed::NoRefreshToken),
        (r#"{"error":"canary","hint":"canary"}"#, Malformed::ErrorAnswer),
        (r#"{"refresh_token":["canary"]}"#, Malformed::NotATokenIn("refresh_token")),
        (r#"{"refresh_token":"canary\ncanary"}"#, Malformed::NotATokenIn("refresh_token")),
        (r#"{"refresh_token":""}"#, Malformed::NoRefreshToken),
        (r#"{"refresh_token":"r","access_token":"canary\n"}"#, Malformed::NotATokenIn("access_token")),
        (&long, Malformed::TooLong),
    ] {
        assert_eq!(parse(text), Err(expected), "{text:.40}");
        assert!(!expected.to_string().contains("canary"));
    }
    assert_eq!(Offered::parse(b"\xff\xfed\0").unwrap_err(), Malformed::NotText);
}

async fn import(config: &Config, options: &Options, input: &str) -> Result<Outcome, Failure> {
    store(config, options, input.as_bytes()).await
}

async fn record(config: &Config) -> Record {
    Store::open(&config.store, None).await.unwrap().load().await.unwrap().unwrap()
}

const PLAIN: Options = Options { replace_damaged: false };

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
    assert_eq!(outcome.text, "stored; a running proxy refreshes it at once\n");
    assert_eq!(record(&config).await.refresh, Some(RefreshToken::parse("bare").unwrap()));
}

#[tokio::test]
async fn a_first_token_in_the_configuration_that_would_come_first_is_pointed_out() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), &nobody(), &[("BEARER_PROXY_OAUTH__REFRESH_TOKEN", "canary")]);
    let text = import(&config, &PLAIN, "bare").await.unwrap().text;
    assert!(text.contains("oauth.refresh_token") && !text.contains("canary"), "{text}");
    assert!(!import(&config, &PLAIN, "canary").await.unwrap().text.contains("note:"));
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
    import(&config, &Options { replace_damaged: true }, "canary").await.unwrap();
    assert_eq!(record(&config).await.refresh, Some(RefreshToken::parse("canary").unwrap()));
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
