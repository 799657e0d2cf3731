//! What a rotation would present: decided from the configuration and from what the store holds. Pure.
//!
//! A grant is bound to its server, and is never sent to another. A first refresh token of the configuration is tried before the
//! stored grant and beside it: it takes the grant's place once it has worked, and leaves it alone until then.

use std::time::Duration;

use crate::config::{AmbiguousRetry, Config, GrantConfig, TokenEndpoint};
use crate::token::store::{Binding, Record};
use crate::token::{InvalidToken, Outcome, RefreshToken};

/// What rotations depend on.
#[derive(Clone, Debug)]
pub struct Settings {
    pub kind: Kind,
    pub binding: Binding,
    pub request_timeout: Duration,
    pub ambiguous_retry: AmbiguousRetry,
    pub default_lifetime: Duration,
}

/// The two grants that are renewed at a token endpoint.
#[derive(Clone, Debug)]
pub enum Kind {
    /// With the first refresh token of the configuration.
    RefreshToken {
        first: Option<RefreshToken>,
    },
    ClientCredentials,
}

/// Which refresh token a rotation presents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// The candidate that a person supplied.
    Candidate,
    /// The configuration's first one.
    First,
    /// The stored grant's; of `client_credentials` none.
    Stored,
}

/// What a rotation would do with what the store holds. A pure decision.
#[derive(Debug, PartialEq)]
pub enum Plan {
    Present {
        token: Option<RefreshToken>,
        /// How often this token was presented before without a clear answer.
        unclear: u32,
    },
    /// Only a person can help; the text says what happened and what to do.
    NeedsLogin(String),
}

pub(super) const LOG_IN: &str = "Log in again and store the new grant with `bearer-proxy import`.";

// === impl Settings ===

impl Settings {
    /// Of the configuration, with its grant's token endpoint.
    ///
    /// # Errors
    /// `oauth.refresh_token` is no token.
    pub fn of(config: &Config, endpoint: &TokenEndpoint) -> Result<Self, InvalidToken> {
        let kind = match &config.oauth.grant {
            GrantConfig::RefreshToken { first, .. } => {
                let first = first.as_ref().map(|first| RefreshToken::parse(first.expose())).transpose()?;
                Kind::RefreshToken { first }
            }
            GrantConfig::ClientCredentials { .. } | GrantConfig::Static { .. } => Kind::ClientCredentials,
        };
        let binding = Binding {
            token_url: endpoint.url.to_string(),
            client_id: endpoint.client_id.clone(),
            upstream_origin: config.upstream.origin.to_string(),
        };
        Ok(Self {
            kind,
            binding,
            request_timeout: endpoint.request_timeout,
            ambiguous_retry: endpoint.ambiguous_retry,
            default_lifetime: config.refresh.default_lifetime,
        })
    }

    pub fn first(&self) -> Option<&RefreshToken> {
        match &self.kind {
            Kind::RefreshToken { first } => first.as_ref(),
            Kind::ClientCredentials => None,
        }
    }

    /// The configuration's first refresh token, if it was never taken before and may be presented.
    pub fn first_to_try(&self, stored: Option<&Record>) -> Option<&RefreshToken> {
        self.first().filter(|first| {
            let known = |record: &Record| {
                record.taken.contains(&first.fingerprint())
                    || record.refresh.as_ref().is_some_and(|stored| stored == *first)
            };
            !stored.is_some_and(known) && self.after_unclear(stored, first).is_ok()
        })
    }

