//! How a process notices a peer's new token: by polling the revision of the row, and by `LISTEN`.
//!
//! A notification can be missed (a failover, a dead connection), and a connection pooler delivers none. So a notification only makes
//! the next poll come sooner.

use std::time::Duration;

use super::Database;
use super::row::Seen;
use super::session::{Session, SessionError};

/// The connection of a watch, and what it saw last.
#[derive(Debug)]
pub(super) struct Watch {
    /// How long it waits for a notification before it polls.
    poll: Duration,
    session: Option<Session>,
    /// `None`: nothing yet, so every revision may be new to the caller.
    seen: Option<i64>,
    /// The connection is lost, and the log says so. Its end is logged too.
    lost: bool,
}

/// Without notifications, a peer's token is known after this time and a round trip, well within a second.
const POLL: Duration = Duration::from_millis(500);

// === impl Watch ===

impl Watch {
    pub(super) fn new() -> Self {
        Self { poll: POLL, session: None, seen: None, lost: false }
    }

    pub(super) async fn changed(&mut self, database: &Database) {
        loop {
            match self.look(database).await {
                Ok(Seen { revision, lease }) => {
                    database.note_lease(lease);
                    if self.lost {
                        tracing::info!("the database is back");
                        self.lost = false;
                    }
                    if self.seen.replace(revision) != Some(revision) {
                        return;
                    }
                }
                Err(failure) => {
                    self.session = None;
                    if !self.lost {
                        tracing::warn!(
                            check = "store-database-unreachable",
                            error = %failure,
                            "a peer's new token is not noticed until the database is back"
                        );
                        self.lost = true;
                    }
                }
            }
            let told = async {
                match &self.session {
                    Some(session) => session.told().await,
                    None => std::future::pending().await,
                }
            };
            // The time limit is not an error. It is time for the next poll.
            let _ = tokio::time::timeout(self.poll, told).await;
        }
    }

    async fn look(&mut self, database: &Database) -> Result<Seen, SessionError> {
        let session = match &mut self.session {
            Some(session) => session,
            none => none.insert(database.connect_watcher().await?),
        };
        match session.seen(&database.name).await {
            // The same as a missing row. If it existed before, its reader notices and creates the table.
            Err(SessionError::NoTable(_)) => Ok(Seen::default()),
            seen => seen,
        }
    }
}

#[cfg(test)]
impl Watch {
    /// Without polling: only a notification wakes it.
    pub(super) fn listen_only(&mut self) {
        self.poll = Duration::from_secs(3600);
    }
}
