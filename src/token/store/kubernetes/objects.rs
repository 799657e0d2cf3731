//! The fields of Kubernetes objects that the store reads. It never writes an object as a whole, so the other fields stay.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use jiff::Timestamp;
use serde::Deserialize;
use serde::de::IgnoredAny;
use zeroize::Zeroizing;

/// The key of the grant in the data of the Secret.
pub(super) const DOCUMENT: &str = "grant.json";
/// The annotation with the fencing number, of the Lease and of the Secret.
pub(super) const FENCE: &str = "bearer-proxy/fence";

#[derive(Deserialize)]
pub(super) struct Secret {
    pub(super) metadata: Metadata,
    #[serde(default)]
    data: BTreeMap<String, Encoded>,
    #[serde(default)]
    pub(super) immutable: bool,
}

#[derive(Deserialize)]
pub(super) struct Lease {
    pub(super) metadata: Metadata,
    #[serde(default)]
    spec: LeaseSpec,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct LeaseSpec {
    holder_identity: Option<String>,
    lease_duration_seconds: Option<u32>,
    acquire_time: Option<Timestamp>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Metadata {
    pub(super) resource_version: String,
    #[serde(default)]
    annotations: Annotations,
    #[serde(default)]
    labels: Labels,
    #[serde(default)]
    owner_references: Vec<OwnerReference>,
}

/// Only these annotations are read. Another one may hold a copy of the grant (`kubectl apply` writes one).
#[derive(Default, Deserialize)]
struct Annotations {
    #[serde(rename = "bearer-proxy/fence")]
    fence: Option<String>,
    #[serde(rename = "argocd.argoproj.io/tracking-id")]
    argo_cd: Option<IgnoredAny>,
    #[serde(rename = "meta.helm.sh/release-name")]
    helm: Option<IgnoredAny>,
    #[serde(rename = "reconcile.external-secrets.io/data-hash")]
    external_secrets: Option<IgnoredAny>,
}

#[derive(Default, Deserialize)]
struct Labels {
    #[serde(rename = "kustomize.toolkit.fluxcd.io/name")]
    flux: Option<IgnoredAny>,
    #[serde(rename = "helm.toolkit.fluxcd.io/name")]
    flux_helm: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct OwnerReference {
    kind: String,
}

/// A value of a Secret's data, in base64.
pub(super) struct Encoded(Zeroizing<String>);

/// An event of a watch. The type decides what the object is.
#[derive(Deserialize)]
pub(super) struct WatchEvent<'a> {
    #[serde(rename = "type")]
    pub(super) kind: String,
    #[serde(borrow)]
    pub(super) object: &'a serde_json::value::RawValue,
}

// === impl Secret ===

impl Secret {
    /// The stored document. `None`: no grant was ever stored. Damaged base64 counts as an empty, and so damaged, document.
    pub(super) fn document(&self) -> Option<Zeroizing<Vec<u8>>> {
        self.data.get(DOCUMENT).map(|Encoded(text)| Zeroizing::new(BASE64_STANDARD.decode(&**text).unwrap_or_default()))
    }

    pub(super) fn encoded(&self) -> Option<&str> {
        self.data.get(DOCUMENT).map(|Encoded(text)| text.as_str())
    }

    /// A free key of the data for a damaged document.
    pub(super) fn free_key(&self) -> String {
        let taken = |number: &usize| self.data.contains_key(&format!("{DOCUMENT}.damaged-{number}"));
        let number = (1..).find(|number| !taken(number)).unwrap_or_default();
        format!("{DOCUMENT}.damaged-{number}")
    }
}

// === impl Lease ===

impl Lease {
    /// `None`: nobody holds it.
    pub(super) fn holder(&self) -> Option<&str> {
        self.spec.holder_identity.as_deref().filter(|holder| !holder.is_empty())
    }

    pub(super) fn duration(&self) -> Duration {
        Duration::from_secs(self.spec.lease_duration_seconds.unwrap_or_default().into())
    }

    /// By the clock of its holder, so only for a diagnosis.
    pub(super) fn taken_at(&self) -> Option<Timestamp> {
        self.spec.acquire_time
    }
}

// === impl Metadata ===

impl Metadata {
    pub(super) fn fence(&self) -> Option<u64> {
        self.annotations.fence.as_ref()?.parse().ok()
    }

    /// Another tool that writes this object, and so may overwrite the grant.
    pub(super) fn foreign_owner(&self) -> Option<String> {
        let Self { annotations, labels, owner_references, .. } = self;
        let tools = [
            (annotations.argo_cd.is_some(), "Argo CD"),
            (annotations.external_secrets.is_some(), "External Secrets"),
            (labels.flux.is_some() || labels.flux_helm.is_some(), "Flux"),
            (annotations.helm.is_some(), "Helm"),
        ];
        let tool = tools.iter().find(|(is_owner, _)| *is_owner).map(|(_, name)| (*name).to_owned());
        // The kind is a name of a Kubernetes type, which the API server checks.
        tool.or_else(|| owner_references.first().map(|owner| format!("an object of the kind {}", owner.kind)))
    }
}

// === impl Encoded ===

impl<'de> Deserialize<'de> for Encoded {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self(Zeroizing::new(text)))
    }
}
