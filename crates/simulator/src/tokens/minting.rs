//! Token texts with the alphabet and the size of real ones, so that limits and patterns apply to them.

use aws_lc_rs::rand;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;

use crate::clock::UnixMs;

/// As measured on a league server with a 2048-bit key.
pub(super) const REFRESH_CHARS: usize = 734;
pub(super) const CODE_CHARS: usize = 700;

/// The header of defuse/php-encryption in hexadecimal. Every text that league encrypts begins with it.
const DEFUSE_HEADER: &str = "def50200";

/// A text in the form of a JWT. Its signature is random.
pub(super) fn access_token(client: &str, scopes: &[String], now: UnixMs, expires_at: UnixMs) -> String {
    let header = json!({"typ": "JWT", "alg": "RS256"});
    let claims = json!({
        "aud": client,
        "jti": random_hex(80),
        "iat": now / 1000,
        "nbf": now / 1000,
        "exp": expires_at / 1000,
        "sub": "1",
        "scopes": scopes,
    });
    format!(
        "{}.{}.{}",
        URL_SAFE_NO_PAD.encode(header.to_string()),
        URL_SAFE_NO_PAD.encode(claims.to_string()),
        URL_SAFE_NO_PAD.encode(random::<256>()),
    )
}

/// A text that looks encrypted by league: a refresh token or an authorization code.
pub(super) fn encrypted(chars: usize) -> String {
    format!("{DEFUSE_HEADER}{}", random_hex(chars - DEFUSE_HEADER.len()))
}

fn random_hex(chars: usize) -> String {
    let mut text = String::with_capacity(chars + 64);
    while text.len() < chars {
        text.extend(random::<32>().iter().map(|byte| format!("{byte:02x}")));
    }
    text.truncate(chars);
    text
}

/// Returns zeroes if the system has no randomness: these tokens protect nothing.
fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    let _ = rand::fill(&mut bytes);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_access_token_looks_like_a_jwt_of_a_real_size() {
        let token = access_token("9f1c2e64-5b0a-4c1b-9d7e-3f6a8b2c4d10", &["*".to_owned()], 1_700_000_000_000, 0);
        assert!(token.starts_with("eyJ"), "{token}");
        assert_eq!(token.split('.').count(), 3);
        assert!((600..1100).contains(&token.len()), "{}", token.len());
    }

    #[test]
    fn a_refresh_token_looks_like_defuse_hex_of_a_real_size() {
        let token = encrypted(REFRESH_CHARS);
        assert!(token.starts_with("def50200"));
        assert_eq!(token.len(), 734);
        assert!(token.bytes().all(|byte| byte.is_ascii_hexdigit()));
        assert_ne!(token, encrypted(REFRESH_CHARS));
    }
}
