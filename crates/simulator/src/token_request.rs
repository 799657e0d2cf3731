//! A token call as the server reads it: parameters from a JSON or form body, credentials from the body or from `Basic`.

use std::collections::HashMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, header};
use serde_json::Value;
use url::form_urlencoded;

use super::laravel;
use super::options::{Flavour, GrantType};
use super::token_error::TokenError;

#[derive(Debug)]
pub(super) struct TokenRequest {
    flavour: Flavour,
    params: HashMap<String, Param>,
    /// Name and password of `Authorization: Basic`.
    basic: Option<(String, String)>,
    /// The scheme of `Authorization`, if the field was there.
    pub scheme: Option<String>,
    pub tenant_region: Option<String>,
    pub expects_json: bool,
}

/// A parameter's value. A form has only texts; JSON has types.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Param {
    Text(String),
    /// A number or a boolean, as PHP writes it.
    Scalar(String),
    Other,
}

// === impl TokenRequest ===

impl TokenRequest {
    /// An unreadable body has no parameters. The server then misses `grant_type` first.
    pub fn read(flavour: Flavour, headers: &HeaderMap, body: &[u8]) -> Self {
        let authorization =
            headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let basic = credentials(flavour, authorization);
        Self {
            flavour,
            params: parameters(flavour, headers, body),
            basic,
            scheme: authorization.split(' ').next().filter(|scheme| !scheme.is_empty()).map(str::to_owned),
            tenant_region: headers.get("tenantregion").and_then(|value| value.to_str().ok()).map(str::to_owned),
            expects_json: laravel::expects_json(headers),
        }
    }

    pub fn grant_type(&self) -> Option<GrantType> {
        self.text("grant_type").ok().flatten().and_then(GrantType::parse)
    }

    /// The body takes precedence over `Basic`.
    pub fn client_id(&self) -> Result<&str, TokenError> {
        let missing = || TokenError::Parameter("client_id".to_owned());
        match self.params.get("client_id") {
            // League 8 looks the client up by an id of any type. PHP's `!==` compares the type later.
            Some(Param::Text(id) | Param::Scalar(id)) => Ok(id),
            Some(Param::Other) => Err(missing()),
            None => self.basic.as_ref().map(|(name, _)| name.as_str()).ok_or_else(missing),
        }
    }

    /// Whether the client id has its registered type. League 9 converts everything to text first.
    pub fn client_id_is_text(&self) -> bool {
        self.flavour != Flavour::League8 || !matches!(self.params.get("client_id"), Some(Param::Scalar(_)))
    }

    pub fn client_secret(&self) -> Result<Option<&str>, TokenError> {
        Ok(self.text("client_secret")?.or(self.basic.as_ref().map(|(_, password)| password.as_str())))
    }

    /// Whether the client sent its secret in two ways at once (RFC 6749 §2.3).
    pub fn has_two_credentials(&self) -> bool {
        self.basic.is_some() && self.params.contains_key("client_secret")
    }

    /// A parameter. An empty one counts as missing: Laravel converts it to null before a controller sees it.
    pub fn text(&self, name: &str) -> Result<Option<&str>, TokenError> {
        match self.params.get(name) {
            None => Ok(None),
            Some(Param::Text(text)) => Ok(Some(text)),
            Some(Param::Scalar(text)) if self.flavour != Flavour::League8 => Ok(Some(text)),
            Some(Param::Scalar(_) | Param::Other) => Err(TokenError::Parameter(name.to_owned())),
        }
    }

    pub fn required(&self, name: &str) -> Result<&str, TokenError> {
        self.text(name)?.ok_or_else(|| TokenError::Parameter(name.to_owned()))
    }
}

fn parameters(flavour: Flavour, headers: &HeaderMap, body: &[u8]) -> HashMap<String, Param> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let pairs: Vec<(String, Param)> = if kind.starts_with("application/x-www-form-urlencoded") {
        // Of repeated parameters PHP takes the last.
        form_urlencoded::parse(body).map(|(name, text)| (name.into_owned(), Param::Text(text.into_owned()))).collect()
    } else if flavour.is_league() && (kind.contains("/json") || kind.contains("+json")) {
        match serde_json::from_slice(body) {
            Ok(Value::Object(members)) => members
                .into_iter()
                .filter(|(_, value)| !value.is_null())
                .map(|(name, value)| (name, value.into()))
                .collect(),
            _ => Vec::new(),
        }
    } else {
        Vec::new()
    };
    let trimmed = pairs.into_iter().map(|(name, param)| match param {
        Param::Text(text) => (name, Param::Text(text.trim().to_owned())),
        other => (name, other),
    });
    trimmed.filter(|(_, param)| *param != Param::Text(String::new())).collect()
}

