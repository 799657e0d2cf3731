//! `wait`: returns when the running proxy is ready.

use std::time::Duration;

use http::StatusCode;
use tokio::time::{Instant, sleep};

use super::{Failure, Outcome, progress};
use crate::admin::Readiness;
use crate::admin::client::{Client, ClientError};
use crate::config::{AdminConfig, Config, parse_duration};

#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// Fail after this time
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = parse_duration)]
    timeout: Duration,
}

const POLL: Duration = Duration::from_millis(250);
/// Time limit of one question. A proxy that is too busy to answer is asked again.
const ANSWER: Duration = Duration::from_secs(5);

pub(super) async fn run(config: &Config, options: &Options) -> Result<Outcome, Failure> {
    let client = client(config).ok_or_else(|| {
        Failure::new(
            "admin.listen and probes.listen are off: there is nothing to ask; set one of them, here and for the proxy",
        )
    })?;
    progress::shown("waiting until the proxy is ready", until_ready(&client, options.timeout)).await
}

async fn until_ready(client: &Client, patience: Duration) -> Result<Outcome, Failure> {
    let deadline = Instant::now() + patience;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let why = match client.get("/readyz", ANSWER.min(left.max(POLL))).await {
            Ok(answer) if answer.status == StatusCode::OK => return Ok(Outcome::done("")),
            Ok(answer) if answer.status == StatusCode::SERVICE_UNAVAILABLE => {
                serde_json::from_slice::<Readiness>(&answer.body)
                    .map_or_else(|_| answer.detail(), |found| reasons(&found))
            }
            // A proxy that is starting does not answer like this.
            Ok(answer) => return Err(Failure::unexpected(&answer)),
            Err(
                error
                @ (ClientError::NotRunning { .. } | ClientError::Unreachable { .. } | ClientError::Timeout { .. }),
            ) => error.to_string(),
            Err(error) => return Err(error.into()),
        };
        if Instant::now() + POLL > deadline {
            return Err(Failure::new(format!("not ready after {:?}: {why}", patience)));
        }
        sleep(POLL).await;
    }
}

/// Both listeners answer `/readyz`.
fn client(config: &Config) -> Option<Client> {
    let probes = || config.probes.clone().map(|listen| AdminConfig { listen, key: None });
    config.admin.clone().or_else(probes).map(|admin| Client::new(&admin))
}

fn reasons(readiness: &Readiness) -> String {
    let state = readiness.state.name();
    if readiness.reasons.is_empty() { state.to_owned() } else { format!("{state}: {}", readiness.reasons.join("; ")) }
}
