use std::net::TcpStream;
use std::os::unix::net::UnixStream;

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

#[test]
fn a_path_that_is_too_long_is_refused() {
    let address = ListenAddress::Unix(format!("/tmp/{}", "x".repeat(120)).into());
    let error = Listener::bind(&address, 0o660).unwrap_err().to_string();
    assert!(error.contains("too long"), "{error}");
}
