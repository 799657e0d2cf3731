//! Encryption at rest: AES-256-GCM (NIST SP 800-38D) with the keys of `store.keys`.
//!
//! The first key seals, and all keys open. A sealed document names its key by the first bytes of the key's SHA-256. So a missing
//! key is distinguished from a manipulated document, and after a key rotation the right key is found at once. A random 96-bit
//! nonce is safe for 2^32 documents per key (§8.3), and a store writes a few per day.

use aws_lc_rs::aead::{AES_256_GCM, Aad, Nonce, RandomizedNonceKey};
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::config::StoreKey;

/// Seals and opens documents. Without keys, it seals nothing.
#[derive(Clone, Debug, Default)]
pub struct Sealer {
    keys: Vec<StoreKey>,
    /// In a store that holds several grants, the name of this one.
    name: Option<String>,
}

/// The sealed part of a document.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Sealed {
    /// The name of the key: the first 8 bytes of its SHA-256, in hexadecimal.
    key: String,
    /// Base64, as is `data`: the encrypted document and its tag.
    nonce: String,
    data: String,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum OpenError {
    #[error("is encrypted with key {needed}, and store.keys holds {held}; put that key back")]
    WrongKey { needed: String, held: String },
    /// The key is known, but the sealed data was changed or cut.
    #[error("its encrypted part was changed or cut")]
    Tampered,
}

/// The cipher failed. No input of this program causes that.
#[derive(Debug, thiserror::Error)]
#[error("the document could not be encrypted")]
pub(super) struct SealError;

// === impl Sealer ===

impl Sealer {
    pub fn new(keys: &[StoreKey]) -> Self {
        Self { keys: keys.to_vec(), name: None }
    }

    #[cfg_attr(
        not(any(feature = "kubernetes", feature = "postgres")),
        allow(dead_code, reason = "only these stores hold several grants")
    )]
    pub(super) fn with_name(self, name: &str) -> Self {
        Self { name: Some(name.to_owned()), ..self }
    }

    pub(super) fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    pub(super) fn has_keys(&self) -> bool {
        !self.keys.is_empty()
    }

    /// `None`: there is no key, and the document stays in plaintext. `header` is authenticated and not encrypted.
    pub(super) fn seal(&self, mut document: Zeroizing<Vec<u8>>, header: &[u8]) -> Result<Option<Sealed>, SealError> {
        let Some(key) = self.keys.first() else { return Ok(None) };
        let cipher = RandomizedNonceKey::new(&AES_256_GCM, key.0.as_slice()).map_err(|_| SealError)?;
        let nonce = cipher.seal_in_place_append_tag(Aad::from(header), &mut *document).map_err(|_| SealError)?;
        Ok(Some(Sealed {
            key: key_id(key),
            nonce: BASE64_STANDARD.encode(nonce.as_ref()),
            data: BASE64_STANDARD.encode(document.as_slice()),
        }))
    }

    /// `header` is the one that the document was sealed with.
    pub(super) fn open(&self, sealed: &Sealed, header: &[u8]) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        let Some(key) = self.keys.iter().find(|key| key_id(key) == sealed.key) else {
            let held: Vec<_> = self.keys.iter().map(key_id).collect();
            let held = if held.is_empty() { "none".to_owned() } else { held.join(", ") };
            // The name comes from a file, so it is printed only if it has the form of a key name.
            let named = sealed.key.len() == 16 && sealed.key.bytes().all(|byte| byte.is_ascii_hexdigit());
            let needed = if named { sealed.key.clone() } else { return Err(OpenError::Tampered) };
            return Err(OpenError::WrongKey { needed, held });
        };
        let nonce = BASE64_STANDARD.decode(&sealed.nonce).map_err(|_| OpenError::Tampered)?;
        let nonce = Nonce::try_assume_unique_for_key(&nonce).map_err(|_| OpenError::Tampered)?;
        let mut data = Zeroizing::new(BASE64_STANDARD.decode(&sealed.data).map_err(|_| OpenError::Tampered)?);
        let cipher = RandomizedNonceKey::new(&AES_256_GCM, key.0.as_slice()).map_err(|_| OpenError::Tampered)?;
        let length = cipher.open_in_place(nonce, Aad::from(header), &mut data).map_err(|_| OpenError::Tampered)?.len();
        data.truncate(length);
        Ok(data)
    }
}

