//! `import`: stores a grant that was obtained elsewhere.
//!
//! It reads standard input, because every user of the machine can read the arguments of a process. No message repeats a token.
//! A bare refresh token replaces the stored grant only after a refresh with it has succeeded.

mod input;

use std::io::{self, IsTerminal, Read};
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use zeroize::Zeroizing;

use self::input::{MAX_INPUT, Offered};
use super::serve::Stop;
use super::{Failure, Outcome, progress};
use crate::clock::Clock;
use crate::config::{Config, GrantConfig};
use crate::token::endpoint::Endpoint;
use crate::token::import::{Damaged, NewGrant, NotStored, Verified, verify};
use crate::token::journal::{Journal, PreparedStore, Settings};
use crate::token::store::{CandidateResult, Store, StoreError};
use crate::token::{Access, Lineage, RefreshOutcome, TokenMetrics};

#[derive(Debug, Default, clap::Args)]
pub(super) struct Options {
    /// Replace a stored document that can't be read. A copy of it is kept
    #[arg(long)]
    replace_damaged: bool,
    /// Store a bare refresh token without verifying it. The running proxy, or the next start, presents it
    #[arg(long)]
    unverified: bool,
}

/// How often a candidate is stored again after another process has overwritten it.
const RESTORE: usize = 3;
/// How long the lease of a refresh in flight can last, beyond its call.
const BESIDE_CALL: Duration = Duration::from_secs(30);

pub(super) async fn run(config: &Config, options: &Options) -> Result<Outcome, Failure> {
    let stdin = io::stdin();
    if stdin.is_terminal() {
        return Err(Failure::new("standard input is a terminal: run `bearer-proxy import < FILE`, or use a pipe"));
    }
    store(config, options, "standard input", stdin.lock()).await
}

/// Stores what `input` holds. `source` names it in messages.
pub(super) async fn store(
    config: &Config,
    options: &Options,
    source: &str,
    input: impl Read,
) -> Result<Outcome, Failure> {
    let GrantConfig::RefreshToken { endpoint, .. } = &config.oauth.grant else {
        let grant = config.oauth.grant.name();
        return Err(Failure::new(format!("oauth.grant is {grant}: only a refresh_token grant is stored")));
    };
    let settings = Settings::new(config, endpoint)?;
    // Before reading: the server issued the token earlier, however long it takes to paste it.
    let now = Timestamp::now();
    let lineage = Lineage::random().map_err(|error| Failure::new(format!("the grant was not stored: {error}")))?;
    let offered = read(source, input)?.offered(lineage, config.refresh.default_lifetime, now, !options.unverified);
    let damaged = if options.replace_damaged { Damaged::Replace } else { Damaged::Leave };

    let open = async || Store::open(&config.store, config.outbound.ca_file.as_deref()).await.map_err(NotStored::from);
    let patience = settings.request_timeout + BESIDE_CALL;
    // A signal ends the wait for the store. It must not end the call below: its response may hold the only copy of the successor.
    let mut signals = Stop::new().map_err(|error| Failure::new(format!("signals can't be received: {error}")))?;
    let stored = async {
        let store = open().await?;
        let record = offered.store(&store, &settings.binding, damaged, patience).await?;
        Ok::<_, Failure>((store, record))
    };
    let (store, mut record) = tokio::select! {
        stored = stored => stored?,
        signal = signals.received() => {
            return Err(Failure::new(format!(
                "ended by {signal}, while it waited for the store: `bearer-proxy status` shows what is stored"
            )));
        }
    };
    let mut text = match &offered.access {
        Some(_) => format!("stored as generation {}; a running proxy uses it within a second\n", record.generation),
        None if options.unverified => {
            "stored as a candidate: it replaces the grant once a proxy has refreshed with it\n".to_owned()
        }
        None => {
            let endpoint =
                Endpoint::new(endpoint.clone(), &config.outbound).map_err(|error| Failure::new(error.to_string()))?;
            let journal = Journal {
                store: PreparedStore::new(open().await?),
                endpoint,
                settings: settings.clone(),
                clock: Clock::system(),
                metrics: TokenMetrics::default(),
                owner: format!("import-{}", std::process::id()),
                stopping: Arc::default(),
            };
            let presented =
                || progress::shown("presenting the refresh token", verify(&journal, offered.refresh.fingerprint()));
            let mut verified = presented().await?;
            for _ in 0..RESTORE {
                if verified != Verified::Vanished {
                    break;
                }
                record = offered.store(&store, &settings.binding, Damaged::Leave, patience).await?;
                verified = presented().await?;
            }
            outcome(verified)?
        }
    };
    if settings.initial_to_try(Some(&record)).is_some() {
        text += "note: oauth.refresh_token is configured and was never used, so the proxy tries it too. Remove it to keep this grant\n";
    }
    Ok(Outcome::done(text))
}

