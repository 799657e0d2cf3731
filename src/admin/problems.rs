//! The check that explains a problem, so that the page can link to its documentation.

use jiff::Timestamp;
use serde::Serialize;
use tracing::Level;

use crate::check::ids::Id;
use crate::telemetry::problems::Problem;
use crate::token::status::whole_seconds;

/// A problem, as the page shows it.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Shown {
    id: Option<Id>,
    level: &'static str,
    message: String,
    first_at: Timestamp,
    last_at: Timestamp,
    count: u64,
    doc: Option<String>,
}

/// Messages of the log, and the check that is about the same. The first row whose text is in the problem counts.
const CHECKS: [(&str, &str, Id); 27] = [
    ("the refresh failed", "HTTP 429", Id::EndpointThrottles),
    ("the refresh failed", "", Id::GrantRefreshFails),
    ("the refresh was refused for a reason that lies in the configuration", "invalid_client", Id::ClientRejected),
    ("the refresh was refused for a reason that lies in the configuration", "unauthorized_client", Id::ClientRejected),
    ("the refresh was refused for a reason that lies in the configuration", "HTTP 401", Id::ClientRejected),
    ("the refresh was refused for a reason that lies in the configuration", "never redirected", Id::EndpointRedirects),
    ("the refresh was refused for a reason that lies in the configuration", "text/html", Id::EndpointNotJson),
    ("the refresh was refused for a reason that lies in the configuration", "", Id::EndpointFails),
    ("the refresh token was refused", "", Id::GrantNeedsLogin),
    ("the grant needs a login", "", Id::GrantNeedsLogin),
    ("the server's new refresh token can't be used", "", Id::GrantNeedsLogin),
    ("the new grant could not be stored", "", Id::GrantUnpersisted),
    ("the newest grant could still not be stored", "", Id::GrantUnpersisted),
    ("the stored grant is damaged", "", Id::StoreDamaged),
    ("others could read the stored grant", "", Id::SecretWorldReadable),
    ("others can read the stored grant", "", Id::SecretWorldReadable),
    ("a peer's new token is not noticed until the database is back", "", Id::StoreDatabaseUnreachable),
    ("took the lease over from a process", "", Id::StoreLeaseStuck),
    ("the lease could not be released", "", Id::StoreLeaseStuck),
    ("the stored token is dated in the future", "", Id::ClockOff),
    ("the upstream refuses the token of the static grant", "", Id::UpstreamRefuses),
    ("a token that was refreshed for a refusal is refused as well", "", Id::UpstreamRefuses),
    ("refresh.max_per_hour is spent", "", Id::UpstreamRefuses),
    ("the changed configuration is invalid", "", Id::ConfigInvalid),
    ("the limit of open files could not be raised", "", Id::LimitDescriptors),
    ("raise the limit of open files", "", Id::LimitDescriptors),
    ("the token of the static grant could not be read", "", Id::SecretUnreadable),
];

// === impl Shown ===

impl From<Problem> for Shown {
    fn from(problem: Problem) -> Self {
        let id = id(&problem);
        Self {
            id,
            level: if problem.level == Level::ERROR { "error" } else { "warn" },
            message: problem.text,
            first_at: whole_seconds(problem.first_at),
            last_at: whole_seconds(problem.last_at),
            count: problem.count,
            doc: id.map(Id::doc),
        }
    }
}

fn id(problem: &Problem) -> Option<Id> {
    if let Some(name) = &problem.check {
        return Id::from_name(name);
    }
    let is_about =
        |(event, detail, _): &&(&str, &str, Id)| problem.event.contains(event) && problem.text.contains(detail);
    CHECKS.iter().find(is_about).map(|(_, _, id)| *id)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn problem(event: &str, text: &str, check: Option<&str>) -> Problem {
        let at = Timestamp::from_second(1_800_000_000).unwrap();
        Problem {
            level: Level::WARN,
            event: event.to_owned(),
            check: check.map(str::to_owned),
            text: text.to_owned(),
            first_at: at,
            last_at: at,
            count: 2,
        }
    }

    #[test]
    fn a_problem_has_the_id_of_the_check_that_explains_it() {
        let misconfigured = "the refresh was refused for a reason that lies in the configuration; the grant is kept";
        for (event, text, check, expected) in [
            ("check found a problem", "slow; wait", Some("dns-slow"), Some(Id::DnsSlow)),
            ("the refresh failed", "the refresh failed: HTTP 429", None, Some(Id::EndpointThrottles)),
            ("the refresh failed", "the refresh failed: connection refused", None, Some(Id::GrantRefreshFails)),
            (misconfigured, "HTTP 401: invalid_client: Client authentication failed", None, Some(Id::ClientRejected)),
            (
                misconfigured,
                "HTTP 302 to https://as.example/; a token call is never redirected",
                None,
                Some(Id::EndpointRedirects),
            ),
            (misconfigured, "HTTP 404 (text/html)", None, Some(Id::EndpointNotJson)),
            (misconfigured, "HTTP 400: invalid_scope", None, Some(Id::EndpointFails)),
            ("a worker panicked", "a worker panicked", None, None),
        ] {
            assert_eq!(id(&problem(event, text, check)), expected, "{text}");
        }
        let shown = serde_json::to_value(Shown::from(problem("x", "slow", Some("dns-slow")))).unwrap();
        assert_eq!(shown["id"], "dns-slow");
        assert_eq!(shown["doc"], "docs/reference/checks.md#dns-slow");
        assert_eq!((&shown["level"], &shown["count"]), (&"warn".into(), &2.into()));
    }

    /// Whoever changes a message changes the table too.
    #[test]
    fn every_message_of_the_table_is_logged_somewhere() {
        let mut sources = String::new();
        let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|extension| extension == "rs") && !path.ends_with(file!()) {
                    sources += &std::fs::read_to_string(path).unwrap();
                }
            }
        }
        for (event, _, _) in CHECKS {
            assert!(sources.contains(event), "nothing logs {event:?}");
        }
    }
}
