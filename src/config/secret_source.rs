//! Where a secret comes from.

use std::path::PathBuf;

use crate::secret::Secret;

/// A secret given in place, or a file that is read (again) when it is needed.
#[derive(Clone, Debug)]
pub enum SecretSource {
    Inline(Secret),
    File(PathBuf),
}
