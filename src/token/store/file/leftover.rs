//! The temporary document that a killed process left behind.
//!
//! A process that dies between writing the result of a token call and the rename leaves the only live refresh token in the
//! temporary document. The next process that takes the lock of the store completes that write. Under the lock, no live process is
//! between these two steps. Every write removes the temporary document.

use std::fs::File;
use std::io;

use rustix::fs::fstat;
use zeroize::Zeroizing;

use super::disk::{self, TEMPORARY};
use super::state_dir::{Access, DOCUMENT, Dir};
use super::transaction::Transaction;
use crate::fault;
use crate::token::store::document::{Unreadable, decode_any};
use crate::token::store::{Candidate, Record, Sealer, StoreError};
use crate::token::{RefreshOutcome, RefreshToken};

/// A temporary document: the open file and its content.
type Opened = (File, Zeroizing<Vec<u8>>);

/// Whether a temporary document exists that this program can have written.
pub(super) fn exists(dir: &Dir<'_>) -> Result<bool, StoreError> {
    let stat = dir.stat(TEMPORARY).map_err(|error| dir.unavailable("look at", TEMPORARY, &error))?;
    Ok(stat.is_some_and(|stat| dir.is_ours(&stat)))
}

/// Renames a complete temporary document, if it holds the result of the call that the document announces. The next write removes any
/// other temporary document.
pub(super) fn complete(dir: &Dir<'_>, _: &Transaction, sealer: &Sealer) -> Result<(), StoreError> {
    if !exists(dir)? {
        return Ok(());
    }
    // The caller reports an unreadable document.
    let Ok(Some(bytes)) = disk::read(dir, DOCUMENT) else { return Ok(()) };
    let Ok((document, form)) = decode_any(&bytes, sealer) else { return Ok(()) };
    if !announces_a_call(&document) {
        return Ok(());
    }
    let Some((file, bytes)) = read(dir)? else { return Ok(()) };
    let temporary = match decode_any(&bytes, sealer) {
        // If the document is encrypted, a plaintext temporary document is not trusted.
        Ok((temporary, temporary_form)) if temporary_form == form => temporary,
        // It may hold the live grant, readable with another key or another version, so it must not be removed.
        Err(unreadable @ (Unreadable::Newer(_) | Unreadable::WrongKey(_))) => {
            return Err(unreadable.at(&dir.path(TEMPORARY).display().to_string()));
        }
        Ok(_) | Err(Unreadable::Damaged(_) | Unreadable::Plaintext | Unreadable::OtherName) => return Ok(()),
    };
    if !adopts(&document, &temporary) {
        return Ok(());
    }
    put_in_place(dir, &file)?;
    tracing::warn!(
        path = %dir.path(DOCUMENT).display(),
        generation = temporary.generation.0,
        "a process ended before it had stored a new grant: the grant was complete in the temporary file, and is stored now"
    );
    fault::point("adopted");
    Ok(())
}

/// Whether `temporary` is the result of a call that `document` announces. Pure.
///
/// A result with a refresh token has the next generation and no intent. The document says which token was presented: that of the
/// grant, a candidate, or the initial token.
fn adopts(document: &Record, temporary: &Record) -> bool {
    let is_an_answer = Some(temporary.generation.0) == document.generation.0.checked_add(1)
        && temporary.refresh.is_some()
        && temporary.intent.is_none()
        && temporary.needs_login.is_none();
    let follows = || {
        rotates(document, temporary) || accepts_candidate(document, temporary) || accepts_initial(document, temporary)
    };
    is_an_answer && follows()
}

fn announces_a_call(document: &Record) -> bool {
    document.intent.is_some() || document.candidate.as_ref().is_some_and(|candidate| candidate.intent.is_some())
}

/// The refresh token of the grant was presented.
fn rotates(document: &Record, temporary: &Record) -> bool {
    let own = document.refresh.as_ref().map(RefreshToken::fingerprint);
    own.is_some()
        && document.intent.as_ref().map(|intent| intent.fingerprint) == own
        && temporary.lineage == document.lineage
        && temporary.binding == document.binding
}

/// The candidate was presented and is now the grant.
fn accepts_candidate(document: &Record, temporary: &Record) -> bool {
    let (Some(candidate), Some(settled)) = (&document.candidate, &temporary.candidate) else { return false };
    let accepted = |candidate: &Candidate| {
        candidate.token.is_none()
            && candidate.result.as_ref().is_some_and(|result| result.outcome == RefreshOutcome::Ok)
    };
    candidate.token.is_some()
        && candidate.intent.as_ref().is_some_and(|intent| intent.fingerprint == candidate.fingerprint)
        && settled.fingerprint == candidate.fingerprint
        && accepted(settled)
        && temporary.binding == candidate.binding
        && replaces(temporary, document)
}

/// The initial token was presented and is now marked as tried.
fn accepts_initial(document: &Record, temporary: &Record) -> bool {
    document.intent.as_ref().is_some_and(|intent| {
        !document.tried_initial.contains(&intent.fingerprint) && temporary.tried_initial.contains(&intent.fingerprint)
    }) && replaces(temporary, document)
}

fn replaces(newer: &Record, older: &Record) -> bool {
    newer.lineage != older.lineage && newer.replaced.contains(&older.lineage)
}

/// `None`: it does not exist, this program did not make it, or it is too large.
fn read(dir: &Dir<'_>) -> Result<Option<Opened>, StoreError> {
    let failed = |error| dir.unavailable("read", TEMPORARY, &error);
    let Some(file) = dir.open(TEMPORARY, Access::Read).map_err(failed)? else { return Ok(None) };
    if !dir.is_ours(&fstat(&file).map_err(|error| failed(error.into()))?) {
        return Ok(None);
    }
    match disk::contents(dir, TEMPORARY, &file) {
        Ok(bytes) => Ok(Some((file, bytes))),
        Err(StoreError::Damaged(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Flushes the file, because the killed process may not have done so.
fn put_in_place(dir: &Dir<'_>, file: &File) -> Result<(), StoreError> {
    let renamed = (|| {
        file.sync_all()?;
        fault::point("adopting");
        let read = fstat(file)?;
        let named = dir.stat(TEMPORARY)?;
        if named.is_none_or(|named| (named.st_dev, named.st_ino) != (read.st_dev, read.st_ino)) {
            return Err(io::Error::other("another file was put in its place"));
        }
        dir.rename(TEMPORARY, DOCUMENT)
    })();
    renamed.map_err(|error| dir.unavailable("adopt", TEMPORARY, &error))?;
    disk::sync_directory(dir)
}

#[cfg(test)]
mod tests;
