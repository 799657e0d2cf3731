//! `status --watch`: the output again and again, until a signal ends it.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::{MissedTickBehavior, interval};

use super::{Exit, Failure, Found, Outcome, exit, find, json, text};
use crate::cli::serve::Stop;
use crate::config::Config;
use crate::token::status::Status;

const EVERY: Duration = Duration::from_secs(1);
/// Moves the cursor to the top, and clears the screen.
const CLEAR: &str = "\x1b[H\x1b[2J";

pub(super) async fn run(config: &Config, as_json: bool) -> Result<Outcome, Failure> {
    let mut stop = Stop::new().map_err(|error| Failure::new(format!("signals can't be received: {error}")))?;
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let is_terminal = io::stdout().is_terminal();
    let mut last = None;
    let mut ended = Exit::Failed;
    loop {
        let look = async {
            ticks.tick().await;
            find(config, Timestamp::now()).await
        };
        let found = tokio::select! {
            found = look => found,
            _ = stop.received() => return Ok(Outcome { text: String::new(), exit: ended }),
        };
        let now = Timestamp::now();
        ended = found.as_ref().map_or(Exit::Failed, |found| exit(found.status(), now));
        let page = match (&found, as_json) {
            // A proxy that restarts is away for a moment: this is shown, and does not end the watch.
            (Err(failure), _) => format!("{failure}\n"),
            (Ok(found), true) if is_terminal => json(found.status())?,
            (Ok(found), true) => line(found.status())?,
            (Ok(found), false) => text(found, now),
        };
        let seen = found.as_ref().map(Found::status).map_err(ToString::to_string);
        let shown = if is_terminal { format!("{CLEAR}{page}") } else { page };
        let seen = seen.cloned();
        if is_terminal || last.as_ref() != Some(&seen) {
            // Into a pipe, an error is a message and not a result.
            let written = match (&seen, is_terminal) {
                (Err(_), false) => write(io::stderr(), &format!("bearer-proxy: {shown}")),
                _ => write(io::stdout(), &shown),
            };
            if written.is_err() {
                return Ok(Outcome { text: String::new(), exit: Exit::Failed });
            }
        }
        last = Some(seen);
    }
}

/// One document a line.
fn line(status: &Status) -> Result<String, Failure> {
    let json = serde_json::to_string(status).map_err(|error| Failure::new(error.to_string()))?;
    Ok(json + "\n")
}

fn write(mut stream: impl Write, text: &str) -> io::Result<()> {
    stream.write_all(text.as_bytes())?;
    stream.flush()
}
