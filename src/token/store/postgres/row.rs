//! A grant's row, in SQL: looked at and changed under its lock.

use std::time::Duration;

use tokio_postgres::types::Type;
use zeroize::Zeroizing;

use super::session::{Session, SessionError};
use crate::token::store::StoreError;

/// A row, locked until the transaction's end.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) document: Option<Zeroizing<String>>,
    /// The number of the last lease.
    pub(super) fence: i64,
    /// Who has the lease, or has let it run out.
    pub(super) lease_owner: Option<String>,
    /// What is left of it, by the database's clock; zero: it can be had.
    pub(super) lease_left: Duration,
    /// The last transaction that changed the row.
    pub(super) attempt: Option<String>,
}

/// What a transaction changes.
#[derive(Debug)]
pub(super) enum Update {
    Lease {
        owner: String,
        fence: i64,
        duration: Duration,
    },
    Document(Zeroizing<String>),
    /// The same, and the document that was there is kept in `damaged`.
    ReplaceDamaged(Zeroizing<String>),
}

/// What is notified when a document changes; the payload is the grant's name.
pub(super) const LISTEN: &str = "LISTEN bearer_proxy_grant";

/// The isolation is named since a server's default may be stricter, and would then refuse what the row's lock makes safe. The
/// limits free the row soon if this process is cut off in the midst; local, so that a connection pooler passes none of it on.
const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; \
    SET LOCAL statement_timeout = '1500ms'; SET LOCAL idle_in_transaction_session_timeout = '2s'";

const LOCK: &str = "SELECT document, fence, lease_owner, attempt, \
    ceil(extract(epoch FROM greatest(lease_until - clock_timestamp(), interval '0')) * 1000)::bigint \
    FROM bearer_proxy_grant WHERE name = $1 FOR UPDATE";

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

const REVISION: &str = "SELECT revision FROM bearer_proxy_grant WHERE name = $1";

const TABLE: &str = "SELECT to_regclass('bearer_proxy_grant') IS NOT NULL";

// === impl Session ===

impl Session {
    /// Begins a transaction and locks the row, which is made if it is missing.
    pub(super) async fn begin(&self, name: &str) -> Result<Row, SessionError> {
        self.batch(BEGIN).await?;
        // Of two that make it at once, the second waits for the first and then finds its row.
        for _ in 0..2 {
            let row = self.row(LOCK, &[(&name, Type::TEXT)], Row::read).await?;
            match row {
                Some(row) => return Ok(row),
                None => self.row(INSERT, &[(&name, Type::TEXT)], |_| Ok(())).await?,
            };
        }
        Err(SessionError::Refused(StoreError::Unavailable(format!(
            "the row {name} of bearer_proxy_grant is removed as often as made"
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

    /// Outside of a transaction: a reader sees the last commit and waits for nobody.
    pub(super) async fn document(&self, name: &str) -> Result<Option<Zeroizing<String>>, SessionError> {
        let read = |row: &tokio_postgres::Row| Ok(row.try_get::<_, Option<String>>(0)?.map(Zeroizing::new));
        Ok(self.row(LOAD, &[(&name, Type::TEXT)], read).await?.flatten())
    }

    /// 0: there is no row.
    pub(super) async fn revision(&self, name: &str) -> Result<i64, SessionError> {
        Ok(self.row(REVISION, &[(&name, Type::TEXT)], |row| row.try_get(0)).await?.unwrap_or(0))
    }

    pub(super) async fn release(&self, name: &str, fence: i64) -> Result<(), SessionError> {
        self.row(RELEASE, &[(&name, Type::TEXT), (&fence, Type::INT8)], |_| Ok(())).await.map(drop)
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
