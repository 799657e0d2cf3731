//! Any bytes are read as a record, or refused with an error that quotes none of them.
//!
//! The input is used as a stored document, and also as the content of a sealed one.

use zeroize::Zeroizing;

use super::document::{FORMAT_1, Form, Unreadable, decode, decode_any, encode};
use super::{Record, Sealer};
use crate::config::StoreKey;

/// All words of the errors.
const WORDS: &str = "is not a grant document: it is empty it is JSON without a format number it is cut short it is not JSON \
    a value is missing or of another kind (line , column ) was written by a newer version (format ; this one reads up to 2); run that version \
    is encrypted with key , and store.keys holds none; put that key back its encrypted part was changed or cut \
    it has no lineage its format number is 0 \
    is not encrypted, although store.keys is set; if this document is yours, encrypt it with `bearer-proxy seal`; otherwise move it away \
    is the document of another store.name that was copied here; restore the right one, or move it away \
    a token in it holds a character that no token has";

pub fn document(data: &[u8]) {
    let (one, rotated) = (sealer(&[1]), sealer(&[2, 1]));
    let read = decode_any(data, &one);
    match &read {
        Ok((record, _)) => survives(record, data.len()),
        Err(error) => quotes_nothing(&error.to_string(), data),
    }
    assert_eq!(decode_any(data, &rotated).ok(), read.as_ref().ok().cloned(), "another key came first");
    let accepted = decode(data, &one);
    match &read {
        Ok((_, Form::Plaintext)) => assert_eq!(accepted, Err(Unreadable::Plaintext)),
        read => assert_eq!(accepted.as_ref(), read.as_ref().map(|(record, _)| record)),
    }
    if let Err(error) = accepted {
        quotes_nothing(&error.to_string(), data);
    }

    // As the content of a sealed document, the input is the same record or none.
    let Ok(Some(sealed)) = one.seal(Zeroizing::new(data.to_vec()), FORMAT_1) else { unreachable!("there is a key") };
    let envelope = serde_json::json!({ "format": 1, "sealed": sealed }).to_string();
    let inside = decode(envelope.as_bytes(), &one);
    if let Err(error) = &inside {
        quotes_nothing(&error.to_string(), data);
    }
    // Except for a document that is sealed twice.
    if !String::from_utf8_lossy(data).contains("sealed") && !data.contains(&b'\\') {
        assert_eq!(inside.ok(), read.ok().map(|(record, _)| record), "sealed, it is another");
    }
}

fn sealer(keys: &[u8]) -> Sealer {
    Sealer::new(&keys.iter().map(|byte| StoreKey(Zeroizing::new([*byte; 32]))).collect::<Vec<_>>())
}

/// A record is read as it was written: in plaintext, sealed, and after a key rotation. A changed or cut document is never read as
/// another record.
fn survives(record: &Record, seed: usize) {
    let (clear, one, two, rotated) = (Sealer::default(), sealer(&[1]), sealer(&[2]), sealer(&[2, 1]));
    let Ok(plain) = encode(record, &clear) else { unreachable!("it can be written") };
    assert_eq!(decode(&plain, &clear).as_ref(), Ok(record));
    for reader in [&one, &rotated] {
        assert_eq!(decode(&plain, reader), Err(Unreadable::Plaintext));
    }
    assert_eq!(encode(record, &clear).ok(), Some(plain.clone()), "two writings of one record differ");

    let Ok(sealed) = encode(record, &rotated) else { unreachable!("it can be sealed") };
    for reader in [&two, &rotated] {
        assert_eq!(decode(&sealed, reader).as_ref(), Ok(record));
    }
    for name in ["", "another"] {
        assert_eq!(decode(&sealed, &sealer(&[2]).with_name(name)), Err(Unreadable::OtherName));
    }
    for reader in [&clear, &one] {
        assert!(matches!(decode(&sealed, reader), Err(Unreadable::WrongKey(_))), "a wrong key opens it");
    }
    for (whole, reader) in [(&plain, &clear), (&sealed, &two)] {
        for step in 1..4 {
            let at = (seed * 31 * step) % (whole.len() - 1);
            assert!(decode(&whole[..at], reader).is_err(), "cut at {at}, it is whole");
        }
    }
    for step in 1..8 {
        let at = (seed * 131 * step) % sealed.len();
        let mut changed = sealed.to_vec();
        changed[at] ^= 1 << (step % 7);
        let read = decode(&changed, &rotated);
        assert!(read.as_ref().is_err() || read.as_ref() == Ok(record), "changed at {at}, it is another");
    }
}

/// The text of an error has only our own words, a format number and the name of a key.
fn quotes_nothing(error: &str, data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let is_word = |c: char| c.is_alphanumeric() || "-._~+/=".contains(c);
    for word in text.split(|c| !is_word(c)).filter(|word| word.len() >= 8) {
        let is_number = word.bytes().all(|byte| byte.is_ascii_digit());
        let is_key_name = word.len() == 16 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !is_number && !is_key_name && !WORDS.contains(word) {
            assert!(!error.contains(word), "{word} in {error}");
        }
    }
}
