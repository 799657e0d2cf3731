//! Checks of the Kubernetes store.

use super::looked;
use crate::check::finding::Finding;
use crate::check::ids::Id;
use crate::token::store::{Look, StoreError};

pub(super) fn judge(look: &Result<Look, StoreError>) -> Vec<Finding> {
    let look = match look {
        Ok(look) => look,
        Err(error) => {
            return vec![Id::StoreClusterUnreachable.fail(
                error.to_string(),
                "repair the network between this pod and the API server, or the service account token of this container",
            )];
        }
    };
    let mut findings = Vec::new();
    let cluster = look.cluster.clone().unwrap_or_default();
    if !cluster.forbidden.is_empty() {
        let hint = "change the Role of the service account as the message says";
        findings.push(Id::StoreClusterForbidden.fail(cluster.forbidden.join("; "), hint));
    }
    if cluster.immutable {
        findings.push(Id::StoreClusterImmutable.fail(
            "the Secret of the grant is immutable: no new token can be stored",
            "delete the Secret; a running proxy stores the grant again",
        ));
    }
    if let Some(owner) = cluster.foreign_owner {
        findings.push(Id::StoreClusterForeignOwner.warn(
            format!("{owner} owns the Secret of the grant, and may overwrite the newest token"),
            "remove the Secret from that tool: the proxy creates it at run time",
        ));
    }
    findings.extend(looked(look));
    findings
}
