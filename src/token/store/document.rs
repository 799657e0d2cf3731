//! The stored document: a record as JSON, in plaintext or sealed.
//!
//! ```text
//! {"format": 2, "binding": {…}, "lineage": "…", "generation": 3, "access": {…}, "refresh_token": "…", …}
//! {"format": 2, "binding": {…}, "lineage": "…", "name": "…", "sealed": {"key": "…", "nonce": "…", "data": "…"}}
//! ```
//!
//! The plaintext part of a sealed document is its header. It is authenticated with the rest, so a sealed document can be neither
//! relabelled nor copied to another name. With keys, a plaintext document is refused.
//!
//! Format 1 of version 0.1.0 has neither lineage nor header. It is read and never written.
//!
//! A reader ignores unknown fields, so an upgrade that adds one can be rolled back. If a new field must not be lost in a rollback,
//! it raises the format number, and older versions refuse the document.

use jiff::Timestamp;
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::error::Category;
use zeroize::Zeroizing;

use super::seal::{OpenError, SealError, Sealed, Sealer};
use super::{Binding, Candidate, CandidateResult, Intent, LastRefresh, Record, StoreError};
use crate::secret::Secret;
use crate::token::{Access, AccessToken, Fingerprint, Generation, InvalidToken, Lineage, RefreshToken};

/// Why a document could not be read. It quotes no part of the document, because a damaged document can hold a token anywhere.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unreadable {
    #[error("is not a grant document: {0}")]
    Damaged(String),
    #[error("was written by a newer version (format {0}; this one reads up to {FORMAT}); run that version")]
    Newer(u64),
    #[error("{0}")]
    WrongKey(String),
    #[error(
        "is not encrypted, although store.keys is set; if this document is yours, encrypt it with `bearer-proxy seal`; otherwise \
         move it away"
    )]
    Plaintext,
    #[error("is the document of another store.name that was copied here; restore the right one, or move it away")]
    OtherName,
}

/// How a document is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Plaintext,
    Sealed,
}

/// The format that is written.
pub(super) const FORMAT: u64 = 2;
/// The formats that are read. A document of format 1 has a lineage derived from its binding.
const FORMATS: std::ops::RangeInclusive<u64> = 1..=FORMAT;

/// Authenticated with a sealed document, so data that another use of the same key sealed is never accepted as a document.
pub(super) const FORMAT_1: &[u8] = b"bearer-proxy grant document, format 1";
const FORMAT_2: &[u8] = b"bearer-proxy grant document, format 2";

/// The fields that decide how to read the rest.
#[derive(Deserialize)]
struct Envelope {
    format: u64,
    sealed: Option<Sealed>,
}

/// The plaintext part of a sealed document, since format 2.
#[derive(Serialize, Deserialize)]
struct SealedEnvelope {
    format: u64,
    #[serde(flatten)]
    header: Header,
    sealed: Sealed,
}

#[derive(Serialize, Deserialize)]
struct Header {
    binding: Binding,
    lineage: Lineage,
    /// The name of the grant, in a store that holds several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct Document {
    format: u64,
    binding: Binding,
    lineage: Option<Lineage>,
    #[serde(default)]
    replaced: Vec<Lineage>,
    generation: Generation,
    // The key is required, though its value may be null. Without the key, the document is incomplete.
    #[serde(deserialize_with = "Option::deserialize")]
    access: Option<AccessDocument>,
    #[serde(deserialize_with = "Option::deserialize")]
    refresh_token: Option<SecretText>,
    candidate: Option<CandidateDocument>,
    intent: Option<Intent>,
    needs_login: Option<String>,
    #[serde(default, rename = "taken")]
    tried_initial: Vec<Fingerprint>,
    last_refresh: Option<LastRefresh>,
}

#[derive(Serialize, Deserialize)]
struct AccessDocument {
    token: SecretText,
    obtained_at: Timestamp,
    expires_at: Option<Timestamp>,
}

#[derive(Serialize, Deserialize)]
struct CandidateDocument {
    fingerprint: Fingerprint,
    token: Option<SecretText>,
    binding: Binding,
    awaited: bool,
    intent: Option<Intent>,
    result: Option<CandidateResult>,
}

/// The only type that serializes a secret.
struct SecretText(Secret);

