//! What a clear refusal leaves of the grant.

use super::plan::LOG_IN;
use crate::token::RefreshToken;
use crate::token::store::{LastRefresh, Record};

/// The record after a clear no to `token`. Pure.
pub(super) fn rejected(before: Record, token: &RefreshToken, unclear: bool, last: LastRefresh) -> Record {
    let said = last.error.clone().unwrap_or_default();
    let mut record = Record { last_refresh: Some(last), ..before };
    if record.refresh.as_ref() != Some(token) {
        // It was the configuration's first one. It is not tried again, and the grant that the store has stays as it is,
        // also where it is another server's.
        record.taken.push(token.fingerprint());
        if record.refresh.is_some() {
            return record;
        }
    }
    let lost = if unclear {
        " An earlier refresh had no clear answer: that answer probably held the successor, and was lost."
    } else {
        ""
    };
    record.intent = None;
    record.needs_login = Some(format!("The token endpoint refused the refresh token: {said}.{lost} {LOG_IN}"));
    record
}
