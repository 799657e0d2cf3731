//! What to make of what the store holds. A pure decision.
//!
//! The store is the truth, with two exceptions: it can fall behind (a backup was restored, a database failed over to a replica
//! that lacked the last commit, a file was deleted), and then this process holds the only living successor of a spent token; and
//! a person can give a new grant in the place of one that could not be read, which then counts its generations anew.

use crate::token::Fingerprint;
use crate::token::store::Record;

/// What the store holds, to who knows something already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// What is known.
    None,
    /// Another process's refresh, or a person's grant with its access token.
    Renewed,
    /// A refresh token that a person gave, or a note on the known one.
    Changed,
    /// Less than what is known: the known record is stored again.
    Behind,
    /// A person's grant whose generation has been another's already: it is stored under the next one.
    Renumber,
}

// === impl News ===

impl News {
    /// `passed`: the refresh tokens that the known one took the place of.
    pub fn of(stored: Option<&Record>, known: Option<&Record>, passed: &[Fingerprint]) -> Self {
        let (Some(stored), Some(known)) = (stored, known) else {
            return match (stored, known) {
                (Some(_), _) => Self::Renewed,
                // Also where the grant is over: the generation must not go back, and known first tokens must stay known.
                (None, Some(_)) => Self::Behind,
                (None, None) => Self::None,
            };
        };
        let (old, new) = (known.version(), stored.version());
        if new.generation > old.generation {
            return Self::Renewed;
        }
        if new.generation < old.generation {
            let ours = new.fingerprint.is_none_or(|stored| Some(stored) == old.fingerprint || passed.contains(&stored));
            return if ours && known.needs_login.is_none() { Self::Behind } else { Self::Renumber };
        }
        let noted = |record: &Record| (record.needs_login.clone(), record.taken.clone(), record.binding.clone());
        // An intent is no note: a peer's call is in flight, and its outcome is what counts.
        if new != old || noted(stored) != noted(known) { Self::Changed } else { Self::None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::store::{Binding, Intent};
    use crate::token::{Generation, RefreshToken};

    fn token(text: &str) -> RefreshToken {
        RefreshToken::parse(text).unwrap()
    }

    fn record(generation: u64, refresh: &str) -> Record {
        let binding = Binding { token_url: "t".into(), client_id: "c".into(), upstream_origin: "u".into() };
        Record { generation: Generation(generation), refresh: Some(token(refresh)), ..Record::empty(binding) }
    }

    #[test]
    fn the_store_is_the_truth_but_where_it_fell_behind_or_counts_anew() {
        let passed = ["a", "b"].map(|text| token(text).fingerprint());
        let known = record(3, "c");
        let dead = |record: Record| Record { needs_login: Some("refused".into()), ..record };
        let intent = Intent {
            owner: "peer".into(),
            at: jiff::Timestamp::UNIX_EPOCH,
            fingerprint: token("c").fingerprint(),
            presented: 1,
        };
        let bare = Record { refresh: None, ..record(2, "c") };
        let rows = [
            ("nothing ever", None, None, News::None),
            ("at the start", Some(record(3, "c")), None, News::Renewed),
            ("as known", Some(record(3, "c")), Some(known.clone()), News::None),
            ("a peer calls", Some(Record { intent: Some(intent), ..known.clone() }), Some(known.clone()), News::None),
            ("a peer's refresh", Some(record(4, "d")), Some(known.clone()), News::Renewed),
            ("a bare import", Some(record(3, "x")), Some(known.clone()), News::Changed),
            ("a peer was refused", Some(dead(known.clone())), Some(known.clone()), News::Changed),
            ("the same one imported again", Some(known.clone()), Some(dead(known.clone())), News::Changed),
            ("a deleted file", None, Some(known.clone()), News::Behind),
            ("a deleted file of a grant that is over", None, Some(dead(known.clone())), News::Behind),
            ("a backup", Some(record(1, "a")), Some(known.clone()), News::Behind),
            ("a lagging replica", Some(record(2, "b")), Some(known.clone()), News::Behind),
            ("a server that keeps its refresh token", Some(record(2, "c")), Some(known.clone()), News::Behind),
            ("no refresh token", Some(bare), Some(known.clone()), News::Behind),
            ("an import over a damaged file", Some(record(1, "x")), Some(known.clone()), News::Renumber),
            ("a known one imported over a grant that is over", Some(record(0, "c")), Some(dead(known)), News::Renumber),
        ];
        for (what, stored, known, expected) in rows {
            assert_eq!(News::of(stored.as_ref(), known.as_ref(), &passed), expected, "{what}");
        }
    }
}
