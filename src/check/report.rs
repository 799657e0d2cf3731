//! All results of a run: one per check, in the order of the table.

mod json;
mod text;

use super::finding::{Finding, Outcome};
use super::ids::Id;

/// A whole run.
#[derive(Clone, Debug)]
pub struct Report {
    /// One per check that was not omitted.
    pub findings: Vec<Finding>,
    /// The configuration cannot be used.
    pub invalid: bool,
    /// The version of the proxy that runs and was asked.
    pub proxy: Option<String>,
    strict: bool,
}

/// What a script learns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Passed,
    Failed,
    /// Nothing fails but the grant, and a login repairs it.
    NeedsLogin,
    InvalidConfiguration,
}

// === impl Report ===

impl Report {
    /// A check without a finding has passed.
    pub fn new(found: Vec<Finding>, omitted: &[Id], invalid: bool, strict: bool) -> Self {
        let of = |id: Id| found.iter().filter(move |finding| finding.id == id);
        let ids = Id::ALL.iter().filter(|id| !omitted.contains(id));
        let findings = ids.map(|id| of(*id).cloned().reduce(merged).unwrap_or_else(|| id.ok(""))).collect();
        Self { findings, invalid, proxy: None, strict }
    }

    pub fn outcome(&self) -> Outcome {
        match self.findings.iter().map(|finding| finding.outcome).max() {
            _ if self.invalid => Outcome::Fail,
            Some(Outcome::Warn) if self.strict => Outcome::Fail,
            Some(worst @ (Outcome::Warn | Outcome::Fail)) => worst,
            _ => Outcome::Ok,
        }
    }

    pub fn verdict(&self) -> Verdict {
        if self.invalid {
            return Verdict::InvalidConfiguration;
        }
        if self.outcome() != Outcome::Fail {
            return Verdict::Passed;
        }
        let counts = |finding: &&Finding| finding.outcome == Outcome::Fail || (self.strict && finding.is_problem());
        let login = self.findings.iter().filter(counts).all(|finding| finding.id.is_repaired_by_login());
        if login { Verdict::NeedsLogin } else { Verdict::Failed }
    }

    /// Whether a check failed that may succeed later.
    pub fn may_recover(&self) -> bool {
        self.findings.iter().any(|finding| finding.outcome == Outcome::Fail && finding.id.area().may_recover())
    }
}

/// Two findings of one check: both servers have the same fault, or several keys.
fn merged(first: Finding, second: Finding) -> Finding {
    let (mut worse, other) = if second.outcome > first.outcome { (second, first) } else { (first, second) };
    if other.outcome == worse.outcome {
        join(&mut worse.detail, &other.detail, "; ");
        join(&mut worse.hint, &other.hint, "; ");
    }
    worse
}

fn join(text: &mut String, more: &str, between: &str) {
    // `more` may have the separator in it.
    if !format!("{between}{text}{between}").contains(&format!("{between}{more}{between}")) {
        text.push_str(between);
        text.push_str(more);
    }
}

// === impl Id ===

impl Id {
    fn is_repaired_by_login(self) -> bool {
        matches!(self, Self::GrantAbsent | Self::GrantBoundElsewhere | Self::GrantNeedsLogin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_is_that_of_the_worst_finding() {
        let warn = || Id::StoreEphemeral.warn("x", "y");
        let fail = || Id::DnsFails.fail("x", "y");
        let login = || Id::GrantAbsent.fail("x", "y");
        for (findings, strict, expected) in [
            (vec![], false, Verdict::Passed),
            (vec![], true, Verdict::Passed),
            (vec![warn()], false, Verdict::Passed),
            (vec![warn()], true, Verdict::Failed),
            (vec![fail(), warn()], false, Verdict::Failed),
            (vec![login()], false, Verdict::NeedsLogin),
            (vec![login(), warn()], false, Verdict::NeedsLogin),
            (vec![login(), warn()], true, Verdict::Failed),
            (vec![login(), fail()], false, Verdict::Failed),
        ] {
            let text = format!("{findings:?} {strict}");
            assert_eq!(Report::new(findings, &[], false, strict).verdict(), expected, "{text}");
        }
        assert_eq!(Report::new(vec![], &[], true, false).verdict(), Verdict::InvalidConfiguration);
        // An omitted check is neither shown nor counted.
        let report = Report::new(vec![fail()], &[Id::DnsFails], false, false);
        assert_eq!((report.verdict(), report.findings.len()), (Verdict::Passed, Id::ALL.len() - 1));
    }

    #[test]
    fn one_check_has_one_result() {
        let findings = vec![
            Id::DnsFails.fail("a", "fix; then wait"),
            Id::DnsFails.fail("b", "fix; then wait"),
            Id::DnsFails.fail("b", "fix; then wait"),
            Id::ClockOff.skip("x"),
            Id::ClockOff.warn("c", "d"),
        ];
        let report = Report::new(findings, &[], false, false);
        let find = |id| report.findings.iter().find(|finding| finding.id == id).cloned();
        assert_eq!(find(Id::DnsFails), Some(Id::DnsFails.fail("a; b", "fix; then wait")));
        assert_eq!(find(Id::ClockOff), Some(Id::ClockOff.warn("c", "d")));
        assert_eq!(find(Id::DnsSlow), Some(Id::DnsSlow.ok("")));
        assert_eq!(report.findings.len(), Id::ALL.len());
    }
}
