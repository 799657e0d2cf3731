//! The latest warnings and errors, for the admin page.
//!
//! An event is kept as the log writes it: its message and the text of its fields. So it holds no token for the same reason as the log:
//! a text of a server is masked before it becomes an error value (`token::endpoint::mask`), and only events of this program arrive here.

use std::collections::VecDeque;
use std::fmt::{self, Write as _};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

/// Number of different problems that are kept.
pub const MOST: usize = 50;
/// The longest text of a problem, in bytes.
pub const MAX_TEXT: usize = 500;
/// The longest message and the longest id, in bytes.
pub const MAX_EVENT: usize = 250;
pub const MAX_CHECK: usize = 40;

/// The latest problems of this process. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Problems(Arc<Mutex<VecDeque<Problem>>>);

/// A warning or an error, however often it was logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub level: Level,
    /// The message of the event. It is constant.
    pub event: String,
    /// The id of the check, if the event names one.
    pub check: Option<String>,
    /// What happened the last time.
    pub text: String,
    pub first_at: Timestamp,
    pub last_at: Timestamp,
    pub count: u64,
}

/// The fields of one event.
#[derive(Default)]
struct Seen {
    event: String,
    check: Option<String>,
    details: String,
    /// It has the text of a check, which says everything.
    is_finding: bool,
}

/// The fields that a person reads. Others, such as a pause, would make each occurrence another one.
const SHOWN: [&str; 10] = ["error", "errors", "reason", "detail", "hint", "to_do", "holder", "path", "keys", "task"];

// === impl Problems ===

impl Problems {
    /// The newest first.
    pub fn list(&self) -> Vec<Problem> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().rev().cloned().collect()
    }

    fn add(&self, level: Level, seen: Seen, now: Timestamp) {
        let Seen { event, check, details, is_finding } = seen;
        let mut text = match details.is_empty() {
            true => event.clone(),
            // The event says only that a check found something.
            false if is_finding => details,
            false => format!("{event}: {details}"),
        };
        cut(&mut text, MAX_TEXT);
        let mut problems = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let same = problems.iter().position(|known| known.event == event && known.check == check);
        let before = same.and_then(|index| problems.remove(index));
        if problems.len() == MOST {
            problems.pop_front();
        }
        let (first_at, count) = before.map_or((now, 0), |before| (before.first_at, before.count));
        let count = count.saturating_add(1);
        problems.push_back(Problem { level, event, check, text, first_at, last_at: now, count });
    }
}

impl<S: Subscriber> Layer<S> for Problems {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let level = *event.metadata().level();
        // A more verbose level is greater.
        if level <= Level::WARN {
            let mut seen = Seen::default();
            event.record(&mut seen);
            self.add(level, seen, Timestamp::now());
        }
    }
}

// === impl Seen ===

impl Seen {
    fn see(&mut self, field: &Field, text: &str) {
        let mut text: String = text.chars().map(|c| if is_unprintable(c) { ' ' } else { c }).take(MAX_TEXT).collect();
        match field.name() {
            "message" => {
                cut(&mut text, MAX_EVENT);
                self.event = text;
            }
            "check" => {
                cut(&mut text, MAX_CHECK);
                self.check = Some(text);
            }
            name if SHOWN.contains(&name) => {
                self.is_finding |= name == "detail";
                let between = if self.details.is_empty() { "" } else { "; " };
                let _ = write!(self.details, "{between}{text}");
            }
            _ => {}
        }
    }
}

/// A control character, or one that changes the direction of text.
pub(super) fn is_unprintable(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn cut(text: &mut String, bytes: usize) {
    text.truncate(text.floor_char_boundary(bytes));
    text.shrink_to_fit();
}

impl Visit for Seen {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.see(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.see(field, &format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::Registry;
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    fn kept(log: impl FnOnce()) -> Vec<Problem> {
        let problems = Problems::default();
        tracing::subscriber::with_default(Registry::default().with(problems.clone()), log);
        problems.list()
    }

    #[test]
    fn equal_events_are_one_problem_with_a_count_and_the_newest_text() {
        let problems = kept(|| {
            tracing::warn!(error = "HTTP 503", retry_in_ms = 1, "the refresh failed");
            tracing::error!(check = "grant-needs-login", reason = %"a\u{1b}[31m b\u{202e}", "the grant needs a login");
            tracing::warn!(error = "HTTP 502", outcome = "ambiguous", retry_in_ms = 2, "the refresh failed");
            tracing::info!("not a problem");
        });
        let shown: Vec<_> = problems.iter().map(|problem| (&*problem.text, problem.count)).collect();
        assert_eq!(shown, [("the refresh failed: HTTP 502", 2), ("the grant needs a login: a [31m b ", 1)]);
        assert!(problems[0].first_at <= problems[0].last_at);
    }

    #[test]
    fn a_finding_of_a_check_is_its_detail_and_each_check_has_its_own() {
        let problems = kept(|| {
            for check in ["dns-slow", "clock-off", "dns-slow"] {
                tracing::warn!(check, detail = "slow", hint = "fix it", during = "start", "check found a problem");
            }
        });
        let shown: Vec<_> = problems.iter().map(|problem| (problem.check.as_deref(), &*problem.text)).collect();
        assert_eq!(shown, [(Some("dns-slow"), "slow; fix it"), (Some("clock-off"), "slow; fix it")]);
    }

    #[test]
    fn problems_and_their_texts_are_bounded() {
        let problems = kept(|| {
            for number in 0..MOST + 5 {
                tracing::warn!(error = "ä".repeat(10_000), "event {number}");
            }
        });
        assert_eq!(problems.len(), MOST);
        assert!(problems[0].event.ends_with("54") && problems[MOST - 1].event.ends_with(" 5"), "{problems:?}");
        assert!(problems.iter().all(|problem| problem.text.len() <= MAX_TEXT));
    }
}
