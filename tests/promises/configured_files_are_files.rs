//! A configured file is a regular file, or a link to one. Every key that names a file refuses a pipe or a device at once. Only
//! `/dev/stdin` and `/dev/fd/N` may be pipes, and the program reads them with a time limit.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Stdio;
use std::time::Duration;

use rustix::fs::{CWD, FileType, Mode, mknodat};
use simulator::{Options, Simulator};
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use testkit::{Proxy, Setup, output};

/// A bound for tests that fail, not a measure.
const PATIENCE: Duration = Duration::from_secs(60);
/// Every key that names a file, with the keys that it needs.
const KEYS: [(&str, &[(&str, &str)]); 9] = [
    ("OAUTH__CLIENT_SECRET_FILE", &[]),
    ("OAUTH__REFRESH_TOKEN_FILE", &[]),
    ("STORE__KEYS_FILE", &[]),
    ("ADMIN__KEY_FILE", &[]),
    ("TLS__CERT_FILE", &[("TLS__KEY_FILE", "/dev/null")]),
    ("UPSTREAM__CERT_FILE", &[("UPSTREAM__KEY_FILE", "/dev/null"), ("UPSTREAM__URL", "https://127.0.0.1:9")]),
    ("OUTBOUND__CA_FILE", &[("UPSTREAM__URL", "https://127.0.0.1:9")]),
    ("OAUTH__ACCESS_TOKEN_FILE", &[("OAUTH__GRANT", "static"), ("STORE__KIND", "memory")]),
    ("CONFIG", &[]),
];

async fn setup() -> (Simulator, Setup) {
    let simulator = Simulator::start(Options::league8()).await.unwrap();
    let setup = Proxy::without_grant(&simulator).unset("OAUTH__CLIENT_SECRET");
    (simulator, setup)
}

#[tokio::test]
async fn a_pipe_or_a_device_is_refused_at_once_in_every_key() {
    let (_simulator, setup) = setup().await;
    let pipe = setup.folder().join("pipe");
    mknodat(CWD, &pipe, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
    symlink(&pipe, setup.folder().join("link")).unwrap();
    for (key, needed) in KEYS {
        for (path, what) in [
            (pipe.clone(), "a named pipe"),
            (setup.folder().join("link"), "a named pipe"),
            ("/dev/zero".into(), "a device"),
        ] {
            let mut setup = setup.again();
            if key != "OAUTH__CLIENT_SECRET_FILE" {
                setup = setup.set("OAUTH__CLIENT_SECRET", "sesame");
            }
            for (name, value) in needed {
                setup = setup.unset(name).set(name, value);
            }
            let (status, _, err) = output(setup.set(key, path.display()).command(&["serve"])).await;
            assert!(!status.success(), "{key} = {}", path.display());
            assert!(err.contains(&format!("it is {what}, not a regular file")), "{key}: {err}");
        }
    }
}

#[tokio::test]
async fn a_pipe_that_the_program_was_given_open_is_read_to_its_end_and_not_for_ever() {
    let (_simulator, setup) = setup().await;
    for closes in [true, false] {
        let mut command = setup.command(&["--config", "/dev/stdin", "config"]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(b"oauth.client_secret = 'sesame'\nvia = 'from-a-pipe'\n").await.unwrap();
        let held = if closes {
            drop(stdin);
            None
        } else {
            Some(stdin)
        };
        let ended = timeout(PATIENCE, child.wait_with_output()).await.expect("the program did not end").unwrap();
        drop(held);
        let (out, err) = (String::from_utf8(ended.stdout).unwrap(), String::from_utf8(ended.stderr).unwrap());
        if closes {
            assert!(ended.status.success() && out.contains("from-a-pipe"), "{err}");
        } else {
            assert_eq!(ended.status.code(), Some(78));
            assert!(err.contains("/dev/stdin: cannot be read: it did not end within 10s"), "{err}");
        }
    }
}

#[tokio::test]
async fn a_link_as_kubernetes_makes_it_is_followed() {
    let (_simulator, setup) = setup().await;
    let folder = setup.folder();
    fs::create_dir(folder.join("..2026")).unwrap();
    fs::write(folder.join("..2026/secret"), "sesame").unwrap();
    symlink("..2026", folder.join("..data")).unwrap();
    symlink("..data/secret", folder.join("secret")).unwrap();
    let secret = folder.join("secret").display().to_string();
    let (code, _, err) = setup.set("OAUTH__CLIENT_SECRET_FILE", secret).run(&["config"]).await;
    assert_eq!(code, 0, "{err}");
}