/// The result of presenting a bare refresh token.
fn outcome(verified: Verified) -> Result<String, Failure> {
    let said = |result: CandidateResult| result.error.unwrap_or_else(|| result.outcome.name().to_owned());
    let unchanged = "the stored grant is unchanged";
    Err(Failure::new(match verified {
        Verified::Accepted(generation) => {
            return Ok(format!(
                "verified and stored as generation {generation}; a running proxy uses it within a second\n"
            ));
        }
        Verified::Withdrawn(result) => match result.outcome {
            RefreshOutcome::Rejected => {
                format!("the token endpoint refused this refresh token: {}; {unchanged}", said(result))
            }
            RefreshOutcome::Misconfigured => format!(
                "the configuration prevented the verification of the refresh token: {}; {unchanged}; correct the configuration, \
                 then import the token again",
                said(result)
            ),
            RefreshOutcome::Ambiguous => {
                format!("the refresh token may be spent: {}; {unchanged}; log in again for a new one", said(result))
            }
            RefreshOutcome::Transient | RefreshOutcome::Ok => format!(
                "the refresh token could not be verified: {}; {unchanged}; import the token again, or store it with --unverified",
                said(result)
            ),
        },
        Verified::Kept(result) => format!(
            "it is not known whether the refresh token works: {}; it is kept as a candidate, and oauth.ambiguous_retry decides \
             whether a proxy presents it again; {unchanged}",
            said(result)
        ),
        Verified::Replaced | Verified::Vanished => {
            format!(
                "another process replaced this candidate before it was verified; {unchanged} by it; import the token again"
            )
        }
        Verified::Lost(error) => format!(
            "the refresh token works, and its successor could not be stored: {error}; both are lost; {unchanged}; log in again for \
             a new one"
        ),
    }))
}

fn read(source: &str, input: impl Read) -> Result<Offered, Failure> {
    // Of full size from the start: a buffer that grows leaves copies of the token behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_INPUT + 1));
    input
        .take(MAX_INPUT as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| Failure::new(format!("{source} could not be read: {error}")))?;
    Offered::parse(&bytes).map_err(|malformed| {
        Failure::new(format!(
            "{source} holds no grant: {malformed}; give a refresh token, or the token endpoint's response"
        ))
    })
}

// === impl Offered ===

impl Offered {
    /// The lifetime counts from now, because the response does not say when it was issued.
    fn offered(self, lineage: Lineage, default_lifetime: Duration, now: Timestamp, awaited: bool) -> NewGrant {
        let lifetime = self.lifetime.unwrap_or(default_lifetime);
        let expires_at = SignedDuration::try_from(lifetime).ok().and_then(|lifetime| now.checked_add(lifetime).ok());
        let access = self.access.map(|token| Access { token, obtained_at: now, expires_at });
        NewGrant { lineage, refresh: self.refresh, access, awaited }
    }
}

impl From<NotStored> for Failure {
    fn from(error: NotStored) -> Self {
        let mend = match error {
            NotStored::Store(StoreError::Damaged(_)) => {
                "; to replace the document: `bearer-proxy import --replace-damaged`"
            }
            _ => "",
        };
        Self::new(format!("the grant was not stored: {error}{mend}"))
    }
}

#[cfg(test)]
mod tests;
