//! The report for programs: one document.

use serde::Serialize;

use super::Report;
use crate::check::finding::{Finding, Outcome};
use crate::check::ids::Id;

#[derive(Serialize)]
struct Document<'a> {
    outcome: Outcome,
    checks: Vec<Check<'a>>,
}

#[derive(Serialize)]
struct Check<'a> {
    id: Id,
    title: &'static str,
    outcome: Outcome,
    detail: Option<&'a str>,
    hint: Option<&'a str>,
    doc: String,
}

// === impl Report ===

impl Report {
    pub fn json(&self) -> Result<String, serde_json::Error> {
        let checks = self.findings.iter().map(Check::new).collect();
        Ok(serde_json::to_string_pretty(&Document { outcome: self.outcome(), checks })? + "\n")
    }
}

// === impl Check ===

impl<'a> Check<'a> {
    fn new(finding: &'a Finding) -> Self {
        let Finding { id, outcome, detail, hint } = finding;
        let some = |text: &'a String| Some(text.as_str()).filter(|text| !text.is_empty());
        Self { id: *id, title: id.title(), outcome: *outcome, detail: some(detail), hint: some(hint), doc: id.doc() }
    }
}
