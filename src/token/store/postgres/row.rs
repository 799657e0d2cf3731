//! The SQL of a grant's row.

use std::time::Duration;

use tokio_postgres::types::Type;
use zeroize::Zeroizing;

use super::session::{Session, SessionError};
use crate::token::store::{Overdue, Rights, StoreError};

/// A row that is locked until the end of the transaction.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) document: Option<Zeroizing<String>>,
    /// The fencing number of the last lease.
    pub(super) fence: i64,
    /// The present or last holder of the lease.
    pub(super) lease_owner: Option<String>,
    /// The remaining time of the lease, by the clock of the database. Zero: the lease is free.
    pub(super) lease_left: Duration,
    /// The last transaction that changed the row.
    pub(super) attempt: Option<String>,
}

/// What a watch sees of a row.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) revision: i64,
    /// The owner of the present lease, and its remaining time.
    pub(super) lease: Option<(String, Duration)>,
}

/// The change of a transaction.
#[derive(Debug)]
pub(super) enum Update {
    Lease {
        owner: String,
        fence: i64,
        duration: Duration,
    },
    Document(Zeroizing<String>),
    /// As `Document`, and the previous document is kept in `damaged`.
    ReplaceDamaged(Zeroizing<String>),
}

/// The channel that is notified when a document changes. The payload is the name of the grant.
pub(super) const LISTEN: &str = "LISTEN bearer_proxy_grant";

/// The statement sets the isolation, because a stricter default would refuse what the lock of the row makes safe. The limits free the
/// row soon if this process is disconnected. They are local, so a connection pooler passes none of them on.
const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; \
    SET LOCAL statement_timeout = '1500ms'; SET LOCAL idle_in_transaction_session_timeout = '2s'";

const LOCK: &str = "SELECT document, fence, lease_owner, attempt, \
    ceil(extract(epoch FROM greatest(lease_until - clock_timestamp(), interval '0')) * 1000)::bigint \
    FROM bearer_proxy_grant WHERE name = $1 FOR UPDATE";

const RIGHTS: &str = "SELECT found IS NOT NULL, coalesce(has_schema_privilege(current_schema(), 'CREATE'), false), \
    coalesce(has_table_privilege(found, 'SELECT'), false), coalesce(has_table_privilege(found, 'INSERT'), false), \
    coalesce(has_table_privilege(found, 'UPDATE'), false) FROM to_regclass('bearer_proxy_grant') AS found";

const OVERDUE: &str = "SELECT coalesce(lease_owner, ''), ceil(extract(epoch FROM lease_until - clock_timestamp()))::bigint \
    FROM bearer_proxy_grant WHERE name = $1 AND lease_until > clock_timestamp() + interval '1 hour'";

const INSERT: &str = "INSERT INTO bearer_proxy_grant (name) VALUES ($1) ON CONFLICT DO NOTHING";

const LEASE: &str = "UPDATE bearer_proxy_grant SET attempt = $2, fence = $3, lease_owner = $4, \
    lease_until = clock_timestamp() + $5 * interval '1 millisecond' WHERE name = $1";

const DOCUMENT: &str = "UPDATE bearer_proxy_grant SET attempt = $2, document = $3, revision = revision + 1, \
    changed_at = clock_timestamp() WHERE name = $1 RETURNING pg_notify('bearer_proxy_grant', name)";

const REPLACE_DAMAGED: &str = "UPDATE bearer_proxy_grant SET attempt = $2, document = $3, revision = revision + 1, \
    damaged = CASE WHEN document IS NULL THEN damaged ELSE array_append(damaged, document) END, \
    changed_at = clock_timestamp() WHERE name = $1 RETURNING pg_notify('bearer_proxy_grant', name)";

const RELEASE: &str =
    "UPDATE bearer_proxy_grant SET lease_owner = NULL, lease_until = NULL WHERE name = $1 AND fence = $2";

const LOAD: &str = "SELECT document FROM bearer_proxy_grant WHERE name = $1";

const REVISION: &str = "SELECT revision, lease_owner, \
    ceil(extract(epoch FROM greatest(lease_until - clock_timestamp(), interval '0')) * 1000)::bigint \
    FROM bearer_proxy_grant WHERE name = $1";

const TABLE: &str = "SELECT to_regclass('bearer_proxy_grant') IS NOT NULL";

// === impl Session ===

impl Session {
    /// Begins a transaction and locks the row. Creates a missing row.
    pub(super) async fn begin(&self, name: &str) -> Result<Row, SessionError> {
        self.batch(BEGIN).await?;
        // If two create it at once, the second waits for the first and then finds its row.
        for _ in 0..2 {
            let row = self.row(LOCK, &[(&name, Type::TEXT)], Row::read).await?;
            match row {
                Some(row) => return Ok(row),
                None => self.row(INSERT, &[(&name, Type::TEXT)], |_| Ok(())).await?,
            };
        }
        Err(SessionError::Refused(StoreError::Unavailable(format!(
            "the row {name} of bearer_proxy_grant disappears after each insert: stop the process that deletes it"
        ))))
    }

