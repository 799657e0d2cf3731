//! What a rotation presents, decided from the configuration and the stored record. Pure.
//!
//! A grant is bound to its server and is never sent to another. The initial token of the configuration is tried before the stored
//! grant. It replaces the grant only after a refresh with it has succeeded.

use std::time::Duration;

use crate::config::{AmbiguousRetry, Config, GrantConfig, TokenEndpoint};
use crate::token::store::{Binding, Record};
use crate::token::{InvalidToken, RefreshOutcome, RefreshToken};

/// The part of the configuration that rotations depend on.
#[derive(Clone, Debug)]
pub struct Settings {
    pub kind: Kind,
    pub binding: Binding,
    pub request_timeout: Duration,
    pub ambiguous_retry: AmbiguousRetry,
    pub default_lifetime: Duration,
}

/// The grant types that use a token endpoint.
#[derive(Clone, Debug)]
pub enum Kind {
    RefreshToken {
        /// `oauth.refresh_token`.
        initial: Option<RefreshToken>,
    },
    ClientCredentials,
}

/// Where the presented refresh token comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenSource {
    /// The candidate that `import` supplied.
    Candidate,
    /// `oauth.refresh_token`.
    Initial,
    /// The stored grant. The client credentials grant presents no refresh token.
    Stored,
}

/// What a rotation would do.
#[derive(Debug, PartialEq)]
pub enum Plan {
    Present {
        token: Option<RefreshToken>,
        /// How many earlier calls with this token had an ambiguous outcome.
        ambiguous: u32,
    },
    /// Only a person can help. The text says what happened and what to do.
    NeedsLogin(String),
}

pub(super) const LOG_IN: &str =
    "Log in again with `bearer-proxy login`, or store a new grant with `bearer-proxy import`.";

// === impl Settings ===

