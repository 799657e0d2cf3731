//! Waits that fail a test instead of hanging it.

use std::time::Duration;

/// Longer than anything should take, also on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

pub async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("not within the tests' patience")
}

/// Waits until `holds` returns true. Polls, for conditions without an event.
pub async fn eventually(what: &str, holds: impl Fn() -> bool) {
    let poll = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, poll).await.is_ok(), "never: {what}");
}
