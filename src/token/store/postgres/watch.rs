//! How a process learns of a peer's new token: `LISTEN`, and beneath it a look at the row's revision.
//!
//! A notification can be missed (a failover, a connection that is dead and does not know it), and there is none through a
//! connection pooler. So all it does is to make the next look come sooner.

use std::time::Duration;

use super::Database;
use super::session::{Session, SessionError};

/// A watcher's connection, and what it saw last.
#[derive(Debug)]
pub(super) struct Watch {
    /// How long it waits for a notification until it looks without one.
    poll: Duration,
    session: Option<Session>,
    /// `None`: nothing yet, so that whatever it finds may be new to its user.
    seen: Option<i64>,
    /// So that a loss is told once, and its end.
    lost: bool,
}

/// Without notifications a peer's token is known after this and a round trip: well within a second.
const POLL: Duration = Duration::from_millis(500);

// === impl Watch ===

impl Watch {
    pub(super) fn new() -> Self {
        Self { poll: POLL, session: None, seen: None, lost: false }
    }

    pub(super) async fn changed(&mut self, database: &Database) {
        loop {
            match self.look(database).await {
                Ok(revision) => {
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
                        tracing::warn!(error = %failure, "a peer's new token is not noticed until the database is back");
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
            // The end of the time is not an error: it is the time for the next look.
            let _ = tokio::time::timeout(self.poll, told).await;
        }
    }

    async fn look(&mut self, database: &Database) -> Result<i64, SessionError> {
        let session = match &mut self.session {
            Some(session) => session,
            none => none.insert(database.connect_watcher().await?),
        };
        match session.revision(&database.name).await {
            // As a row that is not there. If it was there before, its reader finds out and creates the table.
            Err(SessionError::NoTable(_)) => Ok(0),
            revision => revision,
        }
    }
}

#[cfg(test)]
impl Watch {
    /// Without looks of its own: only a notification wakes it.
    pub(super) fn listen_only(&mut self) {
        self.poll = Duration::from_secs(3600);
    }
}