fn key_id(key: &StoreKey) -> String {
    digest(&SHA256, key.0.as_slice()).as_ref().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &[u8] = b"the header";

    fn sealer(keys: &[u8]) -> Sealer {
        Sealer::new(&keys.iter().map(|byte| StoreKey(Zeroizing::new([*byte; 32]))).collect::<Vec<_>>())
    }

    fn seal(sealer: &Sealer) -> Sealed {
        sealer.seal(Zeroizing::new(b"the document".to_vec()), HEADER).unwrap().unwrap()
    }

    #[test]
    fn the_first_key_seals_and_every_key_opens() {
        let old = seal(&sealer(&[1]));
        let rotated = sealer(&[2, 1]);
        assert_eq!(rotated.open(&old, HEADER).unwrap().as_slice(), b"the document");
        let new = seal(&rotated);
        assert_eq!(sealer(&[2]).open(&new, HEADER).unwrap().as_slice(), b"the document");
        assert!(sealer(&[1]).open(&new, HEADER).is_err());
    }

    #[test]
    fn two_seals_of_one_document_differ() {
        let sealer = sealer(&[1]);
        let (first, second) = (seal(&sealer), seal(&sealer));
        assert_ne!(first.nonce, second.nonce);
        assert_ne!(first.data, second.data);
    }

    #[test]
    fn a_missing_key_is_named_with_those_that_are_there() {
        let sealed = seal(&sealer(&[1]));
        let error = sealer(&[2, 3]).open(&sealed, HEADER).unwrap_err().to_string();
        for byte in [1, 2, 3] {
            assert!(error.contains(&key_id(&StoreKey(Zeroizing::new([byte; 32])))), "{error}");
        }
        let error = sealer(&[]).open(&sealed, HEADER).unwrap_err().to_string();
        assert!(error.contains("store.keys holds none"), "{error}");
    }

    #[test]
    fn a_changed_byte_anywhere_is_noticed() {
        let sealer = sealer(&[1]);
        let change = |text: &str, at: usize| {
            let mut bytes = BASE64_STANDARD.decode(text).unwrap();
            bytes[at] ^= 1;
            BASE64_STANDARD.encode(bytes)
        };
        let whole = seal(&sealer);
        for at in 0..BASE64_STANDARD.decode(&whole.data).unwrap().len() {
            let changed = Sealed { key: whole.key.clone(), nonce: whole.nonce.clone(), data: change(&whole.data, at) };
            assert_eq!(sealer.open(&changed, HEADER), Err(OpenError::Tampered), "byte {at}");
        }
        assert_eq!(sealer.open(&whole, b"another header"), Err(OpenError::Tampered));
        let changed = Sealed { nonce: change(&whole.nonce, 0), ..whole };
        assert_eq!(sealer.open(&changed, HEADER), Err(OpenError::Tampered));
        for (nonce, data) in [("", ""), ("AAAA", "AAAA"), ("?", ""), ("AAAAAAAAAAAAAAAA", "")] {
            let cut = Sealed { key: changed.key.clone(), nonce: nonce.to_owned(), data: data.to_owned() };
            assert_eq!(sealer.open(&cut, HEADER), Err(OpenError::Tampered), "{nonce:?} {data:?}");
        }
    }

    #[test]
    fn nothing_that_only_looks_like_a_key_name_is_printed() {
        let sealed = Sealed { key: "def50200secret".to_owned(), nonce: String::new(), data: String::new() };
        assert_eq!(sealer(&[1]).open(&sealed, HEADER), Err(OpenError::Tampered));
    }
}