impl Settings {
    /// `endpoint` is the token endpoint of the configured grant.
    ///
    /// # Errors
    /// `oauth.refresh_token` is not a valid token.
    pub fn new(config: &Config, endpoint: &TokenEndpoint) -> Result<Self, InvalidToken> {
        let kind = match &config.oauth.grant {
            GrantConfig::RefreshToken { first, .. } => {
                let initial = first.as_ref().map(|initial| RefreshToken::parse(initial.expose())).transpose()?;
                Kind::RefreshToken { initial }
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

    pub fn initial(&self) -> Option<&RefreshToken> {
        match &self.kind {
            Kind::RefreshToken { initial } => initial.as_ref(),
            Kind::ClientCredentials => None,
        }
    }

    /// The initial token, if it was never tried before and may be presented.
    pub fn initial_to_try(&self, stored: Option<&Record>) -> Option<&RefreshToken> {
        self.initial().filter(|initial| {
            let known = |record: &Record| {
                record.tried_initial.contains(&initial.fingerprint())
                    || record.refresh.as_ref().is_some_and(|stored| stored == *initial)
            };
            !stored.is_some_and(known) && self.check_retry(stored, initial).is_ok()
        })
    }

    /// The candidate next to the stored grant, if it may be presented.
    pub fn candidate_to_try<'a>(&self, stored: Option<&'a Record>) -> Option<&'a RefreshToken> {
        if matches!(self.kind, Kind::ClientCredentials) {
            return None;
        }
        let candidate = stored?.candidate.as_ref().filter(|candidate| candidate.binding == self.binding)?;
        candidate.token.as_ref().filter(|token| self.check_retry(stored, token).is_ok())
    }

    /// Checks `oauth.ambiguous_retry`: how many calls with `token` were ambiguous, or why it may not be presented again.
    pub fn check_retry(&self, stored: Option<&Record>, token: &RefreshToken) -> Result<u32, String> {
        let of_candidate = |record: &'_ Record| record.candidate.as_ref()?.intent.clone();
        let intents = stored.map(|record| [record.intent.clone(), of_candidate(record)]);
        let ambiguous = intents
            .into_iter()
            .flatten()
            .flatten()
            .filter(|intent| intent.fingerprint == token.fingerprint())
            .map(|intent| intent.presented)
            .max()
            .unwrap_or(0);
        let allowed = match self.ambiguous_retry {
            AmbiguousRetry::UntilClear => true,
            AmbiguousRetry::Once => ambiguous <= 1,
            AmbiguousRetry::Never => ambiguous == 0,
        };
        let times = if ambiguous == 1 { "once".to_owned() } else { format!("{ambiguous} times") };
        allowed.then_some(ambiguous).ok_or_else(|| {
            format!(
                "The refresh token was presented {times} without a clear answer, and oauth.ambiguous_retry forbids another try. \
                 {LOG_IN}"
            )
        })
    }

    fn present(&self, stored: Option<&Record>, token: &RefreshToken) -> Plan {
        match self.check_retry(stored, token) {
            Ok(ambiguous) => Plan::Present { token: Some(token.clone()), ambiguous },
            Err(reason) => Plan::NeedsLogin(reason),
        }
    }

    /// The record that a rotation starts from. A token that may not be presented again is marked as tried.
    pub(super) fn before(&self, stored: Option<Record>) -> Record {
        let mut before = stored.unwrap_or_else(|| Record::empty(self.binding.clone()));
        if let Some(initial) = self.initial()
            && self.check_retry(Some(&before), initial).is_err()
            && !before.tried_initial.contains(&initial.fingerprint())
        {
            // The next intent will replace the one that holds this fact.
            before.tried_initial.push(initial.fingerprint());
        }
        if let Some(candidate) = &before.candidate
            && let Some(token) = &candidate.token
            && let Err(reason) = self.check_retry(Some(&before), token)
        {
            before.candidate = Some(candidate.clone().settled(RefreshOutcome::Ambiguous, Some(reason)));
        }
        before
    }
}

/// Decides what is presented: first a candidate, then the initial token, then the stored grant.
pub fn plan(settings: &Settings, stored: Option<&Record>) -> Plan {
    plan_candidate(settings, stored)
        .or_else(|| plan_initial(settings, stored))
        .unwrap_or_else(|| plan_stored(settings, stored))
}

pub(super) fn plan_candidate(settings: &Settings, stored: Option<&Record>) -> Option<Plan> {
    settings.candidate_to_try(stored).map(|candidate| settings.present(stored, candidate))
}

pub(super) fn plan_initial(settings: &Settings, stored: Option<&Record>) -> Option<Plan> {
    settings.initial_to_try(stored).map(|initial| settings.present(stored, initial))
}

/// [`plan`] without the candidate and the initial token.
pub fn plan_stored(settings: &Settings, stored: Option<&Record>) -> Plan {
    if matches!(settings.kind, Kind::ClientCredentials) {
        return Plan::Present { token: None, ambiguous: 0 };
    }
    let Some(record) = stored else {
        return Plan::NeedsLogin(
            "No grant is stored. Log in with `bearer-proxy login`, or store a grant with `bearer-proxy import`.".into(),
        );
    };
    if let Some(mismatch) = binding_mismatch(&record.binding, &settings.binding) {
        return Plan::NeedsLogin(mismatch);
    }
    // Without a stored grant, the person must know what became of the initial token.
    let ambiguous_initial = || settings.initial().and_then(|initial| settings.check_retry(stored, initial).err());
    match (&record.needs_login, &record.refresh) {
        (Some(reason), _) => Plan::NeedsLogin(reason.clone()),
        (None, Some(token)) => settings.present(stored, token),
        (None, None) => Plan::NeedsLogin(ambiguous_initial().unwrap_or_else(|| {
            "The stored grant has no refresh token. Log in with `bearer-proxy login`, or store a grant with `bearer-proxy import`."
                .into()
        })),
    }
}

/// Describes how a stored grant differs from the configured server. `None`: it belongs to that server.
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
            "The stored grant belongs to another server and is sent to nobody: {}. Undo the change, log in to \
             the new server with `bearer-proxy login`, or store a grant of it with `bearer-proxy import`.",
            differing.join("; ")
        )
    })
}

#[cfg(test)]
mod tests;
