//! The API call of the command `check`.

use http::uri::PathAndQuery;

use crate::config::key::text;
use crate::config::malformed::Malformed;
use crate::config::section::section;

section! {
    #[derive(Clone, Debug)]
    pub struct CheckConfig in "check." {
        /// Path of the single API call that `check` makes. Empty: no call.
        path: Option<String> = text("a path that begins with `/`, or nothing").by_profile().may_be_empty() => parse_or(path, None);
    }
}

fn path(text: &str) -> Result<Option<String>, Malformed> {
    match text {
        "" => Ok(None),
        _ if !text.starts_with('/') => Err("the path does not begin with `/`".into()),
        _ if PathAndQuery::try_from(text).is_err() => Err("a character must be percent-encoded".into()),
        _ => Ok(Some(text.to_owned())),
    }
}