/// Writes a record as a document, sealed if there is a key.
pub(super) fn encode(record: &Record, sealer: &Sealer) -> Result<Zeroizing<Vec<u8>>, SealError> {
    let document = to_json(&Document::from(record))?;
    let name = sealer.name().map(str::to_owned);
    let header = Header { binding: record.binding.clone(), lineage: record.lineage, name };
    match sealer.seal(document.clone(), &header.authenticated())? {
        None => Ok(document),
        Some(sealed) => to_json(&SealedEnvelope { format: FORMAT, header, sealed }),
    }
}

/// Reads the record from any bytes.
pub(super) fn decode(bytes: &[u8], sealer: &Sealer) -> Result<Record, Unreadable> {
    match decode_any(bytes, sealer)? {
        (_, Form::Plaintext) if sealer.has_keys() => Err(Unreadable::Plaintext),
        (record, _) => Ok(record),
    }
}

/// Also reads a plaintext document although keys are set, for the command `seal`.
pub(super) fn decode_any(bytes: &[u8], sealer: &Sealer) -> Result<(Record, Form), Unreadable> {
    let envelope: Envelope = match serde_json::from_slice(bytes) {
        Ok(envelope) => envelope,
        Err(error) => return Err(not_an_envelope(bytes, &error)),
    };
    known(envelope.format)?;
    match envelope.sealed {
        None => Ok((decode_document(bytes)?, Form::Plaintext)),
        Some(sealed) if envelope.format == 1 => Ok((decode_document(&sealer.open(&sealed, FORMAT_1)?)?, Form::Sealed)),
        Some(_) => {
            let SealedEnvelope { header, sealed, .. } =
                serde_json::from_slice(bytes).map_err(|error| damaged(&error))?;
            let record = decode_document(&sealer.open(&sealed, &header.authenticated())?)?;
            // The header is compared only after its authentication.
            if (&record.binding, record.lineage) != (&header.binding, header.lineage) {
                return Err(OpenError::Tampered.into());
            }
            match header.name.as_deref() == sealer.name() {
                true => Ok((record, Form::Sealed)),
                false => Err(Unreadable::OtherName),
            }
        }
    }
}

fn decode_document(bytes: &[u8]) -> Result<Record, Unreadable> {
    let document: Document = serde_json::from_slice(bytes).map_err(|error| damaged(&error))?;
    // The sealed part has its own format number.
    known(document.format)?;
    Record::try_from(document)
}

fn known(format: u64) -> Result<(), Unreadable> {
    match format {
        0 => Err(Unreadable::Damaged("its format number is 0".to_owned())),
        known if FORMATS.contains(&known) => Ok(()),
        newer => Err(Unreadable::Newer(newer)),
    }
}

/// The format number. A number in another notation than ours counts as missing.
fn not_an_envelope(bytes: &[u8], error: &serde_json::Error) -> Unreadable {
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Unreadable::Damaged("it is empty".to_owned());
    }
    if error.is_data() && serde_json::from_slice::<IgnoredAny>(bytes).is_ok() {
        return Unreadable::Damaged("it is JSON without a format number".to_owned());
    }
    damaged(error)
}

/// The place and the kind of an error. The text of serde would quote the value.
fn damaged(error: &serde_json::Error) -> Unreadable {
    let what = match error.classify() {
        Category::Eof => "it is cut short",
        Category::Syntax | Category::Io => "it is not JSON",
        Category::Data => "a value is missing or of another kind",
    };
    Unreadable::Damaged(format!("{what} (line {}, column {})", error.line(), error.column()))
}

fn to_json(value: &impl Serialize) -> Result<Zeroizing<Vec<u8>>, SealError> {
    // Room for a usual document. A buffer that grows would leave a copy in memory.
    let mut bytes = Zeroizing::new(Vec::with_capacity(16 * 1024));
    serde_json::to_writer_pretty(&mut *bytes, value).map_err(|_| SealError)?;
    bytes.push(b'\n');
    Ok(bytes)
}

// === impl Header ===

