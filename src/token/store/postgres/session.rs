//! One connection to the database, with a time limit on each step.

use std::error::Error as _;
use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{AsyncMessage, Client, Config, Row};

use super::tls::Tls;
use super::url::Target;
use crate::token::store::StoreError;

/// A connection. A drop closes it, and the server rolls back an open transaction.
pub(super) struct Session {
    client: Client,
    driver: AbortHandle,
    /// The address, for errors.
    place: String,
    /// Notified of each notification with the watched payload, and of the end of the connection.
    told: Arc<Notify>,
}

/// Why a step failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum SessionError {
    /// The connection is lost, or the server is stopping. Another connection may work.
    #[error(transparent)]
    Lost(StoreError),
    /// The server refused, or its data is unusable.
    #[error(transparent)]
    Refused(StoreError),
    /// The table does not exist.
    #[error(transparent)]
    NoTable(StoreError),
}

/// A value of a statement, with its type. So a statement takes one round trip and needs no preparation, which a connection pooler
/// may not keep.
pub(super) type Parameter<'a> = (&'a (dyn ToSql + Sync), Type);

/// The time limit of a step. A step is one round trip, and a connect takes a few.
const STEP: Duration = Duration::from_secs(2);
/// A custom setting, which the server ignores.
const MARK: &str = "bearer_proxy.watcher";

// === impl Session ===

impl Session {
    /// `payload`: the payload of the notifications that [`Session::told`] reports, once the session listens.
    pub(super) async fn connect(target: &Target, tls: &Tls, payload: &str) -> Result<Self, SessionError> {
        let config = timed(&target.place, target.reachable()).await?.map_err(SessionError::Lost)?;
        let connected = Self::dial(&config, &target.place, tls, payload).await;
        // A server that starts or stops refuses. A moment later, another server may have the same name.
        connected.map_err(|failure| SessionError::Lost(failure.into()))
    }

    /// As `connect`, with a start-up setting that [`Session::is_marked`] checks. A pooler may refuse it.
    pub(super) async fn connect_marked(
        target: &Target,
        tls: &Tls,
        payload: &str,
        mark: &str,
    ) -> Result<Self, SessionError> {
        let mut config = timed(&target.place, target.reachable()).await?.map_err(SessionError::Lost)?.into_owned();
        let given = config.get_options().map(|options| format!("{options} ")).unwrap_or_default();
        config.options(format!("{given}-c {MARK}={mark}"));
        Self::dial(&config, &target.place, tls, payload).await
    }

    async fn dial(config: &Config, place: &str, tls: &Tls, payload: &str) -> Result<Self, SessionError> {
        let (client, mut connection) = step(place, config.connect(tls.clone())).await?;
        let told = Arc::new(Notify::new());
        let (payload, tell) = (payload.to_owned(), Arc::clone(&told));
        let driver = tokio::spawn(async move {
            while let Some(Ok(message)) = poll_fn(|cx| connection.poll_message(cx)).await {
                if matches!(message, AsyncMessage::Notification(notification) if notification.payload() == payload) {
                    tell.notify_one();
                }
            }
            tell.notify_one();
        });
        Ok(Self { client, driver: driver.abort_handle(), place: place.to_owned(), told })
    }

    /// Whether the backend was started for this connection, with this mark.
    pub(super) async fn is_marked(&self, mark: &str) -> Result<bool, SessionError> {
        let sql = "SELECT current_setting($1, true)";
        let found = self.row(sql, &[(&MARK, Type::TEXT)], |row| row.try_get::<_, Option<String>>(0)).await?;
        Ok(found.flatten().as_deref() == Some(mark))
    }

    /// Returns after a notification or the end of the connection, since the last return.
    pub(super) async fn told(&self) {
        self.told.notified().await;
    }

    /// Runs statements without values.
    pub(super) async fn batch(&self, sql: &str) -> Result<(), SessionError> {
        step(&self.place, self.client.batch_execute(sql)).await
    }

    /// Runs a statement that returns at most one row. `read` reads that row.
    pub(super) async fn row<T>(
        &self,
        sql: &str,
        parameters: &[Parameter<'_>],
        read: impl FnOnce(&Row) -> Result<T, tokio_postgres::Error>,
    ) -> Result<Option<T>, SessionError> {
        let row = step(&self.place, self.client.query_typed_opt(sql, parameters)).await?;
        row.map(|row| read(&row).map_err(|error| failure(&self.place, &error))).transpose()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

async fn step<T>(place: &str, work: impl Future<Output = Result<T, tokio_postgres::Error>>) -> Result<T, SessionError> {
    timed(place, work).await?.map_err(|error| failure(place, &error))
}

async fn timed<T>(place: &str, work: impl Future<Output = T>) -> Result<T, SessionError> {
    let late = |_| SessionError::Lost(StoreError::Unavailable(format!("{place}: no answer within {STEP:?}")));
    tokio::time::timeout(STEP, work).await.map_err(late)
}

fn failure(place: &str, error: &tokio_postgres::Error) -> SessionError {
    let unavailable = StoreError::Unavailable(format!("{place}: {}", reason(error)));
    let leaving = [
        SqlState::ADMIN_SHUTDOWN,
        SqlState::CRASH_SHUTDOWN,
        SqlState::CANNOT_CONNECT_NOW,
        // The server was the primary until a failover.
        SqlState::READ_ONLY_SQL_TRANSACTION,
    ];
    match error.code() {
        Some(code) if *code == SqlState::UNDEFINED_TABLE => SessionError::NoTable(unavailable),
        Some(code) if !leaving.contains(code) => SessionError::Refused(unavailable),
        _ => SessionError::Lost(unavailable),
    }
}

/// What happened and what to do. Only the message of a server's answer is shown, because its detail can quote a row.
fn reason(error: &tokio_postgres::Error) -> String {
    if let Some(answer) = error.as_db_error() {
        let mend = match answer.code().code() {
            "42P01" => {
                "; the table is missing: `serve` and `import` create it, or the SQL that `config --schema` prints"
            }
            "42501" => "; `config --schema` prints what the role needs",
            "28P01" | "28000" => "; see user, password and sslmode in store.url",
            _ => "",
        };
        return format!("{} ({}){mend}", answer.message(), answer.code().code());
    }
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    if text.ends_with("server does not support TLS") {
        text.push_str("; with ?sslmode=disable in store.url the way there is not encrypted");
    }
    text
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("place", &self.place).finish_non_exhaustive()
    }
}

// === impl SessionError ===

impl From<SessionError> for StoreError {
    fn from(failure: SessionError) -> Self {
        match failure {
            SessionError::Lost(error) | SessionError::Refused(error) | SessionError::NoTable(error) => error,
        }
    }
}
