//! The PostgreSQL store: many machines.

use std::path::Path;
use std::time::Duration;

use super::{Expect, Lease, Leased, Record, Sealer, StoreError, Written};
use crate::secret::Secret;

/// A row of a table.
#[derive(Debug)]
pub struct PostgresStore;

/// The SQL that the store needs.
pub fn schema() -> &'static str {
    ""
}

// === impl PostgresStore ===

impl PostgresStore {
    pub(super) fn open(_: &Secret, _: &str, _: Option<&Path>, _: Sealer) -> Result<Self, StoreError> {
        todo!()
    }

    pub(super) async fn prepare(&self) -> Result<(), StoreError> {
        todo!()
    }

    pub(super) async fn load(&self) -> Result<Option<Record>, StoreError> {
        todo!()
    }

    pub(super) async fn lease(&self, _: &str, _: Duration) -> Result<Leased, StoreError> {
        todo!()
    }

    pub(super) async fn release(&self, _: &Lease) {
        todo!()
    }

    pub(super) async fn write(&self, _: Expect, _: &Record) -> Result<Written, StoreError> {
        todo!()
    }

    pub(super) async fn replace_damaged(&self, _: &Record) -> Result<Written, StoreError> {
        todo!()
    }

    pub(super) async fn changed(&self) {
        todo!()
    }
}