fn credentials(flavour: Flavour, authorization: &str) -> Option<(String, String)> {
    let (scheme, encoded) = authorization.split_at_checked("Basic ".len())?;
    let is_basic = if flavour == Flavour::League8 { scheme == "Basic " } else { scheme.eq_ignore_ascii_case("Basic ") };
    let decoded = String::from_utf8(STANDARD.decode(encoded).ok()?).ok()?;
    let (name, password) = decoded.split_once(':').filter(|_| is_basic)?;
    if flavour == Flavour::Rfc6749 {
        // RFC 6749 §2.3.1: both are form-encoded before they are joined. League does not decode them.
        return Some((form_decoded(name), form_decoded(password)));
    }
    Some((name.to_owned(), password.to_owned()))
}

fn form_decoded(text: &str) -> String {
    let pair = format!("x={text}");
    form_urlencoded::parse(pair.as_bytes()).next().map(|(_, value)| value.into_owned()).unwrap_or_default()
}

// === impl Param ===

impl From<Value> for Param {
    fn from(value: Value) -> Self {
        match value {
            Value::String(text) => Self::Text(text),
            Value::Number(number) => Self::Scalar(number.to_string()),
            Value::Bool(yes) => Self::Scalar(if yes { "1".to_owned() } else { String::new() }),
            Value::Null | Value::Array(_) | Value::Object(_) => Self::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(flavour: Flavour, headers: &[(&str, &str)], body: &str) -> TokenRequest {
        let headers = headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
        TokenRequest::read(flavour, &headers, body.as_bytes())
    }

    const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded;charset=utf-8");
    const JSON: (&str, &str) = ("content-type", "application/json");

    #[test]
    fn league_reads_json_and_forms_and_the_others_forms_alone() {
        let json = r#"{"grant_type":"refresh_token","refresh_token":" abc "}"#;
        for (flavour, reads_json) in
            [(Flavour::League8, true), (Flavour::League9, true), (Flavour::Priava, false), (Flavour::Rfc6749, false)]
        {
            let form = read(flavour, &[FORM], "grant_type=refresh_token&refresh_token=x&refresh_token=abc");
            assert_eq!(form.text("refresh_token").unwrap(), Some("abc"), "{flavour:?}");
            let json = read(flavour, &[JSON], json);
            assert_eq!(json.text("refresh_token").unwrap(), reads_json.then_some("abc"), "{flavour:?}");
        }
        let wrong_type = read(Flavour::League8, &[("content-type", "text/plain")], json);
        assert_eq!(wrong_type.grant_type(), None);
    }

    #[test]
    fn the_body_wins_over_basic() {
        let basic = ("authorization", "Basic YTpi");
        let both = read(Flavour::League9, &[FORM, basic], "client_id=x&client_secret=y");
        assert_eq!((both.client_id().unwrap(), both.client_secret().unwrap()), ("x", Some("y")));
        assert!(both.has_two_credentials());
        let header = read(Flavour::League9, &[FORM, basic], "");
        assert_eq!((header.client_id().unwrap(), header.client_secret().unwrap()), ("a", Some("b")));
    }

    #[test]
    fn only_league_8_wants_basic_spelt_so() {
        let lower = ("authorization", "basic YTpi");
        assert!(read(Flavour::League8, &[lower], "").client_id().is_err());
        assert!(read(Flavour::League9, &[lower], "").client_id().is_ok());
    }

    #[test]
    fn only_the_rfc_decodes_basic_credentials() {
        let encoded = ("authorization", "Basic YSUyMGI6Yw==");
        assert_eq!(read(Flavour::League9, &[encoded], "").client_id().unwrap(), "a%20b");
        assert_eq!(read(Flavour::Rfc6749, &[encoded], "").client_id().unwrap(), "a b");
    }

    #[test]
    fn a_client_id_in_digits_is_not_a_text_to_league_8() {
        let body = r#"{"client_id":7,"refresh_token":7}"#;
        let eight = read(Flavour::League8, &[JSON], body);
        assert_eq!(eight.client_id().unwrap(), "7");
        assert!(!eight.client_id_is_text());
        assert!(eight.text("refresh_token").is_err());
        let nine = read(Flavour::League9, &[JSON], body);
        assert!(nine.client_id_is_text());
        assert_eq!(nine.text("refresh_token").unwrap(), Some("7"));
    }

    #[test]
    fn an_empty_parameter_is_a_missing_one() {
        let request = read(Flavour::League8, &[JSON], r#"{"client_id":"","refresh_token":null,"code":[]}"#);
        assert!(request.client_id().is_err());
        assert_eq!(request.text("refresh_token").unwrap(), None);
        assert!(request.required("refresh_token").is_err());
        assert!(request.text("code").is_err());
    }
}
