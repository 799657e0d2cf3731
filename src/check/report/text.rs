//! The report for people: the mark stands first on each line.

use std::fmt::Write;

use super::{Report, Verdict};
use crate::check::finding::{Finding, Outcome};
use crate::check::ids::Area;

/// Where the text of a finding begins.
const INDENT: usize = 8;

// === impl Report ===

impl Report {
    /// `columns`: of the terminal. `None`: lines are not wrapped, so that a search finds a whole sentence.
    pub fn text(&self, columns: Option<usize>) -> String {
        let mut text = String::new();
        for area in Area::ALL {
            let findings: Vec<_> = self.findings.iter().filter(|finding| finding.id.area() == *area).collect();
            if findings.is_empty() {
                continue;
            }
            let _ = writeln!(text, "{}", area.title());
            let (skipped, shown): (Vec<_>, Vec<_>) =
                findings.into_iter().partition(|finding| finding.outcome == Outcome::Skip);
            for finding in shown {
                of(finding, columns, &mut text);
            }
            for (why, ids) in grouped(&skipped) {
                paragraph("skip", &format!("{}: {why}", ids.join(", ")), columns, &mut text);
            }
            text.push('\n');
        }
        if let Some(version) = &self.proxy {
            let _ =
                writeln!(text, "A proxy runs (version {version}): the checks of the grant and of limits are about it.");
        }
        text + &self.summary()
    }

    /// Only the warnings and the failures.
    pub fn problems(&self, columns: Option<usize>) -> String {
        let mut text = String::new();
        self.findings.iter().filter(|finding| finding.is_problem()).for_each(|finding| of(finding, columns, &mut text));
        text
    }

    fn summary(&self) -> String {
        let count = |outcome| self.findings.iter().filter(|finding| finding.outcome == outcome).count();
        let counts = [Outcome::Fail, Outcome::Warn, Outcome::Ok, Outcome::Skip]
            .map(|outcome| format!("{} {}", count(outcome), outcome.name()))
            .join(", ");
        let verdict = match (self.verdict(), self.outcome()) {
            (Verdict::InvalidConfiguration, _) => "The configuration is invalid",
            (Verdict::NeedsLogin, _) => "The grant needs a login",
            (Verdict::Failed, _) => "Something stops the proxy from working",
            (Verdict::Passed, Outcome::Warn) => "The proxy works, with warnings",
            (Verdict::Passed, _) => "Nothing stops the proxy from working",
        };
        format!("{verdict}: {counts}.\n")
    }
}

fn of(finding: &Finding, columns: Option<usize>, text: &mut String) {
    let mark = finding.outcome.name();
    if !finding.is_problem() {
        let title = finding.id.title();
        let line = if finding.detail.is_empty() { title.to_owned() } else { format!("{title} ({})", finding.detail) };
        return paragraph(mark, &line, columns, text);
    }
    paragraph(mark, &format!("{}: {}", finding.id.name(), finding.detail), columns, text);
    paragraph("", &format!("fix: {}", finding.hint), columns, text);
    paragraph("", &format!("see: {}", finding.id.doc()), columns, text);
}

/// Skipped checks by their reason, in the order of the table.
fn grouped(skipped: &[&Finding]) -> Vec<(String, Vec<&'static str>)> {
    let mut groups: Vec<(String, Vec<&'static str>)> = Vec::new();
    for finding in skipped {
        match groups.iter_mut().find(|(why, _)| *why == finding.detail) {
            Some((_, ids)) => ids.push(finding.id.name()),
            None => groups.push((finding.detail.clone(), vec![finding.id.name()])),
        }
    }
    groups
}

/// Without control characters, which a server or a path may have put into it.
fn paragraph(mark: &str, content: &str, columns: Option<usize>, text: &mut String) {
    let content = content.replace(char::is_control, " ");
    let width = columns.map_or(usize::MAX, |columns| columns.saturating_sub(INDENT).max(20));
    let mut line = String::new();
    let mut mark = mark;
    let mut end = |line: &mut String, mark: &mut &str| {
        let _ = writeln!(text, "  {mark:<4}  {line}");
        (*mark, _) = ("", line.clear());
    };
    for word in content.split(' ') {
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > width {
            end(&mut line, &mut mark);
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    end(&mut line, &mut mark);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::ids::Id;

    fn report() -> Report {
        let mut findings = vec![
            Id::SecretNewline.warn(
                "oauth.client_secret starts or ends with a blank",
                "write the secret again, without blanks around it",
            ),
            Id::DnsFails.fail(
                "api.test (upstream): no such name\u{1b}[31m",
                "correct the host in the URL, or the name servers",
            ),
            Id::ClientRejected.ok("the server has accepted the client id and the secret"),
        ];
        findings.extend(Area::Upstream.skip("because of dns-fails"));
        Report::new(findings, &[], false, false)
    }

    #[test]
    fn a_terminal_gets_lines_of_its_width_and_a_pipe_whole_sentences() {
        let (wrapped, whole) = (report().text(Some(80)), report().text(None));
        assert!(wrapped.lines().all(|line| line.chars().count() <= 80), "{wrapped}");
        assert!(!wrapped.contains(|c: char| c.is_control() && c != '\n'));
        for line in [
            "  warn  secret-newline: oauth.client_secret starts or ends with a blank",
            "        fix: correct the host in the URL, or the name servers",
            "        see: docs/reference/checks.md#dns-fails",
            "  ok    the token endpoint does not reject the client (the server has accepted the client id and the secret)",
            "  skip  upstream-refuses, upstream-forbids, upstream-quota, upstream-fails: because of dns-fails",
        ] {
            assert!(whole.lines().any(|found| found == line), "{line}\n{whole}");
        }
        let problems: Vec<_> = whole.lines().skip_while(|line| !line.starts_with("  warn")).take(3).collect();
        assert!(report().problems(None).starts_with(&(problems.join("\n") + "\n  fail  dns-fails: ")), "{whole}");
        assert!(whole.ends_with("Something stops the proxy from working: 1 fail, 1 warn, 53 ok, 4 skip.\n"), "{whole}");
    }

    #[test]
    fn a_document_has_every_check_once() {
        let document: serde_json::Value = serde_json::from_str(&report().json().unwrap()).unwrap();
        assert_eq!(document["outcome"], "fail");
        let checks = document["checks"].as_array().unwrap();
        assert_eq!(checks.len(), Id::ALL.len());
        let dns = checks.iter().find(|check| check["id"] == "dns-fails").unwrap();
        assert_eq!(dns["outcome"], "fail");
        assert_eq!(dns["title"], Id::DnsFails.title());
        assert_eq!(dns["doc"], "docs/reference/checks.md#dns-fails");
        let slow = checks.iter().find(|check| check["id"] == "dns-slow").unwrap();
        assert_eq!((&slow["outcome"], &slow["detail"]), (&"ok".into(), &serde_json::Value::Null));
    }
}
