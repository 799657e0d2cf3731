//! How the stored record relates to the known one. A pure decision.
//!
//! Within one lineage, the higher generation is live, whoever holds it. So the two records alone show that a store was set back:
//! a backup was restored, a database failed over to a replica without the last commit, or a file was deleted. A restart makes no
//! difference. Another lineage is a new grant that a person supplied, unless the known grant has replaced it.

use crate::token::store::Record;

/// The stored record, compared with the known one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reconciliation {
    /// The store holds the known record.
    Unchanged,
    /// Another process refreshed the token, or a person supplied a grant with an access token. Adopt it.
    Renewed,
    /// A person supplied a refresh token, or a process noted something about the grant. Adopt it.
    Changed,
    /// The store holds an older record. Store the known one again.
    Behind,
    /// A grant whose generations do not follow the known ones: a new one, or an older one that a person restored after the known one
    /// was refused. Adopt it under a generation of this process's count.
    Renumber,
}

/// Decides what to do about `stored`, when the process knows `known`.
pub fn reconcile(stored: Option<&Record>, known: Option<&Record>) -> Reconciliation {
    let (Some(stored), Some(known)) = (stored, known) else {
        return match (stored, known) {
            (Some(_), _) => Reconciliation::Renewed,
            // Even if the grant is over: the generation must not decrease, and tried initial tokens must not be tried again.
            (None, Some(_)) => Reconciliation::Behind,
            (None, None) => Reconciliation::Unchanged,
        };
    };
    if stored.is_behind(known) {
        return if is_worth_a_try(stored, known) { Reconciliation::Renumber } else { Reconciliation::Behind };
    }
    if stored.lineage == known.lineage {
        if stored.generation > known.generation {
            return Reconciliation::Renewed;
        }
        let noted =
            |record: &Record| (record.needs_login.clone(), record.tried_initial.clone(), record.binding.clone());
        // Of two commits in one generation, the stored one counts. An intent is no change: a peer's call is in flight, and only its
        // outcome counts.
        let same = stored.version() == known.version() && noted(stored) == noted(known);
        return if same { Reconciliation::Unchanged } else { Reconciliation::Changed };
    }
    // A grant that was stored without knowledge of the known one began its generations anew.
    let follows = stored.replaced.contains(&known.lineage);
    if follows && stored.generation > known.generation {
        Reconciliation::Renewed
    } else if follows && stored.generation == known.generation && stored.is_bare_beside(known) {
        Reconciliation::Changed
    } else {
        Reconciliation::Renumber
    }
}

