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

/// What the log calls a refresh that was refused for a reason in the configuration.
const REFUSED: &str = "the refresh was refused for a reason that lies in the configuration";

/// Messages of the log without the id of a check, or with a general one, and the check that is about the same. The first row whose text
/// is in the problem counts.
const CHECKS: [(&str, &str, Id); 13] = [
    ("the refresh failed", "HTTP 429", Id::EndpointThrottles),
    (REFUSED, "invalid_client", Id::ClientRejected),
    (REFUSED, "unauthorized_client", Id::ClientRejected),
    (REFUSED, "HTTP 401", Id::ClientRejected),
    (REFUSED, "never redirected", Id::EndpointRedirects),
    (REFUSED, "text/html", Id::EndpointNotJson),
    ("the refresh token was refused", "", Id::GrantNeedsLogin),
    ("the server's new refresh token can't be used", "", Id::GrantNeedsLogin),
    ("others could read the stored grant", "", Id::SecretWorldReadable),
    ("others can read the stored grant", "", Id::SecretWorldReadable),
    ("took the lease over from a process", "", Id::StoreLeaseStuck),
    ("the lease could not be released", "", Id::StoreLeaseStuck),
    ("the stored token is dated in the future", "", Id::ClockOff),
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
    let is_about =
        |(event, detail, _): &&(&str, &str, Id)| problem.event.contains(event) && problem.text.contains(detail);
    let listed = CHECKS.iter().find(is_about).map(|(_, _, id)| *id);
    listed.or_else(|| Id::from_name(problem.check.as_deref()?))
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
        let general = Some("grant-refresh-fails");
        let misconfigured = "the refresh was refused for a reason that lies in the configuration; the grant is kept";
        for (event, text, check, expected) in [
            ("check found a problem", "slow; wait", Some("dns-slow"), Some(Id::DnsSlow)),
            ("the refresh failed", "the refresh failed: HTTP 429", general, Some(Id::EndpointThrottles)),
            ("the refresh failed", "the refresh failed: connection refused", general, Some(Id::GrantRefreshFails)),
            (
                "the refresh token was refused",
                "the refresh token was refused: HTTP 400",
                None,
                Some(Id::GrantNeedsLogin),
            ),
            (misconfigured, "HTTP 401: invalid_client: Client authentication failed", None, Some(Id::ClientRejected)),
            (
                misconfigured,
                "HTTP 302 to https://as.example/; a token call is never redirected",
                None,
                Some(Id::EndpointRedirects),
            ),
            (misconfigured, "HTTP 404 (text/html)", None, Some(Id::EndpointNotJson)),
            (misconfigured, "HTTP 400: invalid_scope", general, Some(Id::GrantRefreshFails)),
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
