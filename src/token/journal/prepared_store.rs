//! A store that prepares itself before its first use.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::OnceCell;

use crate::token::store::{Expect, Lease, LeaseHolder, Leased, Record, Store, StoreError, Written};

/// A store with [`Store::prepare`] run before the first operation. If that fails, the next operation tries again.
#[derive(Clone, Debug)]
pub struct PreparedStore {
    store: Arc<Store>,
    done: Arc<OnceCell<()>>,
}

// === impl PreparedStore ===

impl PreparedStore {
    pub fn new(store: Store) -> Self {
        Self { store: Arc::new(store), done: Arc::default() }
    }

    async fn ready(&self) -> Result<(), StoreError> {
        self.done.get_or_try_init(|| self.store.prepare()).await.copied()
    }

    pub async fn load(&self) -> Result<Option<Record>, StoreError> {
        self.ready().await?;
        self.store.load().await
    }

    pub(super) async fn lease(&self, owner: &str, duration: Duration) -> Result<Leased, StoreError> {
        self.ready().await?;
        self.store.lease(owner, duration).await
    }

    pub(super) async fn release(&self, lease: Lease) {
        self.store.release(lease).await;
    }

    pub(super) async fn write(&self, expect: Expect, record: &Record) -> Result<Written, StoreError> {
        self.ready().await?;
        self.store.write(expect, record).await
    }

    pub async fn changed(&self) {
        self.store.changed().await;
    }

    pub fn lease_holder(&self) -> Option<LeaseHolder> {
        self.store.lease_holder()
    }
}
