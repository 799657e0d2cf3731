//! The kept output of a run.

use std::fs;
use std::path::{Path, PathBuf};

use simulator::{CLIENT_SECRET, Simulator};

use crate::Stdin;
use crate::program::{Ended, Setup};

/// Compares all that a run printed, and its exit code, with `expected/NAME.STDIN.txt`.
pub fn check(name: &str, stdin: Stdin, ended: &Ended, simulator: &Simulator, setup: &Setup, names: &[(&str, &str)]) {
    let mut text = ended.text.replace("\r\n", "\n").replace('\x1b', "␛");
    for (found, placeholder) in names {
        text = text.replace(found, placeholder);
    }
    text = text.replace(&simulator.address().port().to_string(), "SERVER");
    text = text.replace(&setup.folder().display().to_string(), "FOLDER");
    for (before, placeholder) in [("&state=", "STATE"), ("&code_challenge=", "CHALLENGE"), ("clock says ", "NOW ")] {
        text = masked(&text, before, placeholder);
    }
    let port = text
        .find("redirect_uri=http%3A%2F%2F127.0.0.1%3A")
        .map(|at| text[at + 38..].chars().take_while(char::is_ascii_digit).collect::<String>());
    if let Some(port) = port.filter(|port| port.len() > 2) {
        text = text.replace(&port, "PORT");
    }
    // Where the tests themselves run in a container.
    text = text
        .lines()
        .filter(|line| !line.starts_with("This is a container,"))
        .map(|line| line.to_owned() + "\n")
        .collect();
    text += &format!("exit code {}\n", ended.code);

    let kind = format!("{stdin:?}").to_lowercase();
    let path: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/login/expected/{name}.{kind}.txt"));
    if std::env::var_os("UPDATE_EXPECTED").is_some() {
        fs::write(&path, &text).unwrap();
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    assert!(text == expected, "{}: expected\n{expected}\nbut it printed\n{text}", path.display());
}

/// Nothing that may not be seen is in the text.
pub fn holds_no_secret(text: &str, more: &[&str]) {
    assert!(!text.contains(CLIENT_SECRET), "the client secret is in:\n{text}");
    // The beginnings of a code and a refresh token, and of an access token. A shorter one would occur in a random `state`.
    for mark in ["def50200", "eyJhbGciOi", "eyJ0eXAiOi"] {
        assert!(!text.contains(mark), "a token is in:\n{text}");
    }
    for secret in more {
        assert!(!text.contains(secret), "{secret} is in:\n{text}");
    }
}

/// Replaces the values of a parameter.
fn masked(text: &str, before: &str, placeholder: &str) -> String {
    let mut parts = text.split(before);
    let mut masked = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part.find(|c: char| !c.is_ascii_alphanumeric() && !"-_:".contains(c)).unwrap_or(part.len());
        masked += before;
        masked += placeholder;
        masked += &part[end..];
    }
    masked
}
