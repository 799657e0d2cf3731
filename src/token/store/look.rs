//! What a diagnosis may see of a store. It changes nothing: no table, no file mode, no copy of a damaged document.

use std::time::Duration;

use super::{Record, StoreError};

/// A look at a store.
#[derive(Debug)]
pub struct Look {
    pub record: Result<Option<Record>, StoreError>,
    /// A lease that should have ended by now.
    pub overdue: Option<Overdue>,
    /// Who took the lease last; of a file only.
    pub holder: Option<Holder>,
    /// What the role may do; of a database only.
    pub rights: Option<Rights>,
    /// Of a cluster only.
    pub cluster: Option<ClusterLook>,
}

/// A lease whose holder neither renews it nor gives it back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overdue {
    pub owner: String,
    pub by: Duration,
}

/// Who took the lease last, and may have given it back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    pub owner: String,
    /// A process of another host that took the lease while this owner lived.
    pub shared_with: Option<String>,
}

/// What the database role may do with the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rights {
    pub table_exists: bool,
    pub create_table: bool,
    pub select: bool,
    pub insert: bool,
    pub update: bool,
}

/// What stands between this process and the objects of a cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterLook {
    /// Each missing rule of RBAC, with what to do.
    pub forbidden: Vec<String>,
    /// The Secret may not be changed.
    pub immutable: bool,
    /// Another tool that may overwrite the Secret.
    pub foreign_owner: Option<String>,
}

// === impl Rights ===

impl Rights {
    pub fn are_enough(&self) -> bool {
        if self.table_exists { self.select && self.insert && self.update } else { self.create_table }
    }
}
