use http::StatusCode;

use crate::config::{
    AmbiguousRetry, ClientAuth, GrantConfig, PathPattern, RefusalPattern, RefusalSign, SecretSource, StoreKindConfig,
    TokenFormat,
};

use super::{Files, load};

const PRIAVA: &str = "profile = 'priava'\n[oauth]\nredirect_uri = 'https://app.example'\nheaders.tenantregion = 'EU'";
const CUSTOM: &str =
    "profile = 'custom'\nupstream.url = 'https://api.example/v1/'\noauth.token_url = 'https://as.example/token'";

fn bare(status: StatusCode) -> RefusalPattern {
    RefusalPattern { status, sign: RefusalSign::Status }
}

#[test]
fn passolution_is_as_documented() {
    let config = load("", &[]).unwrap().config;
    assert_eq!(
        (config.upstream.origin.to_string().as_str(), config.upstream.path_prefix.as_str()),
        ("https://api.passolution.eu", "")
    );
    let login =
        |status| RefusalPattern { status, sign: RefusalSign::Location(PathPattern::parse("**/login").unwrap()) };
    assert_eq!(
        config.upstream.refusal,
        [bare(StatusCode::UNAUTHORIZED), login(StatusCode::FOUND), login(StatusCode::SEE_OTHER)]
    );
    assert_eq!(config.upstream.default_accept.unwrap(), "application/json, */*;q=0.8");
    assert!(config.upstream.headers.is_empty());
    let endpoint = config.oauth.grant.endpoint().unwrap().clone();
    assert_eq!(endpoint.url.as_str(), "https://web.passolution.eu/oauth/token");
    assert_eq!((endpoint.format, endpoint.client_auth), (TokenFormat::Json, ClientAuth::Body));
    assert_eq!((endpoint.ambiguous_retry, endpoint.redirect_uri_on_refresh), (AmbiguousRetry::UntilClear, None));
    assert!(endpoint.headers.is_empty());
    let login = config.oauth.login;
    assert_eq!(login.authorize_url.unwrap().as_str(), "https://web.passolution.eu/oauth/authorize");
    assert_eq!(login.redirect_uri.unwrap().as_str(), "http://127.0.0.1/callback");
    assert_eq!(login.scope.as_deref(), Some("*"));
    assert_eq!(config.check.path.as_deref(), Some("/api/v2/account/subscription"));
}

#[test]
fn an_empty_path_of_the_check_is_no_call() {
    for toml in ["check.path = ''", PRIAVA] {
        assert_eq!(load(toml, &[]).unwrap().config.check.path, None, "{toml}");
    }
    assert_eq!(load("", &[("BEARER_PROXY_CHECK__PATH", "")]).unwrap().config.check.path, None);
    assert_eq!(load("check.path = '/me?x=1'", &[]).unwrap().config.check.path.as_deref(), Some("/me?x=1"));
}

#[test]
fn priava_is_as_documented() {
    let config = load(PRIAVA, &[]).unwrap().config;
    assert_eq!(config.upstream.origin.to_string(), "https://api.priava.com");
    assert_eq!(config.upstream.refusal, [bare(StatusCode::UNAUTHORIZED)]);
    assert_eq!(
        (config.upstream.default_accept, config.oauth.login.authorize_url, config.oauth.login.scope),
        (None, None, None)
    );
    let endpoint = config.oauth.grant.endpoint().unwrap();
    assert_eq!(endpoint.url.as_str(), "https://api.priava.com/api/rest/oauth/token");
    assert_eq!((endpoint.format, endpoint.client_auth), (TokenFormat::Form, ClientAuth::Body));
    assert_eq!(endpoint.ambiguous_retry, AmbiguousRetry::Once);
    assert_eq!(endpoint.redirect_uri_on_refresh.as_ref().unwrap().as_str(), "https://app.example");
    assert_eq!(endpoint.headers["TenantRegion"], "EU");
    assert_eq!(config.upstream.headers["TenantRegion"], "EU");
}

