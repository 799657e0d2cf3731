//! The rows of `bodies.txt`.

use bearer_proxy::internals::token::RefreshOutcome;

use crate::{NEW_REFRESH, OLD_REFRESH, Row, filled, http};

pub fn rows() -> Vec<Row> {
    let lines = include_str!("bodies.txt").lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(row).collect()
}

fn row(line: &str) -> Row {
    let fields: Vec<&str> = line.splitn(6, " | ").collect();
    let [outcome, stored, name, status, content_type, body] = fields[..] else { panic!("not a row: {line}") };
    let outcome = match outcome {
        "ok" => RefreshOutcome::Ok,
        "transient" => RefreshOutcome::Transient,
        "ambiguous" => RefreshOutcome::Ambiguous,
        "rejected" => RefreshOutcome::Rejected,
        "misconfigured" => RefreshOutcome::Misconfigured,
        other => panic!("no outcome: {other}"),
    };
    let stored = match stored {
        "new" => NEW_REFRESH.to_owned(),
        "old" => OLD_REFRESH.to_owned(),
        other => filled(other),
    };
    let body = filled(body).replace('␤', "\n").replace('␍', "\r");
    let head = format!("Content-Type: {content_type}\r\n");
    Row::new(name, outcome, &stored, http(status, &head, body.as_bytes()))
}
