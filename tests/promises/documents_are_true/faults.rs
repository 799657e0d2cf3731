//! A fault has one name: `check`, the log and the alerts use the same id, and the reference explains it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use super::generated::{check, event, sources, split};
use super::read;

/// What tells a person of a fault.
#[derive(Default)]
struct Told {
    alerts: Vec<String>,
    events: BTreeSet<String>,
}

/// The value of `check: ID` in the labels of an alert.
fn label(line: &str) -> Option<&str> {
    let (_, rest) = line.trim().strip_prefix("labels: {")?.split_once("check: ")?;
    rest.split([',', ' ', '}']).next()
}

/// The faults that an alert or an event names.
fn told() -> BTreeMap<String, Told> {
    let mut told: BTreeMap<String, Told> = BTreeMap::new();
    let mut alert = String::new();
    for line in read("deploy/prometheus/alerts.yaml").lines() {
        if let Some(name) = line.trim().strip_prefix("- alert: ") {
            alert = name.to_owned();
        }
        if let Some(id) = label(line) {
            told.entry(id.to_owned()).or_default().alerts.push(alert.clone());
        }
    }
    for (_, source) in sources("src") {
        for (at, _) in source.match_indices("tracing::") {
            let Some((_, arguments)) = source[at..].split_once("!(").filter(|(name, _)| name.len() < 20) else {
                continue;
            };
            let id =
                split(arguments).first().and_then(|first| first.trim().strip_prefix("check = \"")?.strip_suffix('"'));
            if let Some(id) = id {
                told.entry(id.to_owned()).or_default().events.insert(event(arguments).0);
            }
        }
    }
    told
}

#[test]
fn the_alerts_and_the_log_name_a_fault_as_check_does() {
    let told = told();
    let reference = read("docs/reference/checks.md");
    let mut text = String::from("| check | alert | log event |\n|---|---|---|\n");
    for (id, Told { alerts, events }) in &told {
        assert!(reference.lines().any(|line| line == format!("### {id}")), "{id} is no check");
        // An event at the time of the fault; a token that runs out has none of its own.
        assert!(!events.is_empty() || id == "grant-near-end", "{id} has an alert and no event");
        let alerts: Vec<_> = alerts.iter().map(|alert| format!("`{alert}`")).collect();
        let events: Vec<_> = events.iter().map(|event| event.split(": ").next().unwrap().to_owned()).collect();
        let link = format!("[{id}](../reference/checks.md#{id})");
        let _ = writeln!(text, "| {link} | {} | {} |", alerts.join(", "), events.join("; "));
    }
    assert!(told.len() >= 10, "{} faults", told.len());
    check("docs/guides/monitoring.md", "faults", &text);
}