    /// The candidate next to the stored grant, if it may be presented.
    pub fn candidate_to_try<'a>(&self, stored: Option<&'a Record>) -> Option<&'a RefreshToken> {
        if matches!(self.kind, Kind::ClientCredentials) {
            return None;
        }
        let candidate = stored?.candidate.as_ref().filter(|candidate| candidate.binding == self.binding)?;
        candidate.token.as_ref().filter(|token| self.after_unclear(stored, token).is_ok())
    }

    /// How often `token` was presented without a clear answer, where it may be presented again; else why it may not.
    pub fn after_unclear(&self, stored: Option<&Record>, token: &RefreshToken) -> Result<u32, String> {
        let of_candidate = |record: &'_ Record| record.candidate.as_ref()?.intent.clone();
        let intents = stored.map(|record| [record.intent.clone(), of_candidate(record)]);
        let unclear = intents
            .into_iter()
            .flatten()
            .flatten()
            .filter(|intent| intent.fingerprint == token.fingerprint())
            .map(|intent| intent.presented)
            .max()
            .unwrap_or(0);
        let allowed = match self.ambiguous_retry {
            AmbiguousRetry::UntilClear => true,
            AmbiguousRetry::Once => unclear <= 1,
            AmbiguousRetry::Never => unclear == 0,
        };
        let times = if unclear == 1 { "once".to_owned() } else { format!("{unclear} times") };
        allowed.then_some(unclear).ok_or_else(|| {
            format!(
                "The refresh token was presented {times} without a clear answer, and oauth.ambiguous_retry forbids another try. \
                 {LOG_IN}"
            )
        })
    }

    fn present(&self, stored: Option<&Record>, token: &RefreshToken) -> Plan {
        match self.after_unclear(stored, token) {
            Ok(unclear) => Plan::Present { token: Some(token.clone()), unclear },
            Err(reason) => Plan::NeedsLogin(reason),
        }
    }

    /// The record that a rotation starts from.
    pub(super) fn before(&self, stored: Option<Record>) -> Record {
        let mut before = stored.unwrap_or_else(|| Record::empty(self.binding.clone()));
        if let Some(first) = self.first()
            && self.after_unclear(Some(&before), first).is_err()
            && !before.taken.contains(&first.fingerprint())
        {
            // The next intent will take the place of the one that says so.
            before.taken.push(first.fingerprint());
        }
        if let Some(candidate) = &before.candidate
            && let Some(token) = &candidate.token
            && let Err(reason) = self.after_unclear(Some(&before), token)
        {
            before.candidate = Some(candidate.clone().settled(Outcome::Ambiguous, Some(reason)));
        }
        before
    }
}

/// Decides what is presented, from what the store holds: a candidate comes first, then a first token, then the stored grant.
pub fn plan(settings: &Settings, stored: Option<&Record>) -> Plan {
    plan_candidate(settings, stored)
        .or_else(|| plan_first(settings, stored))
        .unwrap_or_else(|| plan_stored(settings, stored))
}

pub(super) fn plan_candidate(settings: &Settings, stored: Option<&Record>) -> Option<Plan> {
    settings.candidate_to_try(stored).map(|candidate| settings.present(stored, candidate))
}

pub(super) fn plan_first(settings: &Settings, stored: Option<&Record>) -> Option<Plan> {
    settings.first_to_try(stored).map(|first| settings.present(stored, first))
}

/// [`plan`] without a candidate and a first token.
pub fn plan_stored(settings: &Settings, stored: Option<&Record>) -> Plan {
    if matches!(settings.kind, Kind::ClientCredentials) {
        return Plan::Present { token: None, unclear: 0 };
    }
    let Some(record) = stored else {
        return Plan::NeedsLogin("No grant is stored. Log in and store one with `bearer-proxy import`.".into());
    };
    if let Some(mismatch) = binding_mismatch(&record.binding, &settings.binding) {
        return Plan::NeedsLogin(mismatch);
    }
    // Without a stored grant, it is the first token's fate that a person has to know.
    let unclear_first = || settings.first().and_then(|first| settings.after_unclear(stored, first).err());
    match (&record.needs_login, &record.refresh) {
        (Some(reason), _) => Plan::NeedsLogin(reason.clone()),
        (None, Some(token)) => settings.present(stored, token),
        (None, None) => Plan::NeedsLogin(unclear_first().unwrap_or_else(|| {
            "The stored grant has no refresh token. Log in and store one with `bearer-proxy import`.".into()
        })),
    }
}

/// Says how a stored grant does not belong to the configured server; `None`: it does.
pub fn binding_mismatch(stored: &Binding, configured: &Binding) -> Option<String> {
    let parts = [
        ("oauth.token_url", &stored.token_url, &configured.token_url),
        ("oauth.client_id", &stored.client_id, &configured.client_id),
        ("upstream.url", &stored.upstream_origin, &configured.upstream_origin),
    ];
    let differing: Vec<String> = parts
        .into_iter()
        .filter(|(_, stored, configured)| stored != configured)
        .map(|(key, stored, configured)| format!("{key} was {stored} and is now {configured}"))
        .collect();
    (!differing.is_empty()).then(|| {
        format!(
            "The stored grant belongs to another server and is sent to nobody: {}. Undo the change, or log in and store a grant for \
             the new one with `bearer-proxy import`.",
            differing.join("; ")
        )
    })
}

#[cfg(test)]
mod tests;