impl Header {
    /// The data that is authenticated with a sealed document. Each part has its length, so no two headers are equal.
    fn authenticated(&self) -> Vec<u8> {
        let Self { binding: Binding { token_url, client_id, upstream_origin }, lineage, name } = self;
        let mut data = FORMAT_2.to_vec();
        let lineage = lineage.to_string();
        let mut append = |part: &str| {
            data.extend_from_slice(&(part.len() as u64).to_be_bytes());
            data.extend_from_slice(part.as_bytes());
        };
        [token_url, client_id, upstream_origin, &lineage].into_iter().for_each(|part| append(part));
        // A store without a name differs from one with an empty name.
        if let Some(name) = name {
            append(name);
        }
        data
    }
}

// === impl Unreadable ===

impl Unreadable {
    fn without_lineage() -> Self {
        Self::Damaged("it has no lineage".to_owned())
    }

    /// `place`: the path, or the server and the name, of the document.
    pub(super) fn at(self, place: &str) -> StoreError {
        let text = format!("{place} {self}");
        match self {
            Self::Damaged(_) | Self::Newer(_) => StoreError::Damaged(text),
            Self::WrongKey(_) => StoreError::WrongKey(text),
            Self::Plaintext | Self::OtherName => StoreError::Refused(text),
        }
    }
}

impl From<OpenError> for Unreadable {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::WrongKey { .. } => Self::WrongKey(error.to_string()),
            OpenError::Tampered => Self::Damaged(error.to_string()),
        }
    }
}

impl From<InvalidToken> for Unreadable {
    fn from(_: InvalidToken) -> Self {
        Self::Damaged("a token in it holds a character that no token has".to_owned())
    }
}

// === impl Document ===

impl From<&Record> for Document {
    fn from(record: &Record) -> Self {
        // Destructured, so the compiler reports a new field that is missing here.
        let Record {
            binding,
            lineage,
            replaced,
            generation,
            access,
            refresh,
            candidate,
            intent,
            needs_login,
            tried_initial,
            last_refresh,
        } = record.clone();
        Self {
            format: FORMAT,
            binding,
            lineage: Some(lineage),
            replaced,
            generation,
            access: access.map(|Access { token, obtained_at, expires_at }| AccessDocument {
                token: SecretText(token.secret().clone()),
                obtained_at,
                expires_at,
            }),
            refresh_token: refresh.map(|token| SecretText(token.secret().clone())),
            candidate: candidate.map(CandidateDocument::from),
            intent,
            needs_login,
            tried_initial,
            last_refresh,
        }
    }
}

impl TryFrom<Document> for Record {
    type Error = Unreadable;

    fn try_from(document: Document) -> Result<Self, Unreadable> {
        let access = match document.access {
            None => None,
            Some(AccessDocument { token, obtained_at, expires_at }) => {
                Some(Access { token: AccessToken::parse(token.0.expose())?, obtained_at, expires_at })
            }
        };
        let refresh = match document.refresh_token {
            None => None,
            Some(token) => Some(RefreshToken::parse(token.0.expose())?),
        };
        let (lineage, replaced) = match document.format {
            1 => (Lineage::derived(&document.binding), Vec::new()),
            _ => (document.lineage.ok_or_else(Unreadable::without_lineage)?, document.replaced),
        };
        Ok(Self {
            lineage,
            replaced,
            binding: document.binding,
            generation: document.generation,
            access,
            refresh,
            candidate: document.candidate.map(Candidate::try_from).transpose()?,
            intent: document.intent,
            needs_login: document.needs_login,
            tried_initial: document.tried_initial,
            last_refresh: document.last_refresh,
        })
    }
}

// === impl CandidateDocument ===

impl From<Candidate> for CandidateDocument {
    fn from(candidate: Candidate) -> Self {
        let Candidate { fingerprint, token, binding, awaited, intent, result } = candidate;
        let token = token.map(|token| SecretText(token.secret().clone()));
        Self { fingerprint, token, binding, awaited, intent, result }
    }
}

impl TryFrom<CandidateDocument> for Candidate {
    type Error = Unreadable;

    fn try_from(document: CandidateDocument) -> Result<Self, Unreadable> {
        let CandidateDocument { fingerprint, token, binding, awaited, intent, result } = document;
        let token = token.map(|token| RefreshToken::parse(token.0.expose())).transpose()?;
        Ok(Self { fingerprint, token, binding, awaited, intent, result })
    }
}

// === impl SecretText ===

impl Serialize for SecretText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.expose())
    }
}

impl<'de> Deserialize<'de> for SecretText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self(Secret::new(text)))
    }
}

#[cfg(test)]
pub(super) mod tests;
