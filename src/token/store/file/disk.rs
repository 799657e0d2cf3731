//! Reads and replaces the document. A crash, a full disk or a power failure at any step leaves the old or the new content.

use std::fs::{File, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use jiff::Timestamp;
use rustix::fs::fstat;
use zeroize::Zeroizing;

use super::state_dir::{Access, DOCUMENT, Dir};
use crate::fault;
use crate::token::store::StoreError;

/// The next document, before it is renamed.
pub(super) const TEMPORARY: &str = ".tmp";

/// Far more than a grant document needs. A larger file is something else.
const LARGEST: u64 = 1024 * 1024;

/// The content of a file of the store. `None`: the file does not exist. A missing directory is an error, because the grant may be
/// on a disk that is not mounted.
pub(super) fn read(dir: &Dir<'_>, suffix: &str) -> Result<Option<Zeroizing<Vec<u8>>>, StoreError> {
    let failed = |error| dir.unavailable("read", suffix, &error);
    let Some(file) = dir.open(suffix, Access::Read).map_err(failed)? else { return Ok(None) };
    contents(dir, suffix, &file).map(Some)
}

/// The content of an open file with this name. First removes the permissions of other users.
pub(super) fn contents(dir: &Dir<'_>, suffix: &str, file: &File) -> Result<Zeroizing<Vec<u8>>, StoreError> {
    tighten(dir, suffix, file).map_err(|error| dir.unavailable("read", suffix, &error))?;
    read_all(dir, suffix, file)
}

/// The content of a file whose mode stays as it is. `None`: the file does not exist.
pub(super) fn look(dir: &Dir<'_>, suffix: &str) -> Result<Option<Zeroizing<Vec<u8>>>, StoreError> {
    let file = dir.open(suffix, Access::Read).map_err(|error| dir.unavailable("read", suffix, &error))?;
    file.map(|file| read_all(dir, suffix, &file)).transpose()
}

fn read_all(dir: &Dir<'_>, suffix: &str, file: &File) -> Result<Zeroizing<Vec<u8>>, StoreError> {
    let failed = |error| dir.unavailable("read", suffix, &error);
    let mut bytes = Zeroizing::new(Vec::with_capacity(16 * 1024));
    file.take(LARGEST + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > LARGEST {
        return Err(StoreError::Damaged(format!(
            "{} is larger than any grant document; it stays as it is; does store.path name the right file?",
            dir.path(suffix).display()
        )));
    }
    Ok(bytes)
}

/// Replaces the document durably.
pub(super) fn replace(dir: &Dir<'_>, bytes: &[u8]) -> Result<(), StoreError> {
    let failed = |error| dir.unavailable("write", DOCUMENT, &error);
    // All attempts use one name, so the next attempt overwrites what a crash left. If a crash left the result of a token call, the
    // transaction has adopted it at its beginning. The lock of the transaction excludes a second writer.
    dir.remove_leftover(TEMPORARY).map_err(failed)?;
    let written = create(dir, TEMPORARY, bytes).and_then(|()| dir.rename(TEMPORARY, DOCUMENT));
    written.map_err(failed)?;
    fault::point("renamed");
    sync_directory(dir)
}

/// Flushes the document and its directory to the disk.
pub(super) fn sync(dir: &Dir<'_>) -> Result<(), StoreError> {
    let flushed = match dir.open(DOCUMENT, Access::Read) {
        Ok(Some(file)) => file.sync_all(),
        Ok(None) => Err(io::ErrorKind::NotFound.into()),
        Err(error) => Err(error),
    };
    flushed.map_err(|error| dir.unavailable("flush", DOCUMENT, &error))?;
    sync_directory(dir)
}

/// Keeps a copy of a document that can't be read, unless a copy with that content exists. A file that this program can't have made
/// is not copied, because only this process may be allowed to read it.
pub(super) fn keep_aside(dir: &Dir<'_>, bytes: &[u8]) -> Result<PathBuf, StoreError> {
    const COPY: &str = ".damaged-";
    let failed = |error| dir.unavailable("keep a copy of", DOCUMENT, &error);
    if dir.stat(DOCUMENT).map_err(failed)?.is_none_or(|stat| !dir.is_ours(&stat)) {
        return Err(failed(io::Error::other("this program did not make it: it has another owner, or is a hard link")));
    }
    for suffix in dir.suffixes(COPY).map_err(failed)? {
        if matches!(read(dir, &suffix), Ok(Some(kept)) if kept.as_slice() == bytes) {
            return Ok(dir.path(&suffix));
        }
    }
    let suffix = format!("{COPY}{}", Timestamp::now().strftime("%Y%m%dT%H%M%S.%3fZ"));
    create(dir, &suffix, bytes).map_err(failed)?;
    sync_directory(dir)?;
    let (path, copy) = (dir.path(DOCUMENT), dir.path(&suffix));
    tracing::error!(
        check = "store-damaged",
        path = %path.display(),
        copy = %copy.display(),
        "the stored grant is damaged; a copy was kept"
    );
    Ok(copy)
}

/// Leaves no file behind if it fails.
fn create(dir: &Dir<'_>, suffix: &str, bytes: &[u8]) -> io::Result<()> {
    let file = dir.create(suffix)?;
    write(&file, bytes).inspect_err(|_| {
        let _ = dir.remove(suffix);
    })
}

fn write(mut file: &File, bytes: &[u8]) -> io::Result<()> {
    fault::disk("write")?;
    file.write_all(bytes)?;
    fault::point("written");
    fault::disk("flush")?;
    file.sync_all()?;
    fault::point("flushed");
    Ok(())
}

pub(super) fn sync_directory(dir: &Dir<'_>) -> Result<(), StoreError> {
    let flushed = fault::disk("flush folder").and_then(|()| dir.sync());
    flushed.map_err(|error| dir.unavailable("flush", DOCUMENT, &error))
}

/// Removes the permissions of other users, by the descriptor, if the document is this program's own.
fn tighten(dir: &Dir<'_>, suffix: &str, file: &File) -> io::Result<()> {
    let stat = fstat(file)?;
    if stat.st_mode & 0o077 == 0 {
        return Ok(());
    }
    let path = dir.path(suffix);
    let path = path.display();
    let tightened = if dir.is_ours(&stat) {
        file.set_permissions(Permissions::from_mode(0o600))
    } else {
        Err(io::Error::other("this program did not make it"))
    };
    match tightened {
        Ok(()) => tracing::warn!(%path, "others could read the stored grant; its mode is now 0600"),
        Err(error) => tracing::warn!(%path, %error, "others can read the stored grant, and its mode can't be changed"),
    }
    Ok(())
}
