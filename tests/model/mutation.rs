//! Changes to the protocol that must be found out, and some that turn out to do no harm.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutation {
    // --- before the call ---
    /// Presents however little is left of the lease, or nothing.
    RemainingLeaseNotChecked,
    /// A lease that ends while its call may still be under way.
    LeaseShorterThanCall,
    /// Nobody asks for the lease.
    NoLease,
    /// The intent is written by whoever had the lease once.
    IntentNotFenced,
    /// The call is made first.
    NoIntent,
    /// Goes by what the process knows, and does not load what is stored.
    NotReloaded,
    /// Presents what the store holds while the successor waits to be stored.
    PresentsWhileUnpersisted,
    /// Announces the configuration's first token over an intent for the stored one, and the other way round.
    FirstBeforeUnclear,
    // --- the commit ---
    /// Only by the present holder of the lease.
    CommitFenced,
    /// Compares the generation alone.
    CommitComparesGeneration,
    /// Compares the refresh token alone.
    CommitComparesToken,
    /// Compares nothing.
    CommitComparesNothing,
    /// Does not take a refusal back that was noted meanwhile.
    CommitKeepsNeedsLogin,
    /// Requests run on the new token before it is stored.
    PublishedBeforeCommit,
    /// A commit that failed is not tried again.
    UnpersistedForgotten,
    // --- a failure ---
    /// An unclear outcome leaves no intent.
    AmbiguousClearsIntent,
    /// A clear "not now" leaves no intent, also where an earlier presentation was unclear.
    TransientClearsIntent,
    /// An unclear outcome is taken for a refusal.
    AmbiguousIsRefusal,
    /// What did not end a grant is noted by whoever had the lease once.
    NoteNotFenced,
    /// A refusal is noted whatever the store holds.
    RefusalComparesNothing,
    // --- the refresher ---
    /// Goes on with what a rotation ended with, whatever the store has shown meanwhile.
    RotationGoesBack,
    /// Begins nothing where `oauth.ambiguous_retry` forbids to present, not even to say so.
    ExhaustionNotNoted,
    /// Passes over a stored record that differs in its intent alone.
    IntentNotNoticed,
    /// A look at the store that failed is not made again.
    MissedLookForgotten,
    /// Keeps the access token as long as the generation is the same.
    SameGenerationKeepsToken,
    // --- an import ---
    ImportComparesNothing,
    ImportBeginsAnew,
    // --- without harm ---
    /// A refusal is noted by the present holder alone: the next one presents the dead token once more, and is told the same.
    RefusalFenced,
    /// An import does not ask for the lease: compare-and-set suffices, and the lease only spares a pair that is thrown away.
    ImportWithoutLease,
    /// The lease is never given back: others wait for its end.
    NotReleased,
}
