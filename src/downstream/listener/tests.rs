use std::net::TcpStream;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, lchown, symlink};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

fn socket_in(folder: &tempfile::TempDir) -> ListenAddress {
    ListenAddress::Unix(folder.path().join("proxy.sock"))
}

fn path(address: &ListenAddress) -> &Path {
    match address {
        ListenAddress::Unix(path) => path,
        ListenAddress::Tcp(_) => panic!("not a unix address"),
    }
}

#[test]
fn port_zero_becomes_the_chosen_port() {
    let listener = Listener::bind(&ListenAddress::Tcp("127.0.0.1:0".parse().unwrap()), 0).unwrap();
    let ListenAddress::Tcp(addr) = listener.address() else { panic!() };
    assert_ne!(addr.port(), 0);
    assert!(TcpStream::connect(addr).is_ok());
}

#[test]
fn an_address_in_use_is_named_with_the_mend() {
    let first = Listener::bind(&ListenAddress::Tcp("127.0.0.1:0".parse().unwrap()), 0).unwrap();
    let error = Listener::bind(first.address(), 0).unwrap_err().to_string();
    let ListenAddress::Tcp(addr) = first.address() else { panic!() };
    assert!(error.starts_with(&format!("cannot listen on {addr}: another process")), "{error}");
}

#[test]
fn a_unix_socket_has_its_mode_and_goes_away_with_the_listener() {
    let folder = tempfile::tempdir().unwrap();
    let address = socket_in(&folder);
    let listener = Listener::bind(&address, 0o620).unwrap();
    let mode = std::fs::metadata(path(&address)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o620);
    drop(listener);
    assert!(!path(&address).exists());
}

#[test]
fn a_stale_socket_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let address = socket_in(&folder);
    drop(UnixListener::bind(path(&address)).unwrap());
    assert!(path(&address).exists());
    let _listener = Listener::bind(&address, 0o660).unwrap();
    assert!(UnixStream::connect(path(&address)).is_ok());
}

#[test]
fn a_socket_on_which_somebody_answers_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let address = socket_in(&folder);
    let other = UnixListener::bind(path(&address)).unwrap();
    let error = Listener::bind(&address, 0o660).unwrap_err().to_string();
    assert!(error.contains("another process"), "{error}");
    drop(other);
    assert!(path(&address).exists());
}

#[test]
fn a_file_that_is_no_socket_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let address = socket_in(&folder);
    std::fs::write(path(&address), "precious").unwrap();
    let error = Listener::bind(&address, 0o660).unwrap_err().to_string();
    assert!(error.contains("not a socket"), "{error}");
    assert_eq!(std::fs::read_to_string(path(&address)).unwrap(), "precious");
}

#[test]
fn a_successors_socket_is_not_removed() {
    let folder = tempfile::tempdir().unwrap();
    let address = socket_in(&folder);
    let old = Listener::bind(&address, 0o660).unwrap();
    std::fs::remove_file(path(&address)).unwrap();
    let _successor = UnixListener::bind(path(&address)).unwrap();
    drop(old);
    assert!(path(&address).exists());
}

/// The mode is polled from before the socket exists, under the umask of the process and under the tightest one.
#[test]
fn a_unix_socket_never_has_another_mode_than_its_own() {
    const PEER: &str = "BEARER_PROXY_TEST_UMASK";
    if std::env::var_os(PEER).is_none() {
        // The umask belongs to the process.
        for mask in ["000", "077"] {
            let script = format!("umask {mask}; exec \"$@\"");
            let mut command = std::process::Command::new("sh");
            command.args(["-c", &script, "sh"]).arg(std::env::current_exe().unwrap()).env(PEER, mask);
            command.args(["--exact", "downstream::listener::tests::a_unix_socket_never_has_another_mode_than_its_own"]);
            let output = command.output().unwrap();
            assert!(output.status.success(), "umask {mask}: {}", String::from_utf8_lossy(&output.stdout));
        }
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let address = socket_in(&folder);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let poll = scope.spawn(|| {
            let mut seen = 0;
            // Once more after the end, so that the last socket is always seen.
            let mut last = false;
            while !last {
                last = done.load(Ordering::Acquire);
                if let Ok(found) = std::fs::symlink_metadata(path(&address)) {
                    assert_eq!(found.mode() & 0o7777, 0o660);
                    seen += 1;
                }
            }
            seen
        });
        for _ in 0..500 {
            drop(Listener::bind(&address, 0o660).unwrap());
        }
        let _listener = Listener::bind(&address, 0o660).unwrap();
        done.store(true, Ordering::Release);
        assert!(poll.join().unwrap() > 0);
    });
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let expected = if std::env::var(PEER).unwrap() == "077" { 0o600 } else { 0o666 };
    assert_eq!(std::fs::metadata(&file).unwrap().mode() & 0o777, expected, "the umask is as it was");
}

#[test]
fn a_link_in_the_sockets_place_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let address = socket_in(&folder);
    let bait = folder.path().join("bait");
    drop(UnixListener::bind(&bait).unwrap());
    let before = std::fs::metadata(&bait).unwrap().mode();
    symlink(&bait, path(&address)).unwrap();
    let error = Listener::bind(&address, 0o777).unwrap_err().to_string();
    assert!(error.contains("not a socket"), "{error}");
    assert_eq!(std::fs::metadata(&bait).unwrap().mode(), before);
    assert!(std::fs::symlink_metadata(path(&address)).unwrap().is_symlink());
}

#[test]
fn what_another_user_put_there_is_left_alone() {
    if !rustix::process::geteuid().is_root() {
        return println!("not run: only root can give files to another user");
    }
    let folder = tempfile::tempdir().unwrap();
    let address = socket_in(&folder);
    drop(UnixListener::bind(path(&address)).unwrap());
    chown(path(&address), Some(65534), None).unwrap();
    let error = Listener::bind(&address, 0o660).unwrap_err().to_string();
    assert!(error.contains("a socket of uid 65534"), "{error}");
    assert!(path(&address).exists());

    std::fs::create_dir(folder.path().join("real")).unwrap();
    symlink("real", folder.path().join("link")).unwrap();
    lchown(folder.path().join("link"), Some(65534), None).unwrap();
    let address = ListenAddress::Unix(folder.path().join("link/proxy.sock"));
    let error = Listener::bind(&address, 0o660).unwrap_err().to_string();
    assert!(error.contains("a symbolic link, link, that belongs to uid 65534"), "{error}");
}

#[test]
fn root_listens_in_the_directory_of_another_user() {
    if !rustix::process::geteuid().is_root() {
        return println!("not run: only root can give files to another user");
    }
    let folder = tempfile::tempdir().unwrap();
    chown(folder.path(), Some(65534), None).unwrap();
    let address = socket_in(&folder);
    for _ in 0..2 {
        let listener = Listener::bind(&address, 0o620).unwrap();
        assert_eq!(std::fs::metadata(path(&address)).unwrap().permissions().mode() & 0o777, 0o620);
        assert!(UnixStream::connect(path(&address)).is_ok());
        drop(listener);
        assert!(!path(&address).exists());
        // A stale socket is replaced there too.
        drop(UnixListener::bind(path(&address)).unwrap());
    }
}

#[test]
fn a_path_that_is_too_long_is_refused() {
    let address = ListenAddress::Unix(format!("/tmp/{}", "x".repeat(120)).into());
    let error = Listener::bind(&address, 0o660).unwrap_err().to_string();
    assert!(error.contains("too long"), "{error}");
}
