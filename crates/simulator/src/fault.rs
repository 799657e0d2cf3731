//! Faults on demand: what goes wrong, at which step of an exchange, and how often.
//!
//! An exchange has three steps, the same at the token endpoint and at the API. A step meets at most one fault: the first that was
//! set for it. A fault at a step that is not reached stays for the next exchange.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Deserializer};

use super::answer::Answer;
use super::token_error::TokenError;

mod catalogue;

/// A fault that is set and waits for its exchange.
#[derive(Clone, Debug, Deserialize)]
pub struct Fault {
    pub on: Target,
    pub at: Step,
    pub act: Act,
    /// How many exchanges meet it. `null`: every one, until the faults are cleared.
    #[serde(default = "once")]
    pub times: Option<u32>,
    /// Only exchanges whose path begins with this.
    #[serde(default)]
    pub path: Option<String>,
}

/// What meets the fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// A connection that was accepted and is not read. Takes `close`, `reset`, `hang` and `raw`, at any step.
    Accept,
    /// A request to the API.
    Api,
    /// A browser at `/oauth/authorize`, at any step.
    Authorize,
    /// A call of the token endpoint.
    Token,
}

/// The step of the exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// The head was read, but nothing of the body.
    BeforeBody,
    /// The whole request was read, but not executed.
    BeforeCommit,
    /// The request was executed (tokens were issued and spent, the endpoint ran), but no response was sent.
    AfterCommit,
}

/// What goes wrong.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Act {
    /// Sends this response instead of the server's own.
    Answer(Answer),
    /// Ends the connection, with all exchanges on it. If bytes are unread, the kernel sends a reset.
    Close,
    /// Ends the connection after this many bytes of the body. The head announces the whole body. Only after the commit.
    Cut {
        after: usize,
        #[serde(default)]
        reset: bool,
    },
    /// Delays the response by this time.
    #[serde(deserialize_with = "millis")]
    Delay(Duration),
    /// Replaces members of the token endpoint's response by this JSON text, or removes them. Only after the commit.
    Edit(Vec<(String, Option<String>)>),
    /// The token endpoint responds with this error, or the browser is redirected with it.
    Error(TokenError),
    /// Never responds. The connection stays open until the client closes it.
    Hang,
    /// Writes these bytes to the socket instead of a response, and ends the connection.
    #[serde(deserialize_with = "text")]
    Raw(Vec<u8>),
    /// The API refuses any token as it refuses a dead one. Only before the commit.
    Refuse,
    /// Ends the connection with a TCP reset.
    Reset,
    /// Truncates the token endpoint's body to this many bytes, in a complete HTTP message. Only after the commit.
    Truncate(usize),
}

/// The faults that no exchange has met yet.
#[derive(Debug, Default)]
pub(super) struct Faults(Vec<Fault>);

// === impl Fault ===

impl Fault {
    /// A fault for one exchange.
    pub fn new(on: Target, at: Step, act: Act) -> Self {
        Self { on, at, act, times: once(), path: None }
    }

    pub fn token(at: Step, act: Act) -> Self {
        Self::new(Target::Token, at, act)
    }

    pub fn api(at: Step, act: Act) -> Self {
        Self::new(Target::Api, at, act)
    }

    #[must_use]
    pub fn times(self, times: u32) -> Self {
        Self { times: Some(times), ..self }
    }

    #[must_use]
    pub fn forever(self) -> Self {
        Self { times: None, ..self }
    }

    #[must_use]
    pub fn on_path(self, path: &str) -> Self {
        Self { path: Some(path.to_owned()), ..self }
    }

    /// Whether the act can happen at this step. An impossible act would have no effect, and no test would notice.
    pub(super) fn is_possible(&self) -> bool {
        match (&self.act, self.on) {
            (Act::Close | Act::Delay(_) | Act::Hang | Act::Raw(_) | Act::Reset, _) => true,
            (Act::Answer(_), on) => on != Target::Accept,
            (Act::Cut { .. }, Target::Api | Target::Token) => self.at == Step::AfterCommit,
            (Act::Edit(_) | Act::Truncate(_), Target::Token) => self.at == Step::AfterCommit,
            (Act::Error(_), Target::Authorize | Target::Token) => true,
            (Act::Refuse, Target::Api) => self.at != Step::AfterCommit,
            (Act::Cut { .. } | Act::Edit(_) | Act::Error(_) | Act::Refuse | Act::Truncate(_), _) => false,
        }
    }

    fn meets(&self, on: Target, at: Step, path: &str) -> bool {
        let any_step = matches!(on, Target::Accept | Target::Authorize);
        self.on == on
            && (any_step || self.at == at)
            && self.times != Some(0)
            && self.path.as_deref().is_none_or(|prefix| path.starts_with(prefix))
    }
}

// === impl Act ===

