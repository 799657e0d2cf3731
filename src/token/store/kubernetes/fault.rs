//! What can be wrong with the API server, and what to do about it.

use std::fmt;

use http::Method;

use crate::token::store::StoreError;

/// Where the objects are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// `https://10.96.0.1:443`
    pub server: String,
    pub namespace: String,
    /// The name of the Secret and of the Lease.
    pub name: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    Secret,
    Lease,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    Get,
    Watch,
    Patch,
    Create,
}

/// A rule that the Role of the service account lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    pub verb: Verb,
    pub resource: Resource,
    pub place: Place,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    /// The server is unreachable, overloaded or in trouble. A write may have succeeded.
    #[error("{0}")]
    Unavailable(String),
    #[error("{0}")]
    Forbidden(Rule),
    /// Anything else that a person must repair.
    #[error("{0}")]
    Refused(String),
    /// A watch cannot continue from its version (410 Gone). A read brings the present one.
    #[error("the watched version is no longer available")]
    Expired,
}

// === impl Resource ===

impl Resource {
    pub(super) fn path(self) -> &'static str {
        match self {
            Self::Secret => "/api/v1",
            Self::Lease => "/apis/coordination.k8s.io/v1",
        }
    }

    pub(super) fn plural(self) -> &'static str {
        match self {
            Self::Secret => "secrets",
            Self::Lease => "leases",
        }
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Secret => "Secret",
            Self::Lease => "Lease",
        })
    }
}

// === impl Verb ===

impl Verb {
    pub(super) fn method(self) -> Method {
        match self {
            Self::Get | Self::Watch => Method::GET,
            Self::Patch => Method::PATCH,
            Self::Create => Method::POST,
        }
    }

    pub(super) fn content_type(self) -> &'static str {
        if self == Self::Patch { "application/merge-patch+json" } else { "application/json" }
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Get => "get",
            Self::Watch => "watch",
            Self::Patch => "patch",
            Self::Create => "create",
        })
    }
}

// === impl Rule ===

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { verb, resource, place: Place { namespace, name, .. } } = self;
        let plural = resource.plural();
        write!(f, "RBAC forbids `{verb}` of {plural}/{name} in the namespace {namespace}: ")?;
        match (verb, resource) {
            (Verb::Create, Resource::Secret) => write!(
                f,
                "create it with `kubectl create secret generic {name} --namespace {namespace}`, or add the verb `create` of {plural} to \
                 the Role of this service account"
            ),
            (Verb::Create, Resource::Lease) => write!(
                f,
                "create a Lease of that name (`coordination.k8s.io/v1`, without a spec), or add the verb `create` of {plural} to the \
                 Role of this service account"
            ),
            _ => write!(
                f,
                "add the verb `{verb}` of {plural} with the resource name {name} to the Role of this service account"
            ),
        }
    }
}

// === impl Fault ===

impl From<Fault> for StoreError {
    fn from(fault: Fault) -> Self {
        Self::Unavailable(fault.to_string())
    }
}
