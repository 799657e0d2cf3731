//! `status`: the state of the grant, from the running proxy, or from the store if no proxy is running.

mod watch;

use std::fmt::Write;
use std::io::{self, IsTerminal};
use std::time::Duration;

use http::StatusCode;
use jiff::Timestamp;

use super::{Exit, Failure, Outcome, progress};
use crate::admin::client::{Client, ClientError};
use crate::config::{Config, StoreKindConfig};
use crate::token::journal::Settings;
use crate::token::status::{Identity, State, Status, Stored, whole_seconds};
use crate::token::store::Store;

#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// Print the status document as JSON
    #[arg(long)]
    json: bool,
    /// Refresh the output until interrupted. Into a pipe, print each change
    #[arg(long)]
    watch: bool,
}

/// Where a status came from.
enum Found {
    Running(Status),
    /// With the reason why no proxy answered.
    Stored(Status, String),
}

const ANSWER: Duration = Duration::from_secs(10);

pub(super) async fn run(config: &Config, options: &Options) -> Result<Outcome, Failure> {
    if options.watch {
        return watch::run(config, options.json).await;
    }
    let now = Timestamp::now();
    let found = progress::shown("asking the proxy", find(config, now)).await?;
    let text = if options.json { json(found.status())? } else { text(&found, now) };
    Ok(Outcome { text, exit: exit(found.status(), now) })
}

fn json(status: &Status) -> Result<String, Failure> {
    let json = serde_json::to_string_pretty(status).map_err(|error| Failure::new(error.to_string()))?;
    Ok(json + "\n")
}

/// What a person reads.
fn text(found: &Found, now: Timestamp) -> String {
    let mut text = human(found.status(), matches!(found, Found::Running(_)), now);
    if let Found::Stored(_, why) = found {
        let _ = writeln!(text, "source        the store: {why}");
    }
    if colours() { painted(&text, found.status().state) } else { text }
}

/// https://no-color.org: the variable counts if it is set and not empty.
fn colours() -> bool {
    io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// The state, which is the first value, in its colour.
fn painted(text: &str, state: State) -> String {
    let colour = match state {
        State::Valid => 32,
        State::Starting | State::Expiring => 33,
        State::Refused | State::Expired | State::NeedsLogin => 31,
    };
    text.replacen(state.name(), &format!("\x1b[{colour}m{}\x1b[0m", state.name()), 1)
}

async fn find(config: &Config, now: Timestamp) -> Result<Found, Failure> {
    let not_running = match &config.admin {
        None => "admin.listen is off, so a running proxy can't be asked".to_owned(),
        Some(admin) => match Client::new(admin).get("/status", ANSWER).await {
            Ok(answer) if answer.status == StatusCode::OK => return Ok(Found::Running(answer.json()?)),
            Ok(answer) => return Err(Failure::unexpected(&answer)),
            Err(error @ ClientError::NotRunning { .. }) => error.to_string(),
            Err(error) => return Err(error.into()),
        },
    };
    let (Some(endpoint), false) = (config.oauth.grant.endpoint(), matches!(config.store.kind, StoreKindConfig::Memory))
    else {
        return Err(Failure::new(format!("{not_running}, and only the memory of a proxy holds this grant")));
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

// === impl Found ===

impl Found {
    fn status(&self) -> &Status {
        match self {
            Self::Running(status) | Self::Stored(status, _) => status,
        }
    }
}

fn exit(status: &Status, now: Timestamp) -> Exit {
    match status.state {
        // Even if the last access token is still valid: a script asks whether a person is needed.
        State::NeedsLogin => Exit::NeedsLogin,
        _ if status.usable(now) => Exit::Done,
        _ => Exit::Failed,
    }
}

/// The document as a person reads it. Texts in it lose their control characters.
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

/// A time, and its distance from now in the two largest units.
fn moment(at: Timestamp, now: Timestamp) -> String {
    // In whole seconds, as both are shown: a time that has just passed is not "in 0s".
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
