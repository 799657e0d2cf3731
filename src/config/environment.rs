//! The variables of the process's environment, or of a test's.

use std::ffi::{OsStr, OsString};

/// A copy of the environment's variables.
pub(super) struct Environment(Vec<(OsString, OsString)>);

// === impl Environment ===

impl Environment {
    pub(super) fn new(variables: Vec<(OsString, OsString)>) -> Self {
        Self(variables)
    }

    /// The last value of that name, unless it is empty.
    pub(super) fn get(&self, name: &str) -> Option<&OsStr> {
        let value = self.0.iter().rev().find(|(other, _)| other == name).map(|(_, value)| value.as_os_str());
        value.filter(|value| !value.is_empty())
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&OsStr, &OsStr)> {
        self.0.iter().map(|(name, value)| (name.as_os_str(), value.as_os_str()))
    }
}
