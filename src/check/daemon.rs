//! What a running proxy says of itself, through its admin listener.

use std::time::Duration;

use http::StatusCode;

use crate::admin::client::Client;
use crate::config::Config;
use crate::token::Trigger;
use crate::token::status::Status;

/// A running proxy.
#[derive(Debug)]
pub struct Daemon {
    pub status: Status,
    /// Its limit of open files.
    pub descriptors: Option<u64>,
}

const LIMIT: Duration = Duration::from_secs(1);
const DESCRIPTORS: &str = "bearer_proxy_file_descriptors{state=\"limit\"} ";

/// `None`: no proxy answers, so the checks look from outside.
pub async fn ask(config: &Config) -> Option<Daemon> {
    let client = Client::new(config.admin.as_ref()?);
    let (status, metrics) = tokio::join!(client.get("/status", LIMIT), client.get("/metrics", LIMIT));
    let status = status.ok().filter(|answer| answer.status == StatusCode::OK)?.json().ok()?;
    let metrics = metrics.map(|answer| answer.body).unwrap_or_default();
    Some(Daemon { status, descriptors: limit(&String::from_utf8_lossy(&metrics)) })
}

// === impl Daemon ===

impl Daemon {
    /// Another process made the last refresh, while this proxy ran.
    pub fn was_refreshed_by_a_peer(&self) -> bool {
        self.status.last_refresh.as_ref().is_some_and(|last| last.trigger == Trigger::Peer)
    }
}

fn limit(metrics: &str) -> Option<u64> {
    metrics.lines().find_map(|line| line.strip_prefix(DESCRIPTORS)?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_of_descriptors_is_read_from_the_metrics() {
        let text = "# TYPE x gauge\nbearer_proxy_file_descriptors{state=\"limit\"} 20000\nbearer_proxy_file_descriptors{state=\"used\"} 9\n";
        assert_eq!(limit(text), Some(20_000));
        assert_eq!(limit(""), None);
    }
}
