//! Why a text is not a value of its key.

use std::borrow::Cow;

use super::pattern::PatternError;

/// Reads on from the text ("`5` has no unit") and does not contain it: the text may be a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct Malformed(pub Cow<'static, str>);

// === impl Malformed ===

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
