//! The Secret that holds the grant: read, and changed by compare-and-set.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use super::cluster::{Cluster, Reply};
use super::fault::{Fault, Place, Resource};
use super::latest::Latest;
use super::objects::{DOCUMENT, FENCE, Secret};
use crate::fault;
use crate::token::store::StoreError;

pub(super) struct Secrets {
    pub(super) cluster: Cluster,
    pub(super) latest: Latest,
    /// The log has named the other tool that owns the Secret.
    has_warned: AtomicBool,
}

/// A change of the Secret. What it does not name stays.
#[derive(Default)]
pub(super) struct Change {
    /// In base64.
    pub(super) document: Option<Zeroizing<String>>,
    /// The damaged document stays under another key.
    pub(super) keeps_damaged: bool,
    /// The number of the lease under which this change is made.
    pub(super) fence: Option<u64>,
}

// === impl Secrets ===

impl Secrets {
    pub(super) fn new(cluster: Cluster) -> Self {
        Self { cluster, latest: Latest::default(), has_warned: AtomicBool::new(false) }
    }

    pub(super) fn place(&self) -> String {
        let Place { namespace, name, .. } = &self.cluster.place;
        format!("the Secret {namespace}/{name}")
    }

    /// `None`: it does not exist.
    pub(super) async fn get(&self) -> Result<Option<Arc<Secret>>, Fault> {
        let secret = match self.cluster.get(Resource::Secret).await? {
            Reply::Found(secret) => Some(Arc::new(secret)),
            Reply::Missing | Reply::Conflict => None,
        };
        self.latest.answered(secret.as_ref());
        if let Some(owner) = secret.as_ref().and_then(|secret| secret.metadata.foreign_owner())
            && !self.has_warned.swap(true, Ordering::Relaxed)
        {
            tracing::warn!(
                secret = self.place(),
                owner,
                "the Secret of the grant belongs to another tool, which may overwrite it: exclude it there, or set another store.name"
            );
        }
        Ok(secret)
    }

    /// Decides on the Secret and makes the change, until no other process has changed the Secret in between.
    ///
    /// The first decision is about what the Secret probably is. It counts only if it leads to a change, whose version proves it.
    pub(super) async fn change<T>(
        &self,
        decide: impl Fn(Option<&Secret>) -> Result<(Option<Change>, T), StoreError>,
    ) -> Result<T, StoreError> {
        if let Some(secret) = self.latest.likely()
            && let Ok((Some(change), answer)) = decide(Some(&secret))
            && self.apply(Some(&secret), &change).await?
        {
            return Ok(answer);
        }
        loop {
            let secret = self.get().await?;
            let (change, answer) = decide(secret.as_deref())?;
            match change {
                Some(change) if !self.apply(secret.as_deref(), &change).await? => {}
                _ => return Ok(answer),
            }
        }
    }

    /// Whether the Secret was still the given one, and is changed.
    async fn apply(&self, secret: Option<&Secret>, change: &Change) -> Result<bool, StoreError> {
        fault::point("document sending");
        let reply = match secret {
            Some(secret) if secret.immutable => return Err(self.immutable()),
            Some(secret) => self.cluster.patch(Resource::Secret, &change.patch(secret)).await?,
            None => match self.cluster.create(Resource::Secret, &change.create(&self.cluster.place)).await? {
                Reply::Missing => {
                    let namespace = &self.cluster.place.namespace;
                    return Err(StoreError::Unavailable(format!("the namespace {namespace} does not exist")));
                }
                reply => reply,
            },
        };
        match reply {
            Reply::Found(secret) => {
                fault::point("document stored");
                self.latest.answered(Some(&Arc::new(secret)));
                Ok(true)
            }
            Reply::Missing | Reply::Conflict => Ok(false),
        }
    }

    fn immutable(&self) -> StoreError {
        let Place { namespace, name, .. } = &self.cluster.place;
        StoreError::Unavailable(format!(
            "{} is immutable, so no new token can be stored: delete it with `kubectl delete secret {name} --namespace {namespace}`; a \
             running proxy stores the grant again",
            self.place()
        ))
    }
}

// === impl Change ===

impl Change {
    fn patch(&self, secret: &Secret) -> Value {
        let mut metadata = json!({ "resourceVersion": secret.metadata.resource_version });
        if let Some(fence) = self.fence {
            // It never goes back.
            let fence = fence.max(secret.metadata.fence().unwrap_or_default());
            metadata["annotations"] = json!({ FENCE: fence.to_string() });
        }
        let mut data = self.data();
        if let Some(damaged) = secret.encoded().filter(|_| self.keeps_damaged) {
            data.insert(secret.free_key(), damaged.into());
        }
        json!({ "metadata": metadata, "data": data })
    }

    fn create(&self, Place { namespace, name, .. }: &Place) -> Value {
        let mut metadata = json!({
            "name": name,
            "namespace": namespace,
            "labels": { "app.kubernetes.io/managed-by": "bearer-proxy" },
        });
        if let Some(fence) = self.fence {
            metadata["annotations"] = json!({ FENCE: fence.to_string() });
        }
        json!({ "apiVersion": "v1", "kind": "Secret", "type": "Opaque", "metadata": metadata, "data": self.data() })
    }

    fn data(&self) -> Map<String, Value> {
        self.document.iter().map(|document| (DOCUMENT.to_owned(), document.as_str().into())).collect()
    }
}
