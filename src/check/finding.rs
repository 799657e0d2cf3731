//! What a check found.

use serde::Serialize;

use super::ids::{Area, Id};

/// The result of one check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub id: Id,
    pub outcome: Outcome,
    /// What happened, to what. Empty if the title says it all. Never contains a secret.
    pub detail: String,
    /// What to do. Empty if nothing is to be done.
    pub hint: String,
}

/// From good to bad; a skipped check is neither.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Skip,
    Ok,
    Warn,
    Fail,
}

// === impl Id ===

impl Id {
    pub fn ok(self, detail: impl Into<String>) -> Finding {
        self.finding(Outcome::Ok, detail, "")
    }

    pub fn warn(self, detail: impl Into<String>, hint: impl Into<String>) -> Finding {
        self.finding(Outcome::Warn, detail, hint)
    }

    pub fn fail(self, detail: impl Into<String>, hint: impl Into<String>) -> Finding {
        self.finding(Outcome::Fail, detail, hint)
    }

    pub fn skip(self, why: impl Into<String>) -> Finding {
        self.finding(Outcome::Skip, why, "")
    }

    fn finding(self, outcome: Outcome, detail: impl Into<String>, hint: impl Into<String>) -> Finding {
        Finding { id: self, outcome, detail: detail.into(), hint: hint.into() }
    }
}

// === impl Area ===

impl Area {
    /// Skips every check of the area.
    pub fn skip(self, why: &str) -> Vec<Finding> {
        Id::of(self).map(|id| id.skip(why)).collect()
    }

    /// Skips what is left of the area.
    pub fn skip_others(self, found: &[Finding], why: &str) -> Vec<Finding> {
        Id::of(self).filter(|id| found.iter().all(|finding| finding.id != *id)).map(|id| id.skip(why)).collect()
    }
}

// === impl Finding ===

impl Finding {
    pub fn is_problem(&self) -> bool {
        self.outcome >= Outcome::Warn
    }

    /// Why another check is skipped.
    pub fn because(&self) -> String {
        format!("because of {}", self.id.name())
    }
}

// === impl Outcome ===

impl Outcome {
    pub fn name(self) -> &'static str {
        match self {
            Self::Skip => "skip",
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}
