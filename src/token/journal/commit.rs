//! The record after a successful call, and the write that commits it.

use super::{Journal, Renewed, Rotation, Unpersisted, rebased};
use crate::fault;
use crate::token::endpoint::{Issued, RefreshFailure};
use crate::token::store::{Expect, LastRefresh, Record, StoreError, Written};
use crate::token::{Access, Fingerprint, Lineage, RefreshToken, policy};

// === impl Journal ===

impl Journal {
    /// The record with a new access token.
    pub(super) fn issued(
        &self,
        before: Record,
        presented: Option<&RefreshToken>,
        new_lineage: Option<Lineage>,
        issued: Issued,
        began: jiff::Timestamp,
        last: LastRefresh,
    ) -> Record {
        let lifetime = issued.lifetime.unwrap_or(self.settings.default_lifetime);
        let access =
            Access { token: issued.access, obtained_at: began, expires_at: Some(policy::expires_at(began, lifetime)) };
        // RFC 6749 §6: if the server issues no new refresh token, the old one stays valid.
        let refresh = issued.refresh.or_else(|| presented.cloned());
        self.renewed(before, presented, new_lineage, Some(access), refresh, last)
    }

    /// The record with a new refresh token and the old access token, which is used until it expires.
    pub(super) fn successor_only(
        &self,
        before: Record,
        presented: Option<&RefreshToken>,
        new_lineage: Option<Lineage>,
        refresh: RefreshToken,
        last: LastRefresh,
    ) -> Record {
        let access = before.access.clone().filter(|_| before.binding == self.settings.binding);
        self.renewed(before, presented, new_lineage, access, Some(refresh), last)
    }

    /// The generation grows without a new access token too: within one generation, a peer can't tell which refresh token is
    /// newer.
    fn renewed(
        &self,
        before: Record,
        presented: Option<&RefreshToken>,
        new_lineage: Option<Lineage>,
        access: Option<Access>,
        refresh: Option<RefreshToken>,
        last: LastRefresh,
    ) -> Record {
        let (lineage, replaced) = match new_lineage {
            Some(lineage) => (lineage, before.replaced_by(lineage)),
            None => (before.lineage, before.replaced.clone()),
        };
        Record {
            binding: self.settings.binding.clone(),
            lineage,
            replaced,
            generation: before.generation.next(),
            access,
            refresh,
            candidate: before.candidate,
            intent: None,
            needs_login: None,
            tried_initial: self.tried_initial(before.tried_initial, presented),
            last_refresh: Some(last),
        }
    }

    /// The value of [`Record::tried_initial`] after `presented` was spent.
    fn tried_initial(&self, mut tried: Vec<Fingerprint>, presented: Option<&RefreshToken>) -> Vec<Fingerprint> {
        if let Some(initial) = self.settings.initial()
            && presented == Some(initial)
            && !tried.contains(&initial.fingerprint())
        {
            tried.push(initial.fingerprint());
        }
        tried
    }

    pub(super) async fn commit(
        &self,
        mut expect: Expect,
        mut record: Record,
        failure: Option<RefreshFailure>,
    ) -> Rotation {
        let unpersisted = loop {
            match self.persist(expect, &record).await {
                Ok(Written::Done) => {
                    fault::point("committed");
                    break None;
                }
                Ok(Written::Superseded(Some(theirs))) => match rebased(&record, &theirs, expect) {
                    Some(again) => (record, expect.version) = (again, Some(theirs.version())),
                    // Another grant was stored during the call. It must not be overwritten.
                    None => return Rotation::Found(Ok(Some(theirs))),
                },
                Ok(Written::Superseded(None) | Written::Fenced) => {
                    let error = "the stored grant has vanished".into();
                    break Some(Unpersisted { expect: Expect { version: None, fence: None }, error });
                }
                Err(error) => break Some(Unpersisted { expect, error: error.to_string() }),
            }
        };
        Rotation::Renewed(Renewed { record: Box::new(record), failure, unpersisted })
    }

    /// Writes a commit; also to retry one that failed.
    pub async fn persist(&self, expect: Expect, record: &Record) -> Result<Written, StoreError> {
        self.observe("commit", self.store.write(expect, record).await)
    }
}
