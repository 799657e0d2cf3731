use super::*;

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
fn a_form_encoded_response_is_understood_like_json() {
    let full = |lifetime| Ok(("ghr_r".to_owned(), Some("ghu_a".to_owned()), lifetime));
    for (text, expected) in [
        (
            "access_token=ghu_a&expires_in=28800&refresh_token=ghr_r&refresh_token_expires_in=15897600&scope=&token_type=bearer",
            full(Some(28_800)),
        ),
        ("refresh_token=ghr_r&access_token=ghu_a\n", full(None)),
        ("refresh_token=ghr_r", Ok(("ghr_r".to_owned(), None, None))),
        ("refresh_token=a%2Bb%3D", Ok(("a+b=".to_owned(), None, None))),
        ("access_token=canary", Err(Malformed::NoRefreshToken)),
        (
            "error=bad_refresh_token&error_description=The+refresh+token+passed+is+incorrect+or+expired.",
            Err(Malformed::ErrorResponse(
                "bad_refresh_token: The refresh token passed is incorrect or expired.".to_owned(),
            )),
        ),
    ] {
        assert_eq!(parse(text), expected, "{text}");
    }
}

/// Only the server knows its tokens, so this refuses only what is clearly something else.
#[test]
fn what_only_might_be_something_else_passes() {
    let keycloak = jwt(r#"{"alg":"HS512","typ":"JWT"}"#, r#"{"typ":"Offline","token_use":"refresh"}"#);
    let silent = jwt(r#"{"alg":"RS256","typ":"JWT"}"#, r#"{"jti":"1","scopes":["*"]}"#);
    for token in [
        "def502",
        "1//0gabc-_~.+/",
        "YWJjZA==",
        "abc=def",
        "Bearer",
        "nullable",
        "httpsecret",
        "a.b.c",
        "eyJhbGciOiJkaXIifQ..a.b.c",
        "$",
        "a$b",
        &keycloak,
        &jwt("{}", r#"{"typ":"Refresh"}"#),
        &silent,
    ] {
        assert_eq!(parse(token), Ok((token.to_owned(), None, None)), "{token}");
    }
}

fn jwt(header: &str, claims: &str) -> String {
    use base64::Engine;
    let part = |text: &str| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text);
    format!("{}.{}.canary", part(header), part(claims))
}

#[test]
fn what_is_clearly_no_refresh_token_is_named() {
    let plain = r#"{"alg":"RS256","typ":"JWT"}"#;
    let access = Malformed::OtherToken("an access token");
    for (text, expected) in [
        ("null", Malformed::NoValue("null")),
        ("NULL\n", Malformed::NoValue("null")),
        ("None", Malformed::NoValue("none")),
        ("undefined", Malformed::NoValue("undefined")),
        ("<html>canary</html>", Malformed::Html),
        ("<!DOCTYPE html>\n<p>canary", Malformed::Html),
        ("https://api.test/callback?code=canary", Malformed::Url),
        ("HTTP://127.0.0.1/callback?code=canary", Malformed::Url),
        ("Bearer canary", Malformed::Scheme("Bearer")),
        ("bearer canary", Malformed::Scheme("Bearer")),
        ("Authorization: Bearer canary", Malformed::Scheme("Authorization:")),
        ("\"canary\"", Malformed::Quoted),
        ("'canary'", Malformed::Quoted),
        ("REFRESH_TOKEN=canary", Malformed::Assignment),
        ("export TOKEN=canary", Malformed::Assignment),
        ("refreshToken=canary", Malformed::Assignment),
        ("BEARER_PROXY_OAUTH__REFRESH_TOKEN=canary", Malformed::Assignment),
        ("$REFRESH_TOKEN", Malformed::Variable),
        ("${TOKEN}", Malformed::Variable),
        ("canary\ncanary", Malformed::SeveralLines(2)),
        ("HTTP/1.1 200 OK\r\nDate: x\r\n\r\n{}", Malformed::SeveralLines(4)),
        (&jwt(r#"{"alg":"RS256","typ":"at+jwt"}"#, "{}"), access.clone()),
        (&jwt(r#"{"typ":"application/AT+JWT"}"#, "{}"), access.clone()),
        (&jwt(plain, r#"{"typ":"Bearer"}"#), access.clone()),
        (&jwt(plain, r#"{"token_type":"Bearer"}"#), access.clone()),
        (&jwt(plain, r#"{"token_use":"access"}"#), access),
        (&jwt(plain, r#"{"token_use":"id"}"#), Malformed::OtherToken("an ID token")),
        (&jwt(plain, r#"{"typ":"ID"}"#), Malformed::OtherToken("an ID token")),
    ] {
        assert_eq!(parse(text), Err(expected.clone()), "{text}");
        assert!(!expected.to_string().contains("canary"));
    }
}

#[test]
fn an_error_response_says_what_the_server_said_and_no_token() {
    let token = "0123456789abcdef".repeat(4);
    let long = "word ".repeat(500);
    for (text, expected) in [
        (r#"{"error":"invalid_grant"}"#.to_owned(), "invalid_grant".to_owned()),
        (
            r#"{"error":"invalid_grant","error_description":"Token has been revoked","hint":"Log\n in"}"#.to_owned(),
            "invalid_grant: Token has been revoked: Log  in".to_owned(),
        ),
        (r#"{"error":{"code":1}}"#.to_owned(), "nothing".to_owned()),
        (format!(r#"{{"error":"x","error_description":"token {token}"}}"#), "x: token [masked]".to_owned()),
        (format!(r#"{{"error":"x","error_description":"{long}"}}"#), format!("x: {long}").chars().take(SAID).collect()),
    ] {
        assert_eq!(parse(&text), Err(Malformed::ErrorResponse(expected)), "{text:.80}");
    }
}

#[test]
fn anything_else_is_refused_without_repeating_it() {
    let long = "x".repeat(MAX_INPUT + 1);
    for (text, expected) in [
        ("", Malformed::Empty),
        (" \n", Malformed::Empty),
        ("canary canary", Malformed::NotAToken),
        ("canar\u{fc}", Malformed::NotAToken),
        ("[\"canary\"]", Malformed::NotAToken),
        (r#"{"refresh_token":"canary"#, Malformed::NotJson),
        (r#"{"access_token":"canary"}"#, Malformed::NoRefreshToken),
        (r#"{"refresh_token":["canary"]}"#, Malformed::NotATokenIn("refresh_token")),
        (r#"{"refresh_token":"canary\ncanary"}"#, Malformed::NotATokenIn("refresh_token")),
        (r#"{"refresh_token":""}"#, Malformed::NoRefreshToken),
        (r#"{"refresh_token":"r","access_token":"canary\n"}"#, Malformed::NotATokenIn("access_token")),
        (&long, Malformed::TooLong),
    ] {
        assert_eq!(parse(text), Err(expected.clone()), "{text:.40}");
        assert!(!expected.to_string().contains("canary"));
    }
    assert_eq!(Offered::parse(b"\xff\xfed\0").unwrap_err(), Malformed::NotText);
}
