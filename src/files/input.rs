//! Reads the files that the configuration names. They may be links, as Kubernetes mounts them, but must lead to regular files.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, openat, stat};
use rustix::io::Errno;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use zeroize::Zeroizing;

/// No configuration and no secret is this large. The limit detects a wrong path before it fills the memory.
const MAX_TEXT: u64 = 1 << 20;
/// The bundle of all public roots is a quarter of a MiB.
const MAX_PEM: u64 = 16 << 20;
/// Time limit for a stream to end, because an operator waits for the program to start.
const STREAM_LIMIT: Duration = Duration::from_secs(10);
const OTHERS_MAY_READ: u32 = 0o004;

/// The text of a configuration or of a secret.
///
/// # Errors
/// It is not a regular file, cannot be read, is too large, or is not UTF-8.
pub fn read_text(path: &Path) -> io::Result<Zeroizing<String>> {
    let mut bytes = read(path, MAX_TEXT)?;
    let bytes = std::mem::take(&mut *bytes);
    String::from_utf8(bytes).map(Zeroizing::new).map_err(|error| {
        drop(Zeroizing::new(error.into_bytes()));
        io::Error::new(io::ErrorKind::InvalidData, "stream did not contain valid UTF-8")
    })
}

/// All certificates of a PEM file, which may hold none.
///
/// # Errors
/// The file cannot be read or is not PEM. The error's own text may quote the file.
pub fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, pem::Error> {
    let bytes = read(path, MAX_PEM).map_err(pem::Error::Io)?;
    CertificateDer::pem_slice_iter(&bytes).collect()
}

/// The first private key of a PEM file.
///
/// # Errors
/// The file cannot be read, is not PEM or holds no key. The error's own text may quote the file.
pub fn read_private_key(path: &Path) -> Result<PrivateKeyDer<'static>, pem::Error> {
    let bytes = read(path, MAX_PEM).map_err(pem::Error::Io)?;
    PrivateKeyDer::from_pem_slice(&bytes)
}

/// The mode of a regular file that every user of the machine may read. `None`: any other file.
pub fn mode_if_world_readable(path: &Path) -> Option<u32> {
    let stat = stat(path).ok()?;
    let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
    (is_file && stat.st_mode & OTHERS_MAY_READ != 0).then_some(stat.st_mode & 0o7777)
}

fn read(path: &Path, limit: u64) -> io::Result<Zeroizing<Vec<u8>>> {
    read_within(path, limit, STREAM_LIMIT)
}

fn read_within(path: &Path, limit: u64, time: Duration) -> io::Result<Zeroizing<Vec<u8>>> {
    let may_be_stream = is_stream(path);
    if !may_be_stream {
        // Check before the open, because opening a device may already have an effect.
        must_be_a_file(stat(path)?.st_mode)?;
    }
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = File::from(openat(CWD, path, flags, Mode::empty())?);
    let found = fstat(&file)?;
    let is_file = FileType::from_raw_mode(found.st_mode) == FileType::RegularFile;
    if !may_be_stream {
        must_be_a_file(found.st_mode)?;
    }
    // Reserve room for the whole file: a growing buffer leaves copies that are not zeroed.
    let room = if is_file { u64::try_from(found.st_size).unwrap_or_default().min(limit) } else { limit };
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(room + 1).unwrap_or_default()));
    if is_file {
        file.take(limit + 1).read_to_end(&mut bytes)?;
    } else {
        read_stream(&file, limit, Instant::now() + time, &mut bytes)?;
    }
    if bytes.len() as u64 > limit {
        let text = format!("it is larger than {} MiB", limit >> 20);
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, text));
    }
    Ok(bytes)
}

/// Whether the path is a descriptor that the process has inherited. It may be a pipe: `--config <(…)` is `/dev/fd/63`.
fn is_stream(path: &Path) -> bool {
    let folder = path.parent().and_then(Path::to_str);
    path == Path::new("/dev/stdin") || matches!(folder, Some("/dev/fd" | "/proc/self/fd"))
}

