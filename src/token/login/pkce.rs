//! Unpredictable texts: the `state` of a request, and the verifier of its code (RFC 7636).

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use zeroize::Zeroizing;

use crate::secret::Secret;
use crate::token::NoRandomness;

/// 256 bits: 43 characters, the shortest verifier that RFC 7636 §4.1 allows.
const BYTES: usize = 32;

/// # Errors
/// The operating system supplies no random numbers.
pub fn random() -> Result<Secret, NoRandomness> {
    let mut bytes = Zeroizing::new([0; BYTES]);
    aws_lc_rs::rand::fill(&mut *bytes).map_err(|_| NoRandomness)?;
    Ok(Secret::new(BASE64_URL_SAFE_NO_PAD.encode(bytes.as_slice())))
}

/// The `code_challenge` of the method S256 (RFC 7636 §4.2).
pub(super) fn challenge(verifier: &Secret) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(digest(&SHA256, verifier.expose().as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_challenge_is_that_of_the_rfc() {
        // RFC 7636, appendix B.
        let verifier = Secret::new("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk");
        assert_eq!(challenge(&verifier), "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
    }

    #[test]
    fn a_verifier_has_the_length_and_the_characters_that_servers_check() {
        let (one, other) = (random().unwrap(), random().unwrap());
        assert_eq!(one.expose().len(), 43);
        assert!(one.expose().bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)));
        assert_ne!(one, other);
    }
}
