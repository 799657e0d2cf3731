//! `status`: the grant's state, from the running proxy, or from the store when none runs.

use std::fmt::Write;
use std::time::Duration;

use http::StatusCode;
use jiff::Timestamp;

use super::{Exit, Failure, Outcome};
use crate::admin::client::{Client, ClientError};
use crate::config::{Config, StoreKindConfig};
use crate::token::journal::Settings;
use crate::token::status::{Identity, State, Status, Stored, whole_seconds};
use crate::token::store::Store;

#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// Print the status document
    #[arg(long)]
    json: bool,
}

/// Where a status came from.
enum Found {
    Running(Status),
    /// With why no proxy was asked.
    Stored(Status, String),
}

const ANSWER: Duration = Duration::from_secs(10);

pub(super) async fn run(config: &Config, options: &Options) -> Result<Outcome, Failure> {
    let now = Timestamp::now();
    let found = find(config, now).await?;
    let (status, running) = match &found {
        Found::Running(status) => (status, true),
        Found::Stored(status, _) => (status, false),
    };
    let mut text = if options.json {
        serde_json::to_string_pretty(status).map_err(|error| Failure::new(error.to_string()))? + "\n"
    } else {
        human(status, running, now)
    };
    if let (Found::Stored(_, why), false) = (&found, options.json) {
        let _ = writeln!(text, "source        the store: {why}");
    }
    Ok(Outcome { text, exit: exit(status, now) })
}

async fn find(config: &Config, now: Timestamp) -> Result<Found, Failure> {
    let not_running = match &config.admin {
        None => "admin.listen is off, so that a running proxy can't be asked".to_owned(),
        Some(admin) => match Client::new(admin).get("/status", ANSWER).await {
            Ok(answer) if answer.status == StatusCode::OK => return Ok(Found::Running(answer.json()?)),
            Ok(answer) => return Err(Failure::unexpected(&answer)),
            Err(error @ ClientError::NotRunning { .. }) => error.to_string(),
            Err(error) => return Err(error.into()),
        },
    };
    let (Some(endpoint), false) = (config.oauth.grant.endpoint(), matches!(config.store.kind, StoreKindConfig::Memory))
    else {
        return Err(Failure::new(format!("{not_running}, and this grant lives in its memory alone")));
    };
    let settings = Settings::new(config, endpoint)?;
    let failed = |error| Failure::new(format!("{not_running}, and the store can't be read: {error}"));
    let store = Store::open(&config.store, config.outbound.ca_file.as_deref()).await.map_err(failed)?;
    let record = store.load().await.map_err(failed)?;
    let identity = Identity::new(config);
    let stored =
        Stored { record: record.as_ref(), settings: &settings, identity: &identity, margin: config.refresh.margin };
    Ok(Found::Stored(Status::from_stored(stored, now), not_running))
}

fn exit(status: &Status, now: Timestamp) -> Exit {
    match status.state {
        // Also where the last access token still lives: what a script asks is whether a person is needed.
        State::NeedsLogin => Exit::NeedsLogin,
        _ if status.usable(now) => Exit::Done,
        _ => Exit::Failed,
    }
}

/// The document as a person reads it, without control characters that a text in it may hold.
pub(super) fn human(status: &Status, running: bool, now: Timestamp) -> String {
    let mut lines = vec![
        ("state", status.state.name().to_owned()),
        ("grant", format!("{}, profile {}, generation {}", status.grant, status.profile, status.generation)),
    ];
    if let Some(at) = status.obtained_at {
        lines.push(("obtained", moment(at, now)));
    }
    if let Some(at) = status.expires_at {
        lines.push((if at <= now { "expired" } else { "expires" }, moment(at, now)));
    }
    if let Some(at) = status.refresh_at {
        lines.push(("refresh", moment(at, now)));
    }
    if let Some(at) = status.retry_at {
        lines.push(("next try", format!("{}, {}", status.retrying.as_deref().unwrap_or("refresh"), moment(at, now))));
    }
    if let Some(last) = &status.last_refresh {
        let error = last.error.as_ref().map(|error| format!(": {error}")).unwrap_or_default();
        let (trigger, outcome) = (last.trigger.name(), last.outcome.name());
        lines.push((
            "last refresh",
            format!("{}, {trigger}, {outcome}, {} ms{error}", moment(last.at, now), last.duration_ms),
        ));
    }
    let unpersisted = if status.persisted { "" } else { ", which has not taken the newest token yet" };
    lines.push(("store", format!("{}{unpersisted}", status.store)));
    if running {
        let draining = if status.draining { ", draining" } else { "" };
        lines.push(("proxy", format!("running, version {}{draining}", status.version)));
    }
    lines.extend(status.reason.clone().map(|reason| ("to do", reason)));

    let mut text = String::new();
    for (name, value) in lines {
        let value = value.replace(char::is_control, " ");
        let _ = writeln!(text, "{name:<12}  {value}");
    }
    text
}

/// A time with how far it is away, in its two largest units.
fn moment(at: Timestamp, now: Timestamp) -> String {
    // Both as they are shown, so that a time that has just passed is not "in 0s".
    let seconds = at.as_second() - now.as_second();
    let distance = match seconds {
        0 => "now".to_owned(),
        1.. => format!("in {}", span(seconds.unsigned_abs())),
        _ => format!("{} ago", span(seconds.unsigned_abs())),
    };
    format!("{} ({distance})", whole_seconds(at))
}

fn span(seconds: u64) -> String {
    const UNITS: [(u64, &str); 4] = [(86_400, "d"), (3_600, "h"), (60, "m"), (1, "s")];
    let mut left = seconds;
    let mut parts = Vec::new();
    for (unit, name) in UNITS {
        if left >= unit {
            parts.push(format!("{}{name}", left / unit));
            left %= unit;
        }
    }
    parts.truncate(2);
    if parts.is_empty() { "0s".to_owned() } else { parts.join(" ") }
}

#[cfg(test)]
mod tests;
