//! `check`: finds what stops the proxy from working.

use std::io::{self, IsTerminal};
use std::time::Duration;

use super::{COLUMNS, Exit, Outcome};
use crate::check::ids::Id;
use crate::check::report::{Report, Verdict};
use crate::check::{self, Request};
use crate::config::{Sources, parse_duration};

#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// Stop before the checks that send packets to the servers
    #[arg(long)]
    offline: bool,
    /// Retry the checks that may still succeed, for at most this time
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    wait: Option<Duration>,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
    /// Treat a warning as a failure
    #[arg(long)]
    strict: bool,
    /// Omit a check; can be given several times
    #[arg(long, value_name = "ID", value_parser = id)]
    skip: Vec<Id>,
    /// Present a made-up refresh token to the token endpoint also if the profile advises against it
    #[arg(long)]
    probe_client: bool,
}

pub(super) async fn run(sources: &Sources, options: &Options) -> Result<Outcome, serde_json::Error> {
    let request = Request {
        offline: options.offline,
        wait: options.wait,
        strict: options.strict,
        skip: options.skip.clone(),
        probe_client: options.probe_client,
    };
    let report = check::run(sources, &request).await;
    let columns = io::stdout().is_terminal().then_some(COLUMNS);
    let text = if options.json { report.json()? } else { report.text(columns) };
    Ok(Outcome { text, exit: exit(&report) })
}

fn exit(report: &Report) -> Exit {
    match report.verdict() {
        Verdict::Passed => Exit::Done,
        Verdict::Failed => Exit::Failed,
        Verdict::NeedsLogin => Exit::NeedsLogin,
        Verdict::InvalidConfiguration => Exit::InvalidConfiguration,
    }
}

fn id(name: &str) -> Result<Id, String> {
    Id::from_name(name).ok_or_else(|| {
        let known: Vec<_> = Id::ALL.iter().map(|id| id.name()).collect();
        format!("expected one of {}", known.join(", "))
    })
}
