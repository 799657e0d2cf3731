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

/// A connection. Dropped, it is cut, and the server rolls back what was not committed.
pub(super) struct Session {
    client: Client,
    driver: AbortHandle,
    /// Where it leads, for errors.
    place: String,
    /// Told of each notification with the watched payload, and of the connection's end.
    told: Arc<Notify>,
}

/// Why a step failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum SessionError {
    /// The connection is gone, or the server is on its way out; another connection may do.
    #[error(transparent)]
    Lost(StoreError),
    /// The server said no, or what it holds is not usable.
    #[error(transparent)]
    Refused(StoreError),
    /// The server said that there is no such table.
    #[error(transparent)]
    NoTable(StoreError),
}

/// A value of a statement. Its type is given, so that a statement is one round trip and needs no preparation, which a
/// connection pooler may not keep.
pub(super) type Parameter<'a> = (&'a (dyn ToSql + Sync), Type);

/// A step is one round trip of a few milliseconds, a connect a handful.
const STEP: Duration = Duration::from_secs(2);
/// A setting that has no meaning to the server.
const MARK: &str = "bearer_proxy.watcher";

// === impl Session ===

impl Session {
    /// `payload`: of which notifications [`Session::told`] tells, once the session listens.
    pub(super) async fn connect(target: &Target, tls: &Tls, payload: &str) -> Result<Self, SessionError> {
        let config = timed(&target.place, target.reachable()).await?.map_err(SessionError::Lost)?;
        let connected = Self::dial(&config, &target.place, tls, payload).await;
        // A server that starts or stops refuses, and another one may stand behind the same name a moment later.
        connected.map_err(|failure| SessionError::Lost(failure.into()))
    }

    /// The same, with a start-up setting that [`Session::is_marked`] asks for. A pooler may refuse it.
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

    /// Returns when a notification came, or the connection's end, since the last return.
    pub(super) async fn told(&self) {
        self.told.notified().await;
    }

    /// Statements without values.
    pub(super) async fn batch(&self, sql: &str) -> Result<(), SessionError> {
        step(&self.place, self.client.batch_execute(sql)).await
    }

    /// A statement that yields one row at most, which is read by `read`.
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
        // It was the primary until a moment ago.
        SqlState::READ_ONLY_SQL_TRANSACTION,
    ];
    match error.code() {
        Some(code) if *code == SqlState::UNDEFINED_TABLE => SessionError::NoTable(unavailable),
        Some(code) if !leaving.contains(code) => SessionError::Refused(unavailable),
        _ => SessionError::Lost(unavailable),
    }
}

/// What happened, and what a person can do about it. Of a server's answer only its message: its detail can quote a row.
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
