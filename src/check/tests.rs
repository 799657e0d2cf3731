//! What the tests of all areas share.

use super::finding::Finding;
use crate::config::{Config, Errors, Loaded, Sources};

/// A complete configuration, with these variables in the place of its own. An empty value unsets one.
pub(crate) fn load(variables: &[(&str, &str)]) -> Result<Loaded, Errors> {
    let own = [
        ("OAUTH__CLIENT_ID", "7"),
        ("OAUTH__CLIENT_SECRET", "s3cret-of-the-client"),
        ("STORE__PATH", "/state/grant.json"),
    ];
    let own = own.iter().filter(|(name, _)| variables.iter().all(|(other, _)| other != name));
    let all = own.chain(variables).map(|(name, value)| (format!("BEARER_PROXY_{name}"), (*value).to_owned()));
    Config::load(&Sources::new(None, all))
}

/// The ids of findings.
pub(crate) fn names(findings: &[Finding]) -> Vec<&'static str> {
    findings.iter().map(|finding| finding.id.name()).collect()
}
