//! Any bytes are read as the record that they hold, or refused in words that quote nothing.
//!
//! An input is a document as it lies in a store, and at the same time what a sealed one holds inside.

use zeroize::Zeroizing;

use super::document::{FORMAT, Unreadable, decode, encode};
use super::{Record, Sealer};
use crate::config::StoreKey;

/// All that an error may say.
const WORDS: &str = "is not a grant document: it is empty it is JSON without a format number it is cut short it is not JSON \
    a value is missing or of another kind (line , column ) was written by a newer version (format ; this one reads up to 2); run that version \
    is encrypted with key , and store.keys holds none; put that key back its encrypted part was changed or cut \
    it has no lineage its format number is 0 a token in it holds a character that no token has";

pub fn document(data: &[u8]) {
    let (one, rotated) = (sealer(&[1]), sealer(&[2, 1]));
    let read = decode(data, &one);
    match &read {
        Ok(record) => survives(record, data.len()),
        Err(error) => quotes_nothing(&error.to_string(), data),
    }
    assert_eq!(decode(data, &rotated).ok(), read.as_ref().ok().cloned(), "another key came first");

    // As the inside of a sealed document it is the same record, or none.
    let Ok(Some(sealed)) = one.seal(Zeroizing::new(data.to_vec())) else { unreachable!("there is a key") };
    let envelope = serde_json::json!({ "format": FORMAT, "sealed": sealed }).to_string();
    let inside = decode(envelope.as_bytes(), &one);
    if let Err(error) = &inside {
        quotes_nothing(&error.to_string(), data);
    }
    // But for a document that is sealed twice.
    if !String::from_utf8_lossy(data).contains("sealed") && !data.contains(&b'\\') {
        assert_eq!(inside.ok(), read.ok(), "sealed, it is another");
    }
}

fn sealer(keys: &[u8]) -> Sealer {
    Sealer::new(&keys.iter().map(|byte| StoreKey(Zeroizing::new([*byte; 32]))).collect::<Vec<_>>())
}

/// A record is what was written, in clear, sealed, and after a rotation of keys; what was changed or cut is never taken for another.
fn survives(record: &Record, seed: usize) {
    let (clear, one, two, rotated) = (Sealer::default(), sealer(&[1]), sealer(&[2]), sealer(&[2, 1]));
    let Ok(plain) = encode(record, &clear) else { unreachable!("it can be written") };
    for reader in [&clear, &one, &rotated] {
        assert_eq!(decode(&plain, reader).as_ref(), Ok(record));
    }
    assert_eq!(encode(record, &clear).ok(), Some(plain.clone()), "two writings of one record differ");

    let Ok(sealed) = encode(record, &rotated) else { unreachable!("it can be sealed") };
    for reader in [&two, &rotated] {
        assert_eq!(decode(&sealed, reader).as_ref(), Ok(record));
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

/// No word of the input is in an error's text, but for our own words, a format number and a key's name.
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