fn must_be_a_file(mode: u32) -> io::Result<()> {
    let what = match FileType::from_raw_mode(mode) {
        FileType::RegularFile => return Ok(()),
        FileType::Directory => return Err(Errno::ISDIR.into()),
        FileType::Fifo => "a named pipe",
        FileType::Socket => "a socket",
        _ => "a device",
    };
    let text = format!("it is {what}, not a regular file; only /dev/stdin and /dev/fd/N may be something else");
    Err(io::Error::new(io::ErrorKind::InvalidInput, text))
}

fn read_stream(mut file: &File, limit: u64, until: Instant, bytes: &mut Vec<u8>) -> io::Result<()> {
    let mut chunk = Zeroizing::new([0; 16 * 1024]);
    while bytes.len() as u64 <= limit {
        match file.read(&mut *chunk) {
            Ok(0) => return Ok(()),
            Ok(count) => bytes.extend(chunk.iter().take(count)),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => wait(file, until)?,
            Err(error) => return Err(error),
        }
        if Instant::now() >= until {
            return Err(too_slow());
        }
    }
    Ok(())
}

fn wait(file: &File, until: Instant) -> io::Result<()> {
    let left = Timespec::try_from(until.saturating_duration_since(Instant::now())).map_err(io::Error::other)?;
    match poll(&mut [PollFd::from_borrowed_fd(file.as_fd(), PollFlags::IN)], Some(&left)) {
        Ok(0) => Err(too_slow()),
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn too_slow() -> io::Error {
    let text = format!("it did not end within {STREAM_LIMIT:?}: its writer must close it");
    io::Error::new(io::ErrorKind::TimedOut, text)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;
    use std::os::fd::AsRawFd;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::process::Command;

    use super::*;

    const SHORT: Duration = Duration::from_millis(50);

    /// The path by which this process reaches an open file.
    fn given(file: &impl AsRawFd) -> std::path::PathBuf {
        format!("/dev/fd/{}", file.as_raw_fd()).into()
    }

    #[test]
    fn a_file_is_read_through_links_as_kubernetes_makes_them() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("..2026_01")).unwrap();
        fs::write(folder.path().join("..2026_01/secret"), "s3cret\n").unwrap();
        symlink("..2026_01", folder.path().join("..data")).unwrap();
        symlink("..data/secret", folder.path().join("secret")).unwrap();
        assert_eq!(*read_text(&folder.path().join("secret")).unwrap(), "s3cret\n");
    }

    #[test]
    fn what_is_no_file_is_refused_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let error = |path: &Path| read_text(path).unwrap_err().to_string();
        assert!(error(&pipe).contains("a named pipe, not a regular file"), "{}", error(&pipe));
        symlink(&pipe, folder.path().join("link")).unwrap();
        assert!(error(&folder.path().join("link")).contains("a named pipe"));
        assert!(error(Path::new("/dev/zero")).contains("a device, not a regular file"));
        assert!(error(folder.path()).contains("Is a directory"));
    }

    #[test]
    fn a_text_that_is_too_large_or_no_text_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, vec![b' '; (1 << 20) + 1]).unwrap();
        assert!(read_text(&path).unwrap_err().to_string().contains("larger than 1 MiB"));
        fs::write(&path, b"s3cret\xff").unwrap();
        assert_eq!(read_text(&path).unwrap_err().to_string(), "stream did not contain valid UTF-8");
    }

    #[test]
    fn a_pipe_that_was_given_open_is_read_to_its_end_and_not_longer_than_the_limit() {
        let (reader, mut writer) = io::pipe().unwrap();
        writer.write_all(b"s3cret").unwrap();
        let error = read_within(&given(&reader), MAX_TEXT, SHORT).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        writer.write_all(b"s3cret").unwrap();
        drop(writer);
        assert_eq!(*read_text(&given(&reader)).unwrap(), "s3cret");
    }

    #[test]
    fn only_a_file_that_all_may_read_is_warned_of() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "").unwrap();
        for (mode, warned) in [(0o600, None), (0o640, None), (0o644, Some(0o644)), (0o604, Some(0o604))] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(mode_if_world_readable(&path), warned, "{mode:o}");
        }
        assert_eq!(mode_if_world_readable(Path::new("/dev/null")), None);
    }
}