#[test]
fn custom_keeps_to_the_rfc() {
    let config = load(CUSTOM, &[]).unwrap().config;
    assert_eq!(
        (config.upstream.origin.to_string().as_str(), config.upstream.path_prefix.as_str()),
        ("https://api.example", "/v1")
    );
    assert_eq!(config.upstream.refusal, [bare(StatusCode::UNAUTHORIZED)]);
    let endpoint = config.oauth.grant.endpoint().unwrap();
    assert_eq!((endpoint.format, endpoint.client_auth), (TokenFormat::Form, ClientAuth::Body));
    assert_eq!((endpoint.ambiguous_retry, &endpoint.redirect_uri_on_refresh), (AmbiguousRetry::Once, &None));
    assert_eq!(config.oauth.login.redirect_uri.unwrap().as_str(), "http://127.0.0.1/callback");
    assert_eq!((config.oauth.login.scope, config.upstream.default_accept), (None, None));
}

#[test]
fn the_upstream_can_have_a_tenant_of_its_own() {
    let config = load(&format!("{PRIAVA}\n[upstream.headers]\nTenantRegion = 'US'"), &[]).unwrap().config;
    assert_eq!(config.upstream.headers["TenantRegion"], "US");
    assert_eq!(config.oauth.grant.endpoint().unwrap().headers["TenantRegion"], "EU");
}

#[test]
fn what_a_profile_and_a_grant_need_is_asked_for() {
    for (toml, expected) in [
        ("", "oauth.client_id oauth.client_secret"),
        ("oauth.grant = 'client_credentials'", "oauth.client_id oauth.client_secret"),
        ("oauth.grant = 'static'", "oauth.access_token"),
        ("profile = 'priava'", "oauth.headers oauth.client_id oauth.client_secret oauth.redirect_uri"),
        ("profile = 'priava'\noauth.grant = 'client_credentials'", "oauth.headers oauth.client_id oauth.client_secret"),
        ("profile = 'priava'\noauth.grant = 'static'", "oauth.headers oauth.access_token"),
        ("profile = 'custom'", "upstream.url oauth.token_url oauth.client_id"),
        (
            "profile = 'custom'\noauth.client_auth = 'basic'",
            "upstream.url oauth.token_url oauth.client_id oauth.client_secret",
        ),
        (
            "profile = 'custom'\noauth.grant = 'client_credentials'",
            "upstream.url oauth.token_url oauth.client_id oauth.client_secret",
        ),
        ("profile = 'custom'\noauth.grant = 'static'", "upstream.url oauth.access_token"),
    ] {
        let errors = Files::new().errors(toml, &[]);
        let keys: Vec<_> = errors.iter().map(|line| line.split(": missing: ").next().unwrap()).collect();
        assert_eq!(keys.join(" "), expected, "{toml}");
    }
}

#[test]
fn a_public_client_is_one_without_a_secret() {
    let config = Files::new().load(CUSTOM, &[("BEARER_PROXY_OAUTH__CLIENT_ID", "public")]).unwrap().config;
    assert_eq!(config.oauth.grant.endpoint().unwrap().client_secret, None);
}

#[test]
fn another_grant_needs_no_file_to_keep_it() {
    let config = load("oauth.grant = 'client_credentials'", &[]).unwrap().config;
    assert!(matches!(config.store.kind, StoreKindConfig::Memory));
    assert!(
        matches!(config.oauth.grant, GrantConfig::ClientCredentials { endpoint } if endpoint.scope.as_deref() == Some("*"))
    );
    let environment = [("BEARER_PROXY_OAUTH__GRANT", "static"), ("BEARER_PROXY_OAUTH__ACCESS_TOKEN", "token")];
    let config = Files::new().load("", &environment).unwrap().config;
    assert!(matches!(config.store.kind, StoreKindConfig::Memory));
    let GrantConfig::Static { access_token: SecretSource::Inline(token) } = config.oauth.grant else { panic!() };
    assert_eq!(token.expose(), "token");
}
