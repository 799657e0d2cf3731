//! Checks of the grant: what the running proxy says of it, otherwise what the store holds.

use jiff::Timestamp;

use super::finding::Finding;
use super::ids::{Area, Id};
use super::store;
use crate::config::{Config, GrantConfig};
use crate::token::journal::{Plan, Settings, binding_mismatch, plan};
use crate::token::status::{State, Status};
use crate::token::store::{Look, Record};
use crate::token::{RefreshOutcome, policy};

const LOG_IN: &str = "run `bearer-proxy login`, or store a new grant with `bearer-proxy import`";

/// What is known of the grant. A pure decision follows.
pub struct Facts<'a> {
    pub running: Option<&'a Status>,
    pub record: Option<&'a Record>,
    pub settings: &'a Settings,
    pub margin: crate::config::Margin,
    pub now: Timestamp,
}

/// The stored record, if the store could be read.
pub fn record(store: &store::Facts) -> Option<&Record> {
    let look = match store {
        store::Facts::Memory => return None,
        store::Facts::File(facts) => &facts.look,
        store::Facts::Database(look) | store::Facts::Cluster(look) => look,
    };
    match look {
        Ok(Look { record: Ok(record), .. }) => record.as_ref(),
        _ => None,
    }
}

/// Why the grant cannot be checked at all.
pub fn unknown(config: &Config, store: &[Finding], running: bool) -> Option<String> {
    match &config.oauth.grant {
        GrantConfig::Static { .. } => Some("the static grant has no refresh token".to_owned()),
        GrantConfig::ClientCredentials { .. } if !running => {
            Some("the grant client_credentials needs no stored grant".to_owned())
        }
        _ if running => None,
        _ => {
            let unreadable = store.iter().find(|finding| finding.is_problem() && hides_the_grant(finding.id));
            unreadable.map(Finding::because)
        }
    }
}

fn hides_the_grant(id: Id) -> bool {
    !matches!(id, Id::StoreEphemeral | Id::StoreNetworkFilesystem | Id::StoreLeaseStuck | Id::StoreSharedFile)
}

pub fn judge(facts: &Facts<'_>) -> Vec<Finding> {
    let findings = match facts.running {
        Some(status) => running(status, facts),
        None => stored(facts),
    };
    let cause = findings
        .iter()
        .find(|finding| matches!(finding.id, Id::GrantAbsent | Id::GrantBoundElsewhere | Id::GrantNeedsLogin));
    match cause.map(Finding::because) {
        Some(because) => {
            let rest = Area::Grant.skip_others(&findings, &because);
            findings.into_iter().chain(rest).collect()
        }
        None => findings,
    }
}

fn running(status: &Status, facts: &Facts<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    if status.state == State::NeedsLogin {
        let reason = status.reason.clone().unwrap_or_else(|| "the running proxy needs a login".to_owned());
        findings.push(login(facts.record, facts.settings, reason));
        return findings;
    }
    let last = status.last_refresh.as_ref().filter(|last| last.outcome != RefreshOutcome::Ok);
    if let Some(last) = last {
        let error = last.error.as_deref().unwrap_or("the server gave no reason");
        let detail = format!("the last refresh of the running proxy was {}: {error}", last.outcome.name());
        let hint = "see the error; the proxy retries by itself, and `bearer-proxy refresh` retries at once";
        let is_usable = status.usable(facts.now);
        findings.push(if is_usable {
            Id::GrantRefreshFails.warn(detail, hint)
        } else {
            Id::GrantRefreshFails.fail(detail, hint)
        });
    }
    match status.state {
        State::Expired | State::Expiring | State::Refused if last.is_some() => {
            let because = Id::GrantRefreshFails.warn("", "").because();
            findings.push(Id::GrantNearEnd.skip(because));
        }
        State::Expired => {
            findings.push(Id::GrantNearEnd.fail(
                "the access token of the running proxy has expired",
                "run `bearer-proxy refresh` and see its error",
            ))
        }
        State::Refused => findings.push(Id::GrantNearEnd.fail(
            "the upstream refuses the access token of the running proxy",
            "run `bearer-proxy refresh`; if the new token is refused too, log in again",
        )),
        _ => {}
    }
    if !status.persisted {
        findings.push(Id::GrantUnpersisted.fail(
            "the newest token is in the memory of the running proxy only",
            "repair the store before the proxy stops; the proxy keeps trying to store the token",
        ));
    }
    findings
}

fn stored(facts: &Facts<'_>) -> Vec<Finding> {
    let Plan::NeedsLogin(reason) = plan(facts.settings, facts.record) else {
        return facts.record.map(|record| of_usable(record, facts)).unwrap_or_default();
    };
    vec![login(facts.record, facts.settings, reason)]
}

/// Distinguishes the three reasons for a login.
fn login(record: Option<&Record>, settings: &Settings, reason: String) -> Finding {
    match record {
        Some(record) if record.binding != settings.binding => Id::GrantBoundElsewhere.fail(
            binding_mismatch(&record.binding, &settings.binding).unwrap_or(reason),
            "run `bearer-proxy login` for the new server, store a grant of it with `bearer-proxy import`, or restore the previous URL \
             or client id",
        ),
        Some(record) if record.refresh.is_some() || record.needs_login.is_some() => {
            Id::GrantNeedsLogin.fail(reason, LOG_IN)
        }
        _ => Id::GrantAbsent.fail(
            reason,
            "run `bearer-proxy login`, store a grant with `bearer-proxy import`, or set oauth.refresh_token",
        ),
    }
}

fn of_usable(record: &Record, facts: &Facts<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    if record.access.is_none() && record.last_refresh.is_none() {
        findings.push(Id::GrantNeverRefreshed.warn(
            "the stored refresh token was never presented, so nobody knows whether it works",
            "start the proxy: it refreshes the token at once",
        ));
    }
    if let Some(access) = &record.access
        && let Some(end) = access.expires_at
    {
        let due = policy::refresh_at(access.obtained_at, end, facts.margin, 0.0);
        if due <= facts.now {
            let state = if end <= facts.now { "has expired" } else { "is due for a refresh" };
            findings.push(Id::GrantNearEnd.warn(
                format!("the stored access token {state}, and no proxy runs that would refresh it"),
                "start the proxy: it refreshes the token at once",
            ));
        }
    }
    findings
}

#[cfg(test)]
mod tests;
