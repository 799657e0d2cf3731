//! Reading and replacing a file so that a crash, a full disk or a power cut at any step leaves the old content or the new one.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use zeroize::Zeroizing;

use crate::fault;
use crate::token::store::StoreError;

/// Far more than a grant document needs: something else lies there.
const LARGEST: u64 = 1024 * 1024;

/// The document's own path: links are followed here and once, since a rename would replace a link by a file.
pub(super) fn resolve(path: &Path) -> Result<PathBuf, StoreError> {
    if let Ok(resolved) = fs::canonicalize(path) {
        return Ok(resolved);
    }
    let name = path
        .file_name()
        .ok_or_else(|| StoreError::Unavailable(format!("store.path: {} names no file", path.display())))?;
    let folder = folder(path);
    match fs::canonicalize(folder) {
        Ok(resolved) if resolved.is_dir() => Ok(resolved.join(name)),
        Ok(_) => Err(StoreError::Unavailable(format!("store.path: {} is no folder", folder.display()))),
        Err(error) => Err(unavailable("open", path, &error)),
    }
}

/// `grant.json` and `.lock` make `grant.json.lock`.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(suffix);
    path.with_file_name(name)
}

/// `None`: there is none. A folder that is gone is an error instead: the grant may be on a disk that is not mounted.
pub(super) fn read(path: &Path) -> Result<Option<Zeroizing<Vec<u8>>>, StoreError> {
    let failed = |error| unavailable("read", path, &error);
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound && folder(path).is_dir() => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    // Looked at before it is opened: to open a pipe is to wait for its other end.
    if !metadata.is_file() {
        return Err(StoreError::Unavailable(format!("store.path: {} is not a file", path.display())));
    }
    let file = File::open(path).map_err(failed)?;
    if metadata.permissions().mode() & 0o077 != 0 {
        tighten(&file, path);
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(16 * 1024));
    file.take(LARGEST + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > LARGEST {
        return Err(StoreError::Damaged(format!(
            "{} is larger than any grant document; it stays as it is; does store.path name the right file?",
            path.display()
        )));
    }
    Ok(Some(bytes))
}

/// Puts these bytes in the file's place, durably.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let failed = |error| unavailable("write", path, &error);
    // One name for all attempts, so that what a crash leaves behind is overwritten by the next; the transaction's lock keeps
    // two writers apart. Removed first, and opened only if it is then new: never through a link.
    let temporary = beside(path, ".tmp");
    remove(&temporary).map_err(failed)?;
    let written = create(&temporary, path, bytes).and_then(|()| fs::rename(&temporary, path));
    if let Err(error) = written {
        let _ = remove(&temporary);
        return Err(failed(error));
    }
    fault::point("renamed");
    sync_folder(path)
}

/// Makes certain that the file is on the disk, and its name too.
pub(super) fn sync(path: &Path) -> Result<(), StoreError> {
    File::open(path).and_then(|file| file.sync_all()).map_err(|error| unavailable("flush", path, &error))?;
    sync_folder(path)
}

/// Keeps a copy of what can't be read, once: a copy with the same content is enough.
pub(super) fn keep_aside(path: &Path, bytes: &[u8]) -> Result<PathBuf, StoreError> {
    let prefix = beside(path, ".damaged-");
    let failed = |error| unavailable("keep a copy of", path, &error);
    let copies = fs::read_dir(folder(path)).map_err(failed)?.filter_map(|entry| Some(entry.ok()?.path()));
    let prefix_name = prefix.file_name().unwrap_or_default().as_encoded_bytes();
    for copy in copies.filter(|copy| copy.file_name().is_some_and(|name| starts_with(name, prefix_name))) {
        if fs::metadata(&copy).is_ok_and(|metadata| metadata.is_file() && metadata.len() == bytes.len() as u64)
            && fs::read(&copy).map(Zeroizing::new).is_ok_and(|kept| kept.as_slice() == bytes)
        {
            return Ok(copy);
        }
    }
    let copy = beside(path, &format!(".damaged-{}", Timestamp::now().strftime("%Y%m%dT%H%M%S.%3fZ")));
    create(&copy, path, bytes)
        .inspect_err(|_| {
            let _ = remove(&copy);
        })
        .map_err(failed)?;
    sync_folder(path)?;
    tracing::error!(path = %path.display(), copy = %copy.display(), "the stored grant is damaged; a copy was kept");
    Ok(copy)
}

pub(super) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// A file that root makes, in an `import` beside a service that is not root, must be the service's: it goes to the owner of
/// the document, or of the folder. What fails here shows when the service opens the file, and says so then.
pub(super) fn give_to_owner(file: &File, document: &Path) {
    if rustix::process::geteuid().is_root()
        && let Ok(owner) = fs::metadata(document).or_else(|_| fs::metadata(folder(document)))
    {
        let _ = fchown(file, Some(owner.uid()), Some(owner.gid()));
    }
}

/// What failed on which file, and what a person can do about it.
pub(super) fn unavailable(action: &str, path: &Path, error: &io::Error) -> StoreError {
    let mend = match error.kind() {
        io::ErrorKind::NotFound => {
            format!("; make the folder: install -d -m 0700 {}", folder(path).display())
        }
        io::ErrorKind::PermissionDenied => {
            let owner = fs::metadata(path).or_else(|_| fs::metadata(folder(path))).map(|metadata| metadata.uid());
            let owner = owner.map_or_else(|_| "somebody else".to_owned(), |uid| format!("uid {uid}"));
            format!(
                "; it belongs to {owner} and this process is uid {}: chown the folder {} and what is in it",
                rustix::process::geteuid().as_raw(),
                folder(path).display()
            )
        }
        io::ErrorKind::ReadOnlyFilesystem => "; store.path needs a folder that can be written".to_owned(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "; free some space".to_owned(),
        _ => String::new(),
    };
    StoreError::Unavailable(format!("could not {action} {}: {error}{mend}", path.display()))
}

fn create(path: &Path, document: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    give_to_owner(&file, document);
    fault::disk("write")?;
    file.write_all(bytes)?;
    fault::point("written");
    fault::disk("flush")?;
    file.sync_all()?;
    fault::point("flushed");
    Ok(())
}

/// A rename is on the disk when its folder is.
fn sync_folder(path: &Path) -> Result<(), StoreError> {
    let folder = folder(path);
    let flushed = fault::disk("flush folder").and_then(|()| File::open(folder)?.sync_all());
    flushed.map_err(|error| unavailable("flush", folder, &error))
}

fn tighten(file: &File, path: &Path) {
    let path = path.display();
    match file.set_permissions(fs::Permissions::from_mode(0o600)) {
        Ok(()) => tracing::warn!(%path, "others could read the stored grant; its mode is now 0600"),
        Err(error) => tracing::warn!(%path, %error, "others can read the stored grant, and its mode can't be changed"),
    }
}

fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    }
}

fn starts_with(name: &OsStr, prefix: &[u8]) -> bool {
    name.as_encoded_bytes().starts_with(prefix)
}
