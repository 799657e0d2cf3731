use http_body_util::BodyExt;
use url::Url;

use super::super::origin;
use super::super::tests::config;
use super::*;
use crate::token::RefreshToken;

async fn request(config: &TokenEndpoint, presented: Presented<'_>) -> (http::request::Parts, String) {
    let template = Template::new(config, &origin(&config.url).unwrap()).unwrap();
    let (parts, body) = template.request(presented, config).into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    assert_eq!(parts.headers[CONTENT_LENGTH], body.len().to_string());
    (parts, String::from_utf8(body.to_vec()).unwrap())
}

fn secret(text: &str) -> Secret {
    Secret::new(text)
}

#[tokio::test]
async fn configured_parameters_and_the_scope_are_sent_where_the_configuration_says_so() {
    let token = RefreshToken::parse("r").unwrap();
    let mut config = TokenEndpoint {
        scope: Some("a b".into()),
        parameters: vec![("audience".into(), secret("https://api")), ("resource".into(), secret("x&y"))],
        ..config("https://as.test/token")
    };
    let parameters = "audience=https%3A%2F%2Fapi&resource=x%26y";
    let (_, body) = request(&config, Presented::RefreshToken(&token)).await;
    assert_eq!(body, format!("grant_type=refresh_token&refresh_token=r&client_id=7&{parameters}"));
    let (_, body) = request(&config, Presented::ClientCredentials).await;
    assert_eq!(body, format!("grant_type=client_credentials&scope=a+b&client_id=7&{parameters}"));
    config.scope_on_refresh = true;
    let (_, body) = request(&config, Presented::RefreshToken(&token)).await;
    assert_eq!(body, format!("grant_type=refresh_token&refresh_token=r&scope=a+b&client_id=7&{parameters}"));
}

#[tokio::test]
async fn the_body_holds_what_the_grant_asks_for_and_nothing_else() {
    let token = RefreshToken::parse("def502+/=").unwrap();
    let (code, verifier) = (secret("c&d"), secret("v~e"));
    let exchange = Presented::Code { code: &code, verifier: Some(&verifier), redirect_uri: "http://127.0.0.1:1/cb" };
    let refresh = Presented::RefreshToken(&token);
    let body = |format| (ClientAuth::Body, format);
    let rows = [
        (
            refresh,
            body(TokenFormat::Json),
            r#"{"grant_type":"refresh_token","refresh_token":"def502+/=","client_id":"7","client_secret":"s \"ä"}"#,
        ),
        (
            refresh,
            body(TokenFormat::Form),
            "grant_type=refresh_token&refresh_token=def502%2B%2F%3D&client_id=7&client_secret=s+%22%C3%A4",
        ),
        (
            Presented::ClientCredentials,
            body(TokenFormat::Form),
            "grant_type=client_credentials&scope=a+b&client_id=7&client_secret=s+%22%C3%A4",
        ),
        (
            exchange,
            (ClientAuth::Basic, TokenFormat::Form),
            "grant_type=authorization_code&code=c%26d&redirect_uri=http%3A%2F%2F127.0.0.1%3A1%2Fcb&code_verifier=v%7Ee",
        ),
        (
            exchange,
            (ClientAuth::Basic, TokenFormat::Json),
            r#"{"grant_type":"authorization_code","code":"c&d","redirect_uri":"http://127.0.0.1:1/cb","code_verifier":"v~e"}"#,
        ),
    ];
    for (presented, (client_auth, format), expected) in rows {
        let config = TokenEndpoint {
            client_auth,
            format,
            client_id: "7".into(),
            client_secret: Some(secret("s \"ä")),
            scope: Some("a b".into()),
            ..config("https://as.test/oauth/token")
        };
        assert_eq!(request(&config, presented).await.1, expected);
    }
}

#[tokio::test]
async fn the_redirect_uri_goes_along_on_a_refresh_where_the_server_wants_it() {
    let token = RefreshToken::parse("r").unwrap();
    let config = TokenEndpoint {
        redirect_uri_on_refresh: Some(Url::parse("https://my.app.test/cb").unwrap().into()),
        ..config("https://as.test/oauth/token")
    };
    let (_, body) = request(&config, Presented::RefreshToken(&token)).await;
    assert!(body.contains("redirect_uri=https%3A%2F%2Fmy.app.test%2Fcb"), "{body}");
}

#[tokio::test]
async fn the_client_authenticates_in_exactly_one_way() {
    let rows = [
        (ClientAuth::Body, Some("s+:"), None, "grant_type=client_credentials&client_id=a%3Ab&client_secret=s%2B%3A"),
        // `a%3Ab:s%2B%3A`
        (ClientAuth::Basic, Some("s+:"), Some("Basic YSUzQWI6cyUyQiUzQQ=="), "grant_type=client_credentials"),
        (ClientAuth::Basic, None, None, "grant_type=client_credentials&client_id=a%3Ab"),
        (ClientAuth::Body, None, None, "grant_type=client_credentials&client_id=a%3Ab"),
    ];
    for (client_auth, client_secret, header, body) in rows {
        let mut config = TokenEndpoint {
            client_auth,
            client_id: "a:b".into(),
            client_secret: client_secret.map(secret),
            ..config("https://as.test/oauth/token")
        };
        config.headers.insert(AUTHORIZATION, HeaderValue::from_static("Bearer other"));
        let (parts, sent) = request(&config, Presented::ClientCredentials).await;
        assert_eq!(parts.headers.get(AUTHORIZATION).map(|value| value.to_str().unwrap()), header);
        assert_eq!(sent, body);
    }
}

#[tokio::test]
async fn the_head_is_that_of_one_framed_json_wanting_post() {
    let mut config = config("https://user:pass@as.test:8443/a/token?tenant=1#frag");
    config.headers.insert("tenantregion", HeaderValue::from_static("EU"));
    config.headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    config.headers.insert(HOST, HeaderValue::from_static("other.test"));
    let (parts, _) = request(&config, Presented::ClientCredentials).await;
    assert_eq!((parts.method, parts.uri.to_string()), (Method::POST, "/a/token?tenant=1".to_owned()));
    let headers = &parts.headers;
    assert_eq!(headers[HOST], "as.test:8443");
    assert_eq!(headers[ACCEPT], "application/json");
    assert_eq!(headers[USER_AGENT], concat!("bearer-proxy/", env!("CARGO_PKG_VERSION")));
    assert_eq!(headers[CONTENT_TYPE], "application/x-www-form-urlencoded;charset=utf-8");
    assert_eq!(headers["tenantregion"], "EU");
    assert_eq!(headers.get(TRANSFER_ENCODING), None);
    assert_eq!(headers.get_all(HOST).iter().count(), 1);
}

#[tokio::test]
async fn a_configured_accept_and_user_agent_replace_ours() {
    let mut config = config("https://as.test/token");
    config.headers.insert(USER_AGENT, HeaderValue::from_static("other/1"));
    let (parts, _) = request(&config, Presented::ClientCredentials).await;
    assert_eq!(parts.headers.get_all(USER_AGENT).iter().collect::<Vec<_>>(), ["other/1"]);
}