    pub(super) async fn update(&self, name: &str, attempt: &str, update: &Update) -> Result<(), SessionError> {
        let (sql, document) = match update {
            Update::Document(document) => (DOCUMENT, document.as_str()),
            Update::ReplaceDamaged(document) => (REPLACE_DAMAGED, document.as_str()),
            Update::Lease { owner, fence, duration } => {
                let duration = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
                let values = [
                    (&name as _, Type::TEXT),
                    (&attempt as _, Type::TEXT),
                    (fence as _, Type::INT8),
                    (owner as _, Type::TEXT),
                    (&duration as _, Type::INT8),
                ];
                return self.row(LEASE, &values, |_| Ok(())).await.map(drop);
            }
        };
        let values = [(&name as _, Type::TEXT), (&attempt as _, Type::TEXT), (&document as _, Type::TEXT)];
        self.row(sql, &values, |_| Ok(())).await.map(drop)
    }

    pub(super) async fn commit(&self) -> Result<(), SessionError> {
        self.batch("COMMIT").await
    }

    pub(super) async fn roll_back(&self) -> Result<(), SessionError> {
        self.batch("ROLLBACK").await
    }

    /// Reads outside of a transaction: the last commit, without waiting for a lock.
    pub(super) async fn document(&self, name: &str) -> Result<Option<Zeroizing<String>>, SessionError> {
        let read = |row: &tokio_postgres::Row| Ok(row.try_get::<_, Option<String>>(0)?.map(Zeroizing::new));
        Ok(self.row(LOAD, &[(&name, Type::TEXT)], read).await?.flatten())
    }

    /// Revision 0: there is no row.
    pub(super) async fn seen(&self, name: &str) -> Result<Seen, SessionError> {
        let read = |row: &tokio_postgres::Row| {
            let left = row.try_get::<_, Option<i64>>(2)?.unwrap_or(0);
            let lease = row.try_get::<_, Option<String>>(1)?.filter(|_| left > 0);
            let left = Duration::from_millis(u64::try_from(left).unwrap_or(0));
            Ok(Seen { revision: row.try_get(0)?, lease: lease.map(|owner| (owner, left)) })
        };
        Ok(self.row(REVISION, &[(&name, Type::TEXT)], read).await?.unwrap_or_default())
    }

    pub(super) async fn release(&self, name: &str, fence: i64) -> Result<(), SessionError> {
        self.row(RELEASE, &[(&name, Type::TEXT), (&fence, Type::INT8)], |_| Ok(())).await.map(drop)
    }

    /// What the role may do. A missing table has no rights, and is no error.
    pub(super) async fn rights(&self) -> Result<Rights, SessionError> {
        let rights = self.row(RIGHTS, &[], |row| {
            Ok(Rights {
                table_exists: row.try_get(0)?,
                create_table: row.try_get(1)?,
                select: row.try_get(2)?,
                insert: row.try_get(3)?,
                update: row.try_get(4)?,
            })
        });
        let none = Rights { table_exists: false, create_table: false, select: false, insert: false, update: false };
        Ok(rights.await?.unwrap_or(none))
    }

    /// A lease that ends later than any process asks for: the database's clock was set back.
    pub(super) async fn overdue(&self, name: &str) -> Result<Option<Overdue>, SessionError> {
        self.row(OVERDUE, &[(&name, Type::TEXT)], |row| {
            let seconds: i64 = row.try_get(1)?;
            Ok(Overdue { owner: row.try_get(0)?, by: Duration::from_secs(seconds.unsigned_abs()) })
        })
        .await
    }

    pub(super) async fn has_table(&self) -> Result<bool, SessionError> {
        Ok(self.row(TABLE, &[], |row| row.try_get(0)).await?.unwrap_or(false))
    }
}

// === impl Update ===

impl Update {
    /// The fault point between the change and its commit.
    pub(super) fn changed(&self) -> &'static str {
        match self {
            Self::Lease { .. } => "lease changed",
            Self::Document(_) | Self::ReplaceDamaged(_) => "document changed",
        }
    }

    /// The fault point after the commit.
    pub(super) fn committed(&self) -> &'static str {
        match self {
            Self::Lease { .. } => "lease committed",
            Self::Document(_) | Self::ReplaceDamaged(_) => "document committed",
        }
    }
}

// === impl Row ===

impl Row {
    fn read(row: &tokio_postgres::Row) -> Result<Self, tokio_postgres::Error> {
        let left: Option<i64> = row.try_get(4)?;
        Ok(Self {
            document: row.try_get::<_, Option<String>>(0)?.map(Zeroizing::new),
            fence: row.try_get(1)?,
            lease_owner: row.try_get(2)?,
            lease_left: Duration::from_millis(left.and_then(|left| u64::try_from(left).ok()).unwrap_or(0)),
            attempt: row.try_get(3)?,
        })
    }
}
