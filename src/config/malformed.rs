//! Why a text is not a value of its key.

use std::borrow::Cow;

use super::pattern::PatternError;

/// The reason, as the second part of "invalid value `5`: not a number with a unit". It does not contain the text, which may be a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct Malformed(pub Cow<'static, str>);

// === impl Malformed ===

impl Malformed {
    /// The description of accepted values says enough.
    pub(super) const INVALID: Self = Self(Cow::Borrowed(""));
}

impl From<&'static str> for Malformed {
    fn from(text: &'static str) -> Self {
        Self(Cow::Borrowed(text))
    }
}

impl From<PatternError> for Malformed {
    fn from(error: PatternError) -> Self {
        Self(Cow::Owned(error.to_string()))
    }
}
