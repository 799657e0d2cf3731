//! What a diagnosis sees of the cluster. It changes nothing: a dry run asks whether a write would be allowed.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::KubernetesStore;
use super::fault::{Fault, Place, Resource, Verb};
use super::objects::Lease as LeaseObject;
use crate::token::store::{ClusterLook, Look, Overdue, Record, StoreError};

// === impl KubernetesStore ===

impl KubernetesStore {
    pub(super) async fn diagnose(&self) -> Result<Look, StoreError> {
        let mut cluster = ClusterLook::default();
        let secret = match self.secrets.get().await {
            Ok(secret) => Some(secret),
            Err(Fault::Forbidden(rule)) => {
                cluster.forbidden.push(rule.to_string());
                None
            }
            Err(fault) => return Err(fault.into()),
        };
        // If that is forbidden, a probe below names the rule.
        let lease = self.lease_object().await.ok();
        let mut probes = vec![(Verb::Watch, Resource::Secret), (Verb::Get, Resource::Lease)];
        let write = |exists: bool| if exists { Verb::Patch } else { Verb::Create };
        probes.extend(secret.as_ref().map(|secret| (write(secret.is_some()), Resource::Secret)));
        probes.extend(lease.as_ref().map(|lease| (write(lease.is_some()), Resource::Lease)));
        for (verb, resource) in probes {
            let body = if verb == Verb::Create { empty(resource, &self.secrets.cluster.place) } else { json!({}) };
            let rule = self.secrets.cluster.forbids(verb, resource, &body).await?;
            cluster.forbidden.extend(rule.map(|rule| rule.to_string()));
        }
        let record: Result<Option<Record>, StoreError> = match &secret {
            Some(secret) => self.read(secret.as_deref()).map_err(|error| self.at(error)),
            None => Ok(None),
        };
        if let Some(secret) = secret.flatten() {
            cluster.immutable = secret.immutable;
            cluster.foreign_owner = secret.metadata.foreign_owner();
        }
        let overdue = lease.flatten().and_then(|lease| overdue(&lease));
        Ok(Look { record, overdue, holder: None, rights: None, cluster: Some(cluster) })
    }
}

fn empty(resource: Resource, Place { namespace, name, .. }: &Place) -> Value {
    let (version, kind) = match resource {
        Resource::Secret => ("v1", "Secret"),
        Resource::Lease => ("coordination.k8s.io/v1", "Lease"),
    };
    json!({ "apiVersion": version, "kind": kind, "metadata": { "name": name, "namespace": namespace } })
}

/// A held lease whose duration is over, by the clock of its holder.
fn overdue(lease: &LeaseObject) -> Option<Overdue> {
    let age = Timestamp::now().duration_since(lease.taken_at()?);
    let by = Duration::try_from(age).ok()?.checked_sub(lease.duration()).filter(|by| !by.is_zero())?;
    Some(Overdue { owner: lease.holder()?.to_owned(), by })
}
