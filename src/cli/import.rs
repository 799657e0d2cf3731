//! `import`: stores a grant that a person got elsewhere.
//!
//! It is read from standard input, never from an argument, which every user of the machine could read. No message repeats
//! anything of it.

use std::io::{self, IsTerminal, Read};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use zeroize::Zeroizing;

use super::{Failure, Outcome};
use crate::config::{Config, GrantConfig};
use crate::token::endpoint::{Document, Member};
use crate::token::journal::Settings;
use crate::token::new_grant::{Damaged, NewGrant, NotStored};
use crate::token::store::{Store, StoreError};
use crate::token::{Access, AccessToken, Lineage, RefreshToken};

#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// Put the grant in the place of a stored document that can't be read (a copy of which is kept)
    #[arg(long)]
    replace_damaged: bool,
}

/// What standard input held, understood.
#[derive(Debug, PartialEq)]
struct Offered {
    refresh: RefreshToken,
    access: Option<AccessToken>,
    /// Of the access token; `None`: not said.
    lifetime: Option<Duration>,
}

/// Why it could not be understood; holds nothing of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum Malformed {
    #[error("it is empty")]
    Empty,
    #[error("it is longer than 1 MiB")]
    TooLong,
    #[error("it is not text in UTF-8")]
    NotText,
    #[error("it is neither one refresh token nor a JSON object: it has quotes, white space or characters beyond ASCII")]
    NotAToken,
    #[error("it is not a whole JSON object")]
    NotJson,
    #[error("it is an error answer of the token endpoint, not a grant")]
    ErrorAnswer,
    #[error("its JSON has no refresh_token")]
    NoRefreshToken,
    #[error("its {0} is not a token: a string of visible ASCII characters")]
    NotATokenIn(&'static str),
}

const MAX_INPUT: usize = 1024 * 1024;
/// Beside the call of a refresh in flight, what its holder's lease may last.
const BESIDE_CALL: Duration = Duration::from_secs(30);

pub(super) async fn run(config: &Config, options: &Options) -> Result<Outcome, Failure> {
    let stdin = io::stdin();
    if stdin.is_terminal() {
        return Err(Failure::new(
            "the grant is read from standard input, and that is a terminal: use `bearer-proxy import < FILE`, or a pipe",
        ));
    }
    store(config, options, stdin.lock()).await
}

async fn store(config: &Config, options: &Options, input: impl Read) -> Result<Outcome, Failure> {
    let GrantConfig::RefreshToken { endpoint, .. } = &config.oauth.grant else {
        let grant = config.oauth.grant.name();
        return Err(Failure::new(format!("oauth.grant is {grant}: only a refresh_token grant is stored")));
    };
    let settings = Settings::of(config, endpoint)?;
    // Taken before it is read: what a slow hand pastes was issued earlier, not later.
    let now = Timestamp::now();
    let lineage = Lineage::random().map_err(|error| Failure::new(format!("the grant was not stored: {error}")))?;
    let offered = read(input)?.offered(lineage, config.refresh.default_lifetime, now);
    let damaged = if options.replace_damaged { Damaged::Replace } else { Damaged::Leave };

    let store = Store::open(&config.store, config.outbound.ca_file.as_deref()).await.map_err(NotStored::from)?;
    let record = offered.store(&store, &settings.binding, damaged, settings.request_timeout + BESIDE_CALL).await?;
    let mut text = match &offered.access {
        Some(_) => format!("stored as generation {}; a running proxy uses it within a second\n", record.generation),
        None => "stored; a running proxy refreshes it at once\n".to_owned(),
    };
    if settings.first_to_try(Some(&record)).is_some() {
        text += "note: oauth.refresh_token is configured and was never used: the proxy tries it first. Remove it, if this one counts\n";
    }
    Ok(Outcome::done(text))
}

fn read(input: impl Read) -> Result<Offered, Failure> {
    // Whole from the start: a buffer that grows leaves copies of the token behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_INPUT + 1));
    input
        .take(MAX_INPUT as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| Failure::new(format!("standard input could not be read: {error}")))?;
    Offered::parse(&bytes).map_err(|malformed| {
        Failure::new(format!(
            "standard input holds no grant: {malformed}; give a refresh token, or the token endpoint's JSON answer"
        ))
    })
}

// === impl Offered ===

impl Offered {
    fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        if bytes.len() > MAX_INPUT {
            return Err(Malformed::TooLong);
        }
        let text = std::str::from_utf8(bytes).map_err(|_| Malformed::NotText)?;
        // Windows tools write a byte order mark.
        let text = text.trim_start_matches('\u{feff}').trim();
        match text.as_bytes() {
            [] => Err(Malformed::Empty),
            [b'{', ..] => Self::parse_answer(text),
            // A refresh token may have a space within, but a text that a person pastes with one is rather a sentence.
            bytes if bytes.iter().any(|byte| matches!(byte, b'"' | b'\'' | b' ')) => Err(Malformed::NotAToken),
            _ => {
                let refresh = RefreshToken::parse(text).map_err(|_| Malformed::NotAToken)?;
                Ok(Self { refresh, access: None, lifetime: None })
            }
        }
    }

    /// RFC 6749 §5.1, with what the token endpoint's client forgives.
    fn parse_answer(text: &str) -> Result<Self, Malformed> {
        let answer = Document::parse(text).ok_or(Malformed::NotJson)?;
        let token = |name| match answer.member(name) {
            Member::Absent => Ok(None),
            Member::Text(token) => Ok(Some(token)),
            Member::Other => Err(Malformed::NotATokenIn(name)),
        };
        let Some(refresh) = token("refresh_token")? else {
            let is_error = !matches!(answer.member("error"), Member::Absent);
            return Err(if is_error { Malformed::ErrorAnswer } else { Malformed::NoRefreshToken });
        };
        let refresh = RefreshToken::parse(refresh).map_err(|_| Malformed::NotATokenIn("refresh_token"))?;
        let access = token("access_token")?.map(AccessToken::parse).transpose();
        let access = access.map_err(|_| Malformed::NotATokenIn("access_token"))?;
        Ok(Self { refresh, access, lifetime: answer.lifetime() })
    }

    /// Its life is counted from now: nothing in the answer says when it was given.
    fn offered(self, lineage: Lineage, default_lifetime: Duration, now: Timestamp) -> NewGrant {
        let lifetime = self.lifetime.unwrap_or(default_lifetime);
        let expires_at = SignedDuration::try_from(lifetime).ok().and_then(|lifetime| now.checked_add(lifetime).ok());
        let access = self.access.map(|token| Access { token, obtained_at: now, expires_at });
        NewGrant { lineage, refresh: self.refresh, access }
    }
}

impl From<NotStored> for Failure {
    fn from(error: NotStored) -> Self {
        let mend = match error {
            NotStored::Store(StoreError::Damaged(_)) => {
                "; to put this grant in its place: `bearer-proxy import --replace-damaged`"
            }
            _ => "",
        };
        Self::new(format!("the grant was not stored: {error}{mend}"))
    }
}

#[cfg(test)]
mod tests;
