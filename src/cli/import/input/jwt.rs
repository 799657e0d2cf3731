//! Recognizes a JWT whose claims say that it is not a refresh token.
//!
//! Some servers issue refresh tokens that are JWTs (Keycloak: `typ` is `Refresh` or `Offline`). Only a clear claim counts.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

const ACCESS_TOKEN: &str = "an access token";
const ID_TOKEN: &str = "an ID token";

/// What it is instead. `None`: it is not a JWT, it is a refresh token, or it makes no claim.
pub(super) fn is_other(text: &str) -> Option<&'static str> {
    let mut parts = text.split('.');
    let (header, claims) = (object(parts.next()?)?, object(parts.next()?)?);
    if parts.count() != 1 {
        return None;
    }
    let said = |object: &Value, name: &str| object.get(name)?.as_str().map(str::to_ascii_lowercase);
    let header_type = said(&header, "typ").unwrap_or_default();
    // RFC 9068; Keycloak and others; Amazon Cognito.
    let types = ["typ", "token_type", "token_use"].map(|name| said(&claims, name).unwrap_or_default());
    let is = |names: &[&str]| types.iter().any(|found| names.contains(&found.as_str()));
    if is(&["refresh", "offline", "refresh_token"]) {
        None
    } else if matches!(header_type.as_str(), "at+jwt" | "application/at+jwt")
        || is(&["bearer", "access", "access_token", "at+jwt"])
    {
        Some(ACCESS_TOKEN)
    } else if is(&["id", "id_token"]) || claims.get("at_hash").is_some() {
        Some(ID_TOKEN)
    } else {
        None
    }
}

fn object(part: &str) -> Option<Value> {
    let bytes = zeroize::Zeroizing::new(URL_SAFE_NO_PAD.decode(part.trim_end_matches('=')).ok()?);
    serde_json::from_slice::<Value>(&bytes).ok().filter(Value::is_object)
}
