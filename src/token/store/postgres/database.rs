//! The connection to the row: one idle connection, operations with a time limit, and transactions whose outcome is always known.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use zeroize::Zeroizing;

use super::row::{LISTEN, Row, Update};
use super::session::{Session, SessionError};
use super::tls::Tls;
use super::url::Target;
use crate::fault;
use crate::token::store::look::{Overdue, Rights};
use crate::token::store::{LeaseHolder, StoreError};

/// The row of the grant, and the connection to it.
pub(super) struct Database {
    pub(super) target: Target,
    pub(super) tls: Tls,
    /// `store.name`, the key of the row.
    pub(super) name: String,
    /// An idle connection without an open transaction.
    pub(super) idle: Mutex<Option<Session>>,
    /// Who was last seen with the lease.
    pub(super) holder: Mutex<Option<LeaseHolder>>,
    /// The caller writes, so a missing table is created.
    pub(super) makes_table: AtomicBool,
}

/// The time limit of an operation, including its second attempt.
const OPERATION: Duration = Duration::from_secs(5);
/// The pause before a further reconnect.
pub(super) const RECONNECT: Duration = Duration::from_millis(100);

/// The SQL that creates the table, and the rights that the role needs.
pub fn schema() -> &'static str {
    include_str!("schema.sql")
}

// === impl Database ===

impl Database {
    pub(super) async fn connect(&self) -> Result<Session, SessionError> {
        Session::connect(&self.target, &self.tls, &self.name).await
    }

    /// A connection for the watch. It listens only if its backend serves no other connection.
    ///
    /// Behind a pooler in transaction mode, LISTEN would stay on a backend that the pooler gives to other clients. So the connection
    /// starts with a random setting. A backend with that setting was started for this connection. A pooler refuses or drops the
    /// setting.
    pub(super) async fn connect_watcher(&self) -> Result<Session, SessionError> {
        let mark = self.random().map_err(SessionError::Refused)?;
        let session = match Session::connect_marked(&self.target, &self.tls, &self.name, &mark).await {
            Ok(session) if session.is_marked(&mark).await? => {
                session.batch(LISTEN).await?;
                return Ok(session);
            }
            Ok(session) => session,
            Err(_) => self.connect().await?,
        };
        tracing::debug!(
            "the database is reached through a connection pooler: changes are found by polling, without LISTEN"
        );
        Ok(session)
    }

