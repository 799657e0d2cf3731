//! The pair that the server has issued and the store does not hold yet.

use std::sync::{Arc, Mutex, PoisonError};

use super::{Renewed, Unpersisted};
use crate::token::endpoint::RefreshFailure;
use crate::token::store::{Expect, Record};

/// The new pair of a rotation. It lives outside the task of the rotation, so the pair survives a panic of that task.
#[derive(Clone, Debug, Default)]
pub struct Uncommitted(Arc<Mutex<Option<Pair>>>);

#[derive(Debug)]
struct Pair {
    expect: Expect,
    record: Record,
    failure: Option<RefreshFailure>,
}

// === impl Uncommitted ===

impl Uncommitted {
    pub(super) fn hold(&self, expect: Expect, record: &Record, failure: Option<RefreshFailure>) {
        let pair = Pair { expect, record: record.clone(), failure };
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(pair);
    }

    /// Takes the pair that a rotation left behind when its task died.
    pub fn take(&self) -> Option<Renewed> {
        let Pair { expect, record, failure } = self.0.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        let error = "the task that was to store it died".to_owned();
        Some(Renewed { record: Box::new(record), failure, unpersisted: Some(Unpersisted { expect, error }) })
    }
}
