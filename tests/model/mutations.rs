//! Mistakes in the protocol, and the invariant that detects each.

use bearer_proxy::internals::config::AmbiguousRetry::{self, Once, UntilClear};

use crate::invariants::Invariant::{self, *};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutation {
    NoIntent,
    /// A process that has lost the lease writes an intent.
    AnIntentIsNotFenced,
    /// A process ignores the intent that it finds.
    AnIntentCountsAnew,
    /// A clear response is taken as a response to earlier calls too.
    AClearAnswerForgetsEarlierCalls,
    /// The process presents what it knows, and not what the store holds.
    NoLoadUnderTheLease,
    /// The call is made after any delay.
    NoSendBy,
    TheLeaseIsShorterThanTheCall,
    /// Whoever has the lease by now loses it too.
    TheReleaseIsNotFenced,
    ADeadHoldersLeaseNeverEnds,
    /// A late result is dropped.
    ACommitNeedsTheLease,
    /// A new pair that a killed process wrote and did not rename is removed by the next write.
    TheTemporaryDocumentIsThrownAway,
    ACommitDoesNotCompare,
    /// All writes compare the generation, and neither the lineage nor the refresh token.
    GenerationsAloneAreCompared,
    ARefusalDoesNotCompare,
    AnImportDoesNotCompare,
    /// The commit failed: the pair is dropped.
    AFailedCommitIsNotTriedAgain,
    /// A rotation begins while a pair is unpersisted, with what the store holds.
    AnUnstoredPairIsForgottenByTheNextRotation,
    /// The refresher's task died, and its next start begins with what the store holds.
    ARestartedRefresherForgetsWhatItHolds,
    /// The task of a rotation died, and the answer with it.
    ADeadRotationTakesItsAnswerAlong,
    PublishedBeforeTheCommit,
    AnUnclearAnswerIsTakenForANo,
    /// A successor in an otherwise invalid response is dropped.
    ASuccessorFromAnOddAnswerIsDropped,
    /// The kernel delivers the bytes of an abandoned call, or of a killed process.
    AnAbandonedCallIsNotReset,
    /// A grant gets another number while a peer is presenting it.
    ARenumberingNeedsNoLease,
    /// What was presented is stored under another number by now: the answer is taken for superseded.
    ARenumberedTokenIsAnother,
    /// An older state of the grant is adopted, as if a person had supplied it.
    ASetBackStoreIsTakenForANewGrant,
    /// What is stored and what is known are compared as if they were of one lineage.
    GenerationsAloneAreReconciled,
    /// An answer finds an older state than what was presented, and is dropped.
    AnAnswerIsLostWhereTheStoreWasSetBack,
}

// === impl Mutation ===

impl Mutation {
    pub fn is_about_a_store_that_is_set_back(self) -> bool {
        matches!(
            self,
            Self::ASetBackStoreIsTakenForANewGrant
                | Self::GenerationsAloneAreReconciled
                | Self::AnAnswerIsLostWhereTheStoreWasSetBack
        )
    }
}

/// The mutations, their policies, and the invariants that detect them. A mutation without a row is a compiler warning.
pub const TABLE: &[(Mutation, AmbiguousRetry, Invariant)] = &[
    (Mutation::NoIntent, UntilClear, Announced),
    (Mutation::AnIntentIsNotFenced, UntilClear, Counted),
    (Mutation::AnIntentCountsAnew, Once, Announced),
    (Mutation::AClearAnswerForgetsEarlierCalls, UntilClear, Counted),
    (Mutation::NoLoadUnderTheLease, UntilClear, Announced),
    (Mutation::NoSendBy, UntilClear, SpentIsSpent),
    (Mutation::TheLeaseIsShorterThanTheCall, UntilClear, OneAtATime),
    (Mutation::TheReleaseIsNotFenced, UntilClear, OneAtATime),
    (Mutation::ADeadHoldersLeaseNeverEnds, UntilClear, ProgressIsMade),
    (Mutation::ACommitNeedsTheLease, UntilClear, NothingIsLost),
    (Mutation::TheTemporaryDocumentIsThrownAway, UntilClear, NothingIsLost),
    (Mutation::ACommitDoesNotCompare, UntilClear, NeverBack),
    (Mutation::GenerationsAloneAreCompared, UntilClear, NeverBack),
    (Mutation::ARefusalDoesNotCompare, UntilClear, NeverBack),
    (Mutation::AnImportDoesNotCompare, UntilClear, NeverBack),
    (Mutation::AFailedCommitIsNotTriedAgain, UntilClear, NothingIsLost),
    (Mutation::AnUnstoredPairIsForgottenByTheNextRotation, UntilClear, SpentIsSpent),
    (Mutation::ARestartedRefresherForgetsWhatItHolds, UntilClear, NothingIsLost),
    (Mutation::ADeadRotationTakesItsAnswerAlong, UntilClear, NothingIsLost),
    (Mutation::PublishedBeforeTheCommit, UntilClear, StoredBeforeUsed),
    (Mutation::AnUnclearAnswerIsTakenForANo, UntilClear, OverIsOver),
    (Mutation::ASuccessorFromAnOddAnswerIsDropped, UntilClear, NothingIsLost),
    (Mutation::AnAbandonedCallIsNotReset, UntilClear, SpentIsSpent),
    (Mutation::ARenumberingNeedsNoLease, UntilClear, Counted),
    (Mutation::ARenumberedTokenIsAnother, UntilClear, NothingIsLost),
    (Mutation::ASetBackStoreIsTakenForANewGrant, UntilClear, NothingIsLost),
    (Mutation::GenerationsAloneAreReconciled, UntilClear, NeverBack),
    (Mutation::AnAnswerIsLostWhereTheStoreWasSetBack, UntilClear, NothingIsLost),
];
