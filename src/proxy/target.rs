//! Prepends the path of `upstream.url` to the path of a request.

use http::Uri;
use http::uri::PathAndQuery;

/// Empty, or a path that does not end with `/`.
#[derive(Clone, Debug)]
pub struct Prefix(String);

// === impl Prefix ===

impl Prefix {
    pub fn new(prefix: &str) -> Self {
        Self(prefix.to_owned())
    }

    /// Keeps path and query byte for byte. Returns `None` if the result is too long.
    pub fn before(&self, uri: Uri) -> Option<Uri> {
        if self.0.is_empty() {
            return Some(uri);
        }
        let target = uri.path_and_query().map_or("/", PathAndQuery::as_str);
        // An absolute-form target may have a query and no path (RFC 9112 §3.2.1).
        let slash = if target.starts_with('/') { "" } else { "/" };
        PathAndQuery::try_from(format!("{}{slash}{target}", self.0)).ok().map(Uri::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prefix_comes_before_path_and_query() {
        for (prefix, uri, expected) in [
            ("", "/a?b", "/a?b"),
            ("", "http://localhost/a?b", "http://localhost/a?b"),
            ("/base", "/a?b", "/base/a?b"),
            ("/base/v2", "/", "/base/v2/"),
            ("/base", "//a/../b%2F?", "/base//a/../b%2F?"),
            ("/base", "http://localhost", "/base/"),
            ("/base", "http://localhost?x", "/base/?x"),
        ] {
            let uri = uri.parse().unwrap();
            assert_eq!(Prefix::new(prefix).before(uri).unwrap().to_string(), expected);
        }
        let long = format!("/{}", "x".repeat(65_000));
        assert!(Prefix::new(&long).before(long.parse().unwrap()).is_none());
    }
}