impl fmt::Display for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answer(answer) => write!(f, "answer {}", answer.status),
            Self::Close => f.write_str("close"),
            Self::Cut { after, .. } => write!(f, "cut after {after} bytes"),
            Self::Delay(by) => write!(f, "delay of {by:?}"),
            Self::Edit(_) => f.write_str("edit"),
            Self::Error(_) => f.write_str("error"),
            Self::Hang => f.write_str("hang"),
            Self::Raw(_) => f.write_str("raw bytes"),
            Self::Refuse => f.write_str("refuse"),
            Self::Reset => f.write_str("reset"),
            Self::Truncate(to) => write!(f, "truncate to {to} bytes"),
        }
    }
}

// === impl Faults ===

impl Faults {
    pub fn add(&mut self, fault: Fault) {
        self.0.push(fault);
    }

    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// The number of faults that no exchange has met yet.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn take(&mut self, on: Target, at: Step, path: &str) -> Option<Act> {
        let index = self.0.iter().position(|fault| fault.meets(on, at, path))?;
        let fault = self.0.get_mut(index)?;
        let act = fault.act.clone();
        if let Some(left) = &mut fault.times {
            *left -= 1;
            if *left == 0 {
                self.0.remove(index);
            }
        }
        Some(act)
    }
}

/// The default of `times`.
#[expect(clippy::unnecessary_wraps, reason = "serde wants the field's own type")]
fn once() -> Option<u32> {
    Some(1)
}

fn millis<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    u64::deserialize(deserializer).map(Duration::from_millis)
}

fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    String::deserialize(deserializer).map(String::into_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_met_as_often_as_it_was_set() {
        let mut faults = Faults::default();
        faults.add(Fault::token(Step::BeforeCommit, Act::Close).times(2));
        assert_eq!(faults.take(Target::Api, Step::BeforeCommit, "/"), None);
        assert_eq!(faults.take(Target::Token, Step::AfterCommit, "/"), None);
        assert_eq!(faults.take(Target::Token, Step::BeforeCommit, "/"), Some(Act::Close));
        assert_eq!(faults.take(Target::Token, Step::BeforeCommit, "/"), Some(Act::Close));
        assert_eq!(faults.take(Target::Token, Step::BeforeCommit, "/"), None);
        assert_eq!(faults.len(), 0);
    }

    #[test]
    fn a_lasting_fault_ends_when_it_is_cleared() {
        let mut faults = Faults::default();
        faults.add(Fault::api(Step::BeforeBody, Act::Refuse).forever());
        for _ in 0..10 {
            assert_eq!(faults.take(Target::Api, Step::BeforeBody, "/x"), Some(Act::Refuse));
        }
        faults.clear();
        assert_eq!(faults.take(Target::Api, Step::BeforeBody, "/x"), None);
    }

    #[test]
    fn a_fault_of_a_path_leaves_other_paths_alone() {
        let mut faults = Faults::default();
        faults.add(Fault::api(Step::BeforeCommit, Act::Hang).on_path("/api/v2/echo"));
        assert_eq!(faults.take(Target::Api, Step::BeforeCommit, "/api/v2/version"), None);
        assert_eq!(faults.take(Target::Api, Step::BeforeCommit, "/api/v2/echo/1"), Some(Act::Hang));
    }

    #[test]
    fn a_fault_never_met_is_never_counted_below_zero() {
        let mut faults = Faults::default();
        faults.add(Fault::api(Step::BeforeCommit, Act::Hang).times(0));
        assert_eq!(faults.take(Target::Api, Step::BeforeCommit, "/"), None);
    }

    #[test]
    fn a_fault_that_could_not_happen_is_known() {
        assert!(Fault::api(Step::BeforeBody, Act::Refuse).is_possible());
        assert!(!Fault::api(Step::AfterCommit, Act::Refuse).is_possible());
        assert!(!Fault::token(Step::BeforeCommit, Act::Refuse).is_possible());
        assert!(!Fault::token(Step::BeforeCommit, Act::Truncate(1)).is_possible());
        assert!(!Fault::api(Step::AfterCommit, Act::Truncate(1)).is_possible());
        assert!(!Fault::new(Target::Accept, Step::BeforeBody, Act::Answer(Answer::empty(200))).is_possible());
    }

    #[test]
    fn a_fault_reads_from_json() {
        let read = |text: &str| serde_json::from_str::<Fault>(text).unwrap();
        let close = read(r#"{"on":"token","at":"after_commit","act":"close"}"#);
        assert_eq!((close.act, close.times), (Act::Close, Some(1)));
        let delay = read(r#"{"on":"api","at":"before_body","act":{"delay":250},"times":null,"path":"/api"}"#);
        assert_eq!((delay.act, delay.times), (Act::Delay(Duration::from_millis(250)), None));
        let answer = read(r#"{"on":"api","at":"before_body","act":{"answer":{"status":502,"body":"no"}},"times":3}"#);
        assert_eq!((answer.act, answer.times), (Act::Answer(Answer::empty(502).body("no")), Some(3)));
        let edit = read(r#"{"on":"token","at":"after_commit","act":{"edit":[["expires_in","-1"],["scope",null]]}}"#);
        let edits = vec![("expires_in".to_owned(), Some("-1".to_owned())), ("scope".to_owned(), None)];
        assert_eq!(edit.act, Act::Edit(edits));
    }
}