    /// The idle connection, or a new one. Only [`Database::park`] returns it. An operation that ends early, by an error or by a drop,
    /// closes its connection and rolls back its transaction. An idle connection may be dead. That shows at once, and each operation
    /// then makes a second attempt.
    async fn session(&self) -> Result<Session, SessionError> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).take();
        match idle {
            Some(session) => Ok(session),
            None => self.connect().await,
        }
    }

    /// The watch has seen the lease, or that nobody has it.
    pub(super) fn note_lease(&self, lease: Option<(String, Duration)>) {
        let now = Instant::now();
        let mut holder = self.holder.lock().unwrap_or_else(PoisonError::into_inner);
        match (lease, &mut *holder) {
            (Some((owner, left)), holder) => *holder = Some(LeaseHolder { owner, until: now + left }),
            (None, Some(last)) => last.until = last.until.min(now),
            (None, None) => {}
        }
    }

    fn park(&self, session: Session) {
        *self.idle.lock().unwrap_or_else(PoisonError::into_inner) = Some(session);
    }

    pub(super) async fn within<T>(&self, work: impl Future<Output = Result<T, SessionError>>) -> Result<T, StoreError> {
        match tokio::time::timeout(OPERATION, work).await {
            Ok(done) => done.map_err(StoreError::from),
            Err(_) => Err(StoreError::Unavailable(format!("{}: no answer within {OPERATION:?}", self.target.place))),
        }
    }

    /// Repeats the operation once after a lost connection. Only for idempotent operations.
    pub(super) async fn twice<T, F>(&self, work: impl Fn() -> F) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, SessionError>>,
    {
        self.within(async {
            let mut first = true;
            let mut table = true;
            loop {
                match work().await {
                    Err(SessionError::Lost(_)) if first => first = false,
                    Err(failure) if table && self.makes_up_for(&failure) => {
                        table = false;
                        self.prepare().await?;
                    }
                    done => return done,
                }
            }
        })
        .await
    }

    /// Whether the table is missing and may be created.
    fn makes_up_for(&self, failure: &SessionError) -> bool {
        matches!(failure, SessionError::NoTable(_)) && self.makes_table.load(Ordering::Relaxed)
    }

    pub(super) async fn prepare(&self) -> Result<(), SessionError> {
        let session = self.session().await?;
        if !session.has_table().await? {
            tracing::info!("the table bearer_proxy_grant is missing and is created");
            match session.batch(schema()).await {
                // Two processes that create the table at once can fail. One of them has created it.
                Err(SessionError::Refused(_)) if session.has_table().await? => {}
                made => made?,
            }
        }
        self.park(session);
        Ok(())
    }

    pub(super) async fn look(&self) -> Result<(Rights, Option<Overdue>), SessionError> {
        let session = self.session().await?;
        let rights = session.rights().await?;
        let overdue = if rights.table_exists && rights.select { session.overdue(&self.name).await? } else { None };
        self.park(session);
        Ok((rights, overdue))
    }

    pub(super) async fn load(&self) -> Result<Option<Zeroizing<String>>, SessionError> {
        let session = self.session().await?;
        let document = session.document(&self.name).await?;
        self.park(session);
        Ok(document)
    }

    pub(super) async fn release(&self, fence: i64) -> Result<(), SessionError> {
        let session = self.session().await?;
        session.release(&self.name, fence).await?;
        self.park(session);
        Ok(())
    }

    /// Reads the locked row, decides, and commits. `decide` returns the change, if any, and the answer.
    ///
    /// If the connection is lost during the commit, the outcome is unknown. The next connection waits for the lock of the row, and thus
    /// for the end of that commit. The row then has the number of this attempt, or it does not.
    pub(super) async fn change<T>(
        &self,
        decide: impl Fn(&Row) -> Result<(Option<Update>, T), StoreError>,
    ) -> Result<T, StoreError> {
        let attempt = self.random()?;
        let mut undecided = None;
        self.within(async {
            let mut first = true;
            let mut table = true;
            loop {
                match self.try_change(&attempt, &mut undecided, &decide).await {
                    Err(SessionError::Lost(_)) if first => first = false,
                    Err(failure) if table && self.makes_up_for(&failure) => {
                        table = false;
                        self.prepare().await?;
                    }
                    // The outcome matters, so it reconnects until the time limit of the operation.
                    Err(SessionError::Lost(_)) if undecided.is_some() => tokio::time::sleep(RECONNECT).await,
                    done => return done,
                }
            }
        })
        .await
    }

    /// `undecided`: the answer of an earlier attempt whose commit may have succeeded.
    async fn try_change<T>(
        &self,
        attempt: &str,
        undecided: &mut Option<T>,
        decide: impl Fn(&Row) -> Result<(Option<Update>, T), StoreError>,
    ) -> Result<T, SessionError> {
        let session = self.session().await?;
        let row = session.begin(&self.name).await?;
        let decided = match undecided.take() {
            Some(answer) if row.attempt.as_deref() == Some(attempt) => Ok((None, answer)),
            _ => decide(&row),
        };
        let (update, answer) = match decided {
            Ok((Some(update), answer)) => (update, answer),
            nothing_to_do => {
                // The answer is valid even if the connection is lost.
                if session.roll_back().await.is_ok() {
                    self.park(session);
                }
                return nothing_to_do.map(|(_, answer)| answer).map_err(SessionError::Refused);
            }
        };
        session.update(&self.name, attempt, &update).await?;
        fault::point(update.changed());
        match session.commit().await {
            Ok(()) => {
                fault::point(update.committed());
                self.park(session);
                Ok(answer)
            }
            Err(failure) => {
                if matches!(failure, SessionError::Lost(_)) {
                    *undecided = Some(answer);
                }
                Err(failure)
            }
        }
    }

    /// A unique number for a transaction.
    pub(super) fn random(&self) -> Result<String, StoreError> {
        let mut bytes = [0; 16];
        aws_lc_rs::rand::fill(&mut bytes)
            .map_err(|_| StoreError::Unavailable(format!("{}: the system has no random numbers", self.target.place)))?;
        Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Database").field("place", &self.target.place).field("name", &self.name).finish_non_exhaustive()
    }
}
