//! The id of a grant, independent of its generation.

use std::fmt;

use aws_lc_rs::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};

use super::{first_half, parse_hex, write_hex};
use crate::token::store::Binding;

/// The id of a grant that a person supplied: by `import`, by `login`, or as the initial token. Rotations keep it. Within one
/// lineage, the higher generation is live.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Lineage([u8; 16]);

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the operating system supplied no random numbers; try again")]
pub struct NoRandomness;

// === impl Lineage ===

impl Lineage {
    /// The lineage of a new grant.
    ///
    /// # Errors
    /// The operating system supplies no random numbers.
    pub fn random() -> Result<Self, NoRandomness> {
        let mut bytes = [0; 16];
        aws_lc_rs::rand::fill(&mut bytes).map_err(|_| NoRandomness)?;
        Ok(Self(bytes))
    }

    /// The lineage of a record without one: an empty record, or a record of version 0.1.0. Every process derives the same lineage.
    /// The lengths distinguish two bindings whose concatenated parts are equal.
    pub fn derived(binding: &Binding) -> Self {
        let Binding { token_url, client_id, upstream_origin } = binding;
        let mut context = Context::new(&SHA256);
        context.update(b"bearer-proxy lineage, derived from a binding");
        for part in [token_url, client_id, upstream_origin] {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part.as_bytes());
        }
        Self(first_half(&context.finish()))
    }
}

impl fmt::Display for Lineage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.0, f)
    }
}

impl fmt::Debug for Lineage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.0, f)
    }
}

impl From<Lineage> for String {
    fn from(lineage: Lineage) -> Self {
        lineage.to_string()
    }
}

impl TryFrom<String> for Lineage {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        parse_hex(&text).map(Self).ok_or("a lineage is 32 hexadecimal digits")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn binding(parts: [&str; 3]) -> Binding {
        let [token_url, client_id, upstream_origin] = parts.map(str::to_owned);
        Binding { token_url, client_id, upstream_origin }
    }

    #[test]
    fn a_lineage_reads_back_and_no_two_are_alike() {
        let lineage = Lineage::random().unwrap();
        assert_ne!(lineage, Lineage::random().unwrap());
        assert_eq!(Lineage::try_from(lineage.to_string()), Ok(lineage));
        for bad in ["", "0123456789ABCDEF0123456789ABCDEF", "+123456789abcdef0123456789abcdef"] {
            assert!(Lineage::try_from(bad.to_owned()).is_err(), "{bad:?}");
        }
    }

    /// Stored grants depend on this value: another version must derive the same one.
    #[test]
    fn a_derived_lineage_never_changes_and_depends_on_each_part() {
        let of = |parts| Lineage::derived(&binding(parts));
        let base = of(["https://as.example/token", "7", "https://api.example"]);
        assert_eq!(base.to_string(), "a47f3fe656ff6e478de275a9da246633");
        for other in [
            ["https://as.example/token7", "", "https://api.example"],
            ["https://as.example/token", "7https://api.example", ""],
            ["https://as.example/token", "8", "https://api.example"],
            ["https://as.example/token", "7", "https://api.example/"],
        ] {
            assert_ne!(of(other), base, "{other:?}");
        }
    }
}
