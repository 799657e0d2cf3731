//! The Lease: taken and given back by compare-and-set.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::KubernetesStore;
use super::claims::{Claim, Own};
use super::cluster::Reply;
use super::fault::{Place, Resource};
use super::objects::{FENCE, Lease as LeaseObject, Secret};
use super::secrets::Change;
use crate::fault;
use crate::token::store::{Hold, LEASE_POLL, Lease, Leased, StoreError};

// === impl KubernetesStore ===

impl KubernetesStore {
    pub(super) async fn take_lease(&self, owner: &str, duration: Duration) -> Result<Leased, StoreError> {
        let events = self.secrets.latest.events();
        if let Some(retry_in) = self.claims.pause(events) {
            return Ok(Leased::Busy { retry_in });
        }
        let asked = Instant::now();
        let owner = self.leases.owner(owner);
        let found = self.lease_object().await?;
        let last = found.as_ref().and_then(|lease| lease.metadata.fence());
        let claim = match (&found, last) {
            (Some(lease), Some(fence)) => {
                lease.holder().map(|holder| Claim { holder: holder.to_owned(), fence, duration: lease.duration() })
            }
            _ => self.lost_claim(duration).await?,
        };
        let holder = claim.as_ref().map(|claim| claim.holder.as_str());
        let abandoned = claim.as_ref().is_some_and(|claim| self.leases.is_abandoned(holder, claim.fence));
        if let Some(claim) = claim.as_ref().filter(|_| !abandoned) {
            let left = self.claims.left(claim, events);
            if !left.is_zero() {
                return Ok(Leased::Busy { retry_in: left.min(LEASE_POLL) });
            }
        }
        let fence = next_fence(last, claim.as_ref());
        // Noted before the call: its answer may get lost.
        let hold = self.leases.hold(fence);
        fault::point("lease sending");
        let reply = match &found {
            Some(lease) => {
                let patch = patch(&lease.metadata.resource_version, &owner, fence, duration);
                self.secrets.cluster.patch(Resource::Lease, &patch).await?
            }
            None => {
                let object = object(&self.secrets.cluster.place, &owner, fence, duration);
                self.secrets.cluster.create(Resource::Lease, &object).await?
            }
        };
        let lease: LeaseObject = match reply {
            Reply::Found(lease) => lease,
            // Another process was faster.
            Reply::Conflict | Reply::Missing => return Ok(Leased::Busy { retry_in: LEASE_POLL }),
        };
        fault::point("lease stored");
        if let Some(Claim { holder, .. }) = &claim {
            if abandoned {
                tracing::info!(fence, "took back a lease that this process could not give back");
            } else {
                tracing::warn!(holder, fence, "took the lease over from a process that has let it run out");
            }
            self.fence_off(fence).await?;
        }
        let own = Own { fence, until: asked + duration, version: lease.metadata.resource_version };
        self.claims.take(own);
        self.secrets.latest.must_read();
        Ok(Leased::Held(Lease { fence, asked, duration, hold: Hold::InUse(hold) }))
    }

    pub(super) async fn give_back(&self, lease: &Lease) -> Result<(), StoreError> {
        let Some(Own { fence, mut version, .. }) = self.claims.give_back(lease.fence) else { return Ok(()) };
        loop {
            let patch = json!({
                "metadata": { "resourceVersion": version },
                "spec": { "holderIdentity": null, "renewTime": now() },
            });
            match self.secrets.cluster.patch::<Value>(Resource::Lease, &patch).await? {
                Reply::Found(_) | Reply::Missing => return Ok(()),
                Reply::Conflict => {}
            }
            // Somebody has changed it: a taker, or a person who added a label.
            match self.lease_object().await? {
                Some(lease) if lease.metadata.fence() == Some(fence) && lease.holder().is_some() => {
                    version = lease.metadata.resource_version;
                }
                _ => return Ok(()),
            }
        }
    }

    pub(super) async fn lease_object(&self) -> Result<Option<LeaseObject>, StoreError> {
        match self.secrets.cluster.get(Resource::Lease).await? {
            Reply::Found(lease) => Ok(Some(lease)),
            Reply::Missing | Reply::Conflict => Ok(None),
        }
    }

    /// The claim when the Lease has no number. Usually nobody ever took it. But if the Secret has the number of a lease, a person removed
    /// the Lease, and its holder may still call.
    async fn lost_claim(&self, duration: Duration) -> Result<Option<Claim>, StoreError> {
        let secret = self.secrets.get().await?;
        let fence = secret.and_then(|secret| secret.metadata.fence());
        Ok(fence.map(|fence| Claim { holder: String::new(), fence, duration }))
    }

    /// Writes the number into the Secret, so that the last holder of the lease can announce no call any more.
    async fn fence_off(&self, fence: u64) -> Result<(), StoreError> {
        let stamp = || Change { fence: Some(fence), ..Change::default() };
        self.secrets.change(|secret: Option<&Secret>| Ok((secret.map(|_| stamp()), ()))).await
    }
}

/// One more than the last number. If it is lost, the count goes on at the present time in milliseconds: with fewer than a thousand
/// leases per second, no earlier count has reached that number.
fn next_fence(last: Option<u64>, claim: Option<&Claim>) -> u64 {
    let begin = || u64::try_from(Timestamp::now().as_millisecond()).unwrap_or(1);
    let lost = claim.map_or(0, |claim| claim.fence);
    last.map_or_else(|| begin().max(lost.saturating_add(1)), |last| last.saturating_add(1))
}

fn patch(version: &str, owner: &str, fence: u64, duration: Duration) -> Value {
    json!({
        "metadata": { "resourceVersion": version, "annotations": { FENCE: fence.to_string() } },
        "spec": spec(owner, duration),
    })
}

fn object(Place { namespace, name, .. }: &Place, owner: &str, fence: u64, duration: Duration) -> Value {
    json!({
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": { "app.kubernetes.io/managed-by": "bearer-proxy" },
            "annotations": { FENCE: fence.to_string() },
        },
        "spec": spec(owner, duration),
    })
}

/// The times are for people. The duration is rounded up, because another process waits for it.
fn spec(owner: &str, duration: Duration) -> Value {
    let seconds = duration.as_millis().div_ceil(1000);
    let seconds = u32::try_from(seconds).unwrap_or(u32::MAX).max(1);
    json!({ "holderIdentity": owner, "leaseDurationSeconds": seconds, "acquireTime": now(), "renewTime": now() })
}

/// The form of the API server's `MicroTime`.
fn now() -> String {
    format!("{:.6}", Timestamp::now())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_never_given_twice() {
        let claim = |fence| Claim { holder: String::new(), fence, duration: Duration::ZERO };
        assert_eq!(next_fence(Some(7), None), 8);
        assert_eq!(next_fence(Some(7), Some(&claim(7))), 8);
        assert!(next_fence(None, None) > 1_700_000_000_000);
        assert_eq!(next_fence(None, Some(&claim(u64::MAX - 1))), u64::MAX);
    }

    #[test]
    fn a_written_duration_is_never_shorter_than_the_lease() {
        for (duration, seconds) in [(1, 1), (50, 1), (1000, 1), (1001, 2), (45_000, 45)] {
            assert_eq!(spec("one", Duration::from_millis(duration))["leaseDurationSeconds"], seconds, "{duration} ms");
        }
    }

    #[test]
    fn times_have_the_form_of_the_api_server() {
        let now = now();
        assert!(now.len() == "2026-11-22T02:00:00.123456Z".len() && now.ends_with('Z'), "{now}");
    }
}
