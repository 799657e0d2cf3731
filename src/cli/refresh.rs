//! `refresh`: forces one refresh in the running proxy and waits for its outcome.

use std::time::Duration;

use http::StatusCode;
use serde_json::Value;

use super::status::human;
use super::{Exit, Failure, Outcome, progress};
use crate::admin::client::{Client, ClientError};
use crate::config::Config;
use crate::token::status::Status;

/// Time for the store, and for another process's lease, beyond the two calls.
const BESIDE_CALLS: Duration = Duration::from_secs(30);

pub(super) async fn run(config: &Config) -> Result<Outcome, Failure> {
    let admin = config.admin.as_ref();
    let admin = admin.ok_or_else(|| Failure::new("admin.listen is off: the running proxy can't be asked"))?;
    // Another process's call may come before ours.
    let call = config.oauth.grant.endpoint().map_or(Duration::ZERO, |endpoint| endpoint.request_timeout);
    let client = Client::new(admin);
    let asked = client.post("/refresh", call * 2 + BESIDE_CALLS);
    let answer = match progress::shown("waiting for the refresh", asked).await {
        Ok(answer) => answer,
        Err(error @ ClientError::NotRunning { .. }) => {
            return Err(Failure::new(format!("{error}: a proxy that starts refreshes its token where that is due")));
        }
        Err(error) => return Err(error.into()),
    };
    match answer.status {
        StatusCode::OK => {
            let status: Status = answer.json()?;
            Ok(Outcome::done(human(&status, true, jiff::Timestamp::now())))
        }
        StatusCode::SERVICE_UNAVAILABLE => {
            let needs_login = answer.json::<Value>().is_ok_and(|problem| problem["needs_login"] == true);
            let exit = if needs_login { Exit::NeedsLogin } else { Exit::Failed };
            Err(Failure { text: format!("the token was not refreshed: {}", answer.detail()), exit })
        }
        _ => Err(Failure::unexpected(&answer)),
    }
}