/// Whether an older record may help: the known grant was refused, and the older one has another refresh token.
fn is_worth_a_try(stored: &Record, known: &Record) -> bool {
    known.needs_login.is_some()
        && stored.needs_login.is_none()
        && stored.refresh.is_some()
        && stored.refresh != known.refresh
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::store::{Binding, Intent};
    use crate::token::{Access, AccessToken, Generation, Lineage, RefreshToken};

    fn token(text: &str) -> RefreshToken {
        RefreshToken::parse(text).unwrap()
    }

    fn record(generation: u64, refresh: &str) -> Record {
        let binding = Binding { token_url: "t".into(), client_id: "c".into(), upstream_origin: "u".into() };
        Record { generation: Generation(generation), refresh: Some(token(refresh)), ..Record::empty(binding) }
    }

    fn lineage(number: u8) -> Lineage {
        Lineage::try_from(format!("{number:032x}")).unwrap()
    }

    /// `record` in lineage `number`, which has replaced `replaced`.
    fn of(number: u8, replaced: &[u8], record: Record) -> Record {
        Record {
            lineage: lineage(number),
            replaced: replaced.iter().map(|number| lineage(*number)).collect(),
            ..record
        }
    }

    fn with_access(record: Record) -> Record {
        let token = AccessToken::parse("given").unwrap();
        Record { access: Some(Access { token, obtained_at: jiff::Timestamp::UNIX_EPOCH, expires_at: None }), ..record }
    }

    #[test]
    fn the_higher_generation_of_a_lineage_is_live_and_another_lineage_is_a_new_grant() {
        use Reconciliation::*;
        let ours = |generation, refresh| of(2, &[1], record(generation, refresh));
        let known = ours(3, "c");
        let dead = |record: Record| Record { needs_login: Some("refused".into()), ..record };
        let intent = Intent {
            owner: "peer".into(),
            at: jiff::Timestamp::UNIX_EPOCH,
            fingerprint: token("c").fingerprint(),
            presented: 1,
        };
        let no_token = |generation| Record { refresh: None, ..ours(generation, "c") };
        let rows = [
            ("nothing ever", None, None, Unchanged),
            ("at the start", Some(known.clone()), None, Renewed),
            ("as known", Some(known.clone()), Some(known.clone()), Unchanged),
            ("a peer calls", Some(Record { intent: Some(intent), ..known.clone() }), Some(known.clone()), Unchanged),
            ("a peer's refresh", Some(ours(4, "d")), Some(known.clone()), Renewed),
            ("the last of two commits", Some(ours(3, "e")), Some(known.clone()), Changed),
            ("a peer was refused", Some(dead(known.clone())), Some(known.clone()), Changed),
            ("noted as over, and no more", Some(known.clone()), Some(dead(known.clone())), Changed),
            ("a deleted file", None, Some(known.clone()), Behind),
            ("a deleted file of a grant that is over", None, Some(dead(known.clone())), Behind),
            // A restart in between makes no difference: nothing but the two records counts.
            ("a backup of any age", Some(ours(1, "unseen")), Some(known.clone()), Behind),
            ("a lagging replica", Some(ours(2, "b")), Some(known.clone()), Behind),
            ("a backup, with a note", Some(dead(ours(2, "b"))), Some(known.clone()), Behind),
            ("a server that keeps its refresh token", Some(ours(2, "c")), Some(known.clone()), Behind),
            ("no refresh token", Some(no_token(2)), Some(known.clone()), Behind),
            ("a backup from before the last import", Some(of(1, &[], record(9, "a"))), Some(known.clone()), Behind),
            // The known grant was refused. A person has restored one that may still work.
            ("restored after a refusal", Some(ours(2, "b")), Some(dead(known.clone())), Renumber),
            (
                "an older grant restored after a refusal",
                Some(of(1, &[], record(2, "a"))),
                Some(dead(known.clone())),
                Renumber,
            ),
            ("the refused token restored", Some(ours(2, "c")), Some(dead(known.clone())), Behind),
            ("a refused one restored", Some(dead(ours(2, "b"))), Some(dead(known.clone())), Behind),
            ("nothing of use restored", Some(no_token(2)), Some(dead(known.clone())), Behind),
            // New grants.
            ("an import", Some(with_access(of(3, &[1, 2], record(4, "x")))), Some(known.clone()), Renewed),
            ("a bare import", Some(of(3, &[1, 2], record(3, "x"))), Some(known.clone()), Changed),
            ("the same one imported again", Some(of(3, &[1, 2], record(3, "c"))), Some(dead(known.clone())), Changed),
            (
                "an import over a damaged file",
                Some(with_access(of(3, &[], record(1, "x")))),
                Some(known.clone()),
                Renumber,
            ),
            (
                "one that has reached our count",
                Some(with_access(of(3, &[], record(3, "x")))),
                Some(known.clone()),
                Renumber,
            ),
            (
                "one that is beyond our count",
                Some(with_access(of(3, &[], record(9, "x")))),
                Some(known.clone()),
                Renumber,
            ),
            ("an import over a backup", Some(of(3, &[1, 2], record(1, "x"))), Some(known.clone()), Renumber),
            ("each has replaced the other", Some(of(1, &[2], record(4, "a"))), Some(known), Renewed),
        ];
        for (what, stored, known, expected) in rows {
            assert_eq!(reconcile(stored.as_ref(), known.as_ref()), expected, "{what}");
        }
    }
}
