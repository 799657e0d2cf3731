//! The Kubernetes store, for replicas in one cluster. A Secret holds the grant, and a Lease of the same name says who may call.
//!
//! Every write is a merge patch that states the `resourceVersion` which it expects. So compare-and-set on the Secret is authoritative,
//! and other tools keep their labels and annotations. The two objects cannot change in one transaction. So the Secret carries the
//! number of the last lease that has written: an intent of an older lease is refused, and whoever takes over a lease that was not
//! given back first writes its number there.
//!
//! No request ever waits for the cluster. A lost API server only stops refreshes.

mod claims;
mod cluster;
mod fault;
mod latest;
mod leases;
mod look;
mod objects;
mod secrets;
mod stream;
mod watch;

use std::fmt;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use tokio::sync::Mutex;
use zeroize::Zeroizing;

use self::claims::Claims;
use self::cluster::Cluster;
use self::fault::Place;
use self::objects::Secret;
use self::secrets::{Change, Secrets};
use self::watch::Watch;
use super::document::{self, Form, Unreadable};
use super::held::HeldLeases;
use super::record::Meets;
use super::{Backend, Expect, Lease, Leased, Look, Record, Sealer, Sealing, StoreError, Written};
use crate::config::ClusterConfig;

pub struct KubernetesStore {
    secrets: Secrets,
    sealer: Sealer,
    claims: Claims,
    leases: HeldLeases,
    watch: Mutex<Watch>,
}

/// The time limit of an operation.
const OPERATION: Duration = Duration::from_secs(8);

// === impl KubernetesStore ===

impl KubernetesStore {
    /// Does not connect yet.
    pub(super) fn open(config: &ClusterConfig, sealer: Sealer) -> Result<Self, StoreError> {
        let ClusterConfig { server, account, namespace, name } = config;
        // The same name in another namespace is another grant.
        let sealer = sealer.with_name(&format!("{namespace}/{name}"));
        let mut random = [0; 16];
        aws_lc_rs::rand::fill(&mut random)
            .map_err(|_| StoreError::Unavailable("the system has no random numbers".to_owned()))?;
        let instance = random.iter().map(|byte| format!("{byte:02x}")).collect();
        let place = Place { server: server.clone(), namespace: namespace.clone(), name: name.clone() };
        Ok(Self {
            secrets: Secrets::new(Cluster::new(place, account)),
            sealer,
            claims: Claims::default(),
            leases: HeldLeases::new(instance),
            watch: Mutex::default(),
        })
    }

    fn read(&self, secret: Option<&Secret>) -> Result<Option<Record>, Unreadable> {
        let document = secret.and_then(Secret::document);
        document.map(|document| document::decode(&document, &self.sealer)).transpose()
    }

    fn at(&self, unreadable: Unreadable) -> StoreError {
        unreadable.at(&self.secrets.place())
    }

    fn encode(&self, record: &Record) -> Result<Zeroizing<String>, StoreError> {
        let bytes = document::encode(record, &self.sealer)
            .map_err(|error| StoreError::Unavailable(format!("{}: {error}", self.secrets.place())))?;
        Ok(Zeroizing::new(BASE64_STANDARD.encode(&*bytes)))
    }

    async fn within<T>(&self, work: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        tokio::time::timeout(OPERATION, work).await.unwrap_or_else(|_| {
            let server = &self.secrets.cluster.place.server;
            Err(StoreError::Unavailable(format!("{server}: the operation took longer than {OPERATION:?}")))
        })
    }
}

impl Backend for KubernetesStore {
    async fn load(&self) -> Result<Option<Record>, StoreError> {
        let secret = match self.secrets.latest.present() {
            Some(secret) => secret,
            None => self.within(async { Ok(self.secrets.get().await?) }).await?,
        };
        self.read(secret.as_deref()).map_err(|error| self.at(error))
    }

    async fn look(&self) -> Result<Look, StoreError> {
        self.within(self.diagnose()).await
    }

    async fn lease(&self, owner: &str, duration: Duration) -> Result<Leased, StoreError> {
        self.within(self.take_lease(owner, duration)).await
    }

    async fn release(&self, lease: Lease) {
        if let Err(error) = self.within(self.give_back(&lease)).await {
            let left = lease.remaining();
            tracing::warn!(%error, ?left, "the lease could not be released: other processes wait until it expires");
        }
    }

    async fn write(&self, expect: Expect, record: &Record) -> Result<Written, StoreError> {
        let document = self.encode(record)?;
        let decide = |secret: Option<&Secret>| {
            // The Secret names a newer lease even before this process notices the end of its own.
            let newer = |fence| secret.and_then(|secret| secret.metadata.fence()).is_some_and(|newest| newest > fence);
            if expect.fence.is_some_and(|fence| !self.claims.holds(fence) || newer(fence)) {
                return Ok((None, Written::Fenced));
            }
            let present = self.read(secret).map_err(|error| self.at(error))?;
            let change = Change { document: Some(document.clone()), fence: expect.fence, ..Change::default() };
            Ok(match expect.meets(present.as_ref(), record) {
                Meets::Expected => (Some(change), Written::Done),
                Meets::Wanted => (None, Written::Done),
                Meets::Other => (None, Written::Superseded(present.map(Box::new))),
            })
        };
        self.within(self.secrets.change(decide)).await
    }

    async fn replace_damaged(&self, record: &Record) -> Result<Written, StoreError> {
        let document = self.encode(record)?;
        let change = |keeps_damaged| Change { document: Some(document.clone()), keeps_damaged, fence: None };
        let decide = |secret: Option<&Secret>| match self.read(secret) {
            Ok(Some(present)) => Ok((None, Written::Superseded(Some(Box::new(present))))),
            Ok(None) => Ok((Some(change(false)), Written::Done)),
            Err(Unreadable::Damaged(_)) => Ok((Some(change(true)), Written::Done)),
            Err(unreadable) => Err(self.at(unreadable)),
        };
        self.within(self.secrets.change(decide)).await
    }

    async fn seal(&self) -> Result<Sealing, StoreError> {
        let decide = |secret: Option<&Secret>| {
            let Some(document) = secret.and_then(Secret::document) else { return Ok((None, Sealing::Nothing)) };
            match document::decode_any(&document, &self.sealer).map_err(|error| self.at(error))? {
                (_, Form::Sealed) => Ok((None, Sealing::AlreadySealed)),
                (record, Form::Plaintext) => {
                    let change = Change { document: Some(self.encode(&record)?), ..Change::default() };
                    Ok((Some(change), Sealing::Sealed))
                }
            }
        };
        self.within(self.secrets.change(decide)).await
    }

    async fn changed(&self) {
        self.watch.lock().await.changed(&self.secrets).await;
    }
}

impl fmt::Debug for KubernetesStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KubernetesStore").field("place", &self.secrets.cluster.place).finish_non_exhaustive()
    }
}

#[cfg(test)]
pub(super) mod tests;
