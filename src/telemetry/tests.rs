use super::*;
use std::process::Command;
use std::sync::{Arc, Mutex};

const TEXT: Style = Style::Text { colours: false };

#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl io::Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The output of `log`, which may change the level.
fn logged(style: Style, level: Level, log: impl FnOnce(&LevelHandle)) -> String {
    let sink = Sink::default();
    let writer = sink.clone();
    let (subscriber, handle) = subscriber(style, level, move || writer.clone());
    tracing::subscriber::with_default(subscriber, || log(&handle));
    let bytes = sink.0.lock().unwrap().clone();
    String::from_utf8(bytes).unwrap()
}

#[test]
fn only_our_own_events_are_written_at_any_level() {
    for style in [TEXT, Style::Json] {
        let text = logged(style, Level::TRACE, |_| {
            tracing::trace!(target: "h2::codec::framed_write", "canary frame");
            tracing::debug!(target: "hyper::proto::h1::io", "canary header");
            tracing::warn!(target: "hyper::proto::h1::role", "canary field value");
            tracing::error!(target: "tokio_postgres::connection", "canary url");
            let _span = tracing::error_span!(target: "h2::server", "canary", field = "canary").entered();
            tracing::trace!("ours");
        });
        assert!(text.contains("ours"), "{text}");
        assert!(!text.contains("canary"), "{text}");
        assert_eq!(text.lines().count(), 1, "{text}");
    }
}

#[test]
fn an_event_is_one_line_whatever_its_fields_hold() {
    let hostile = "a\r\n2026-01-01T00:00:00Z  INFO forged\u{1b}[2J\u{9b}31m\u{7f}\t\u{2028}\u{202e}\0";
    let log = |_: &LevelHandle| {
        tracing::info!(shown = %hostile, debugged = ?hostile, text = hostile, "message {hostile}");
        let error = io::Error::other(hostile);
        tracing::info!(error = &error as &dyn std::error::Error);
    };
    let text = logged(TEXT, Level::INFO, log);
    assert_eq!(text.lines().count(), 2, "{text}");
    let rest = text.replace('\n', "");
    assert!(!rest.chars().any(|c| c.is_control() || c == '\u{2028}' || c == '\u{202e}'), "{text:?}");
    assert!(text.contains(r"message a\r\n2026-01-01T00:00:00Z  INFO forged\u{1b}[2J"), "{text}");

    let json = logged(Style::Json, Level::INFO, log);
    assert_eq!(json.lines().count(), 2, "{json}");
    for line in json.lines() {
        assert!(serde_json::from_str::<serde_json::Value>(line).is_ok(), "{line}");
    }
}

#[test]
fn a_line_says_when_how_grave_where_and_what() {
    let log = |_: &LevelHandle| tracing::warn!(generation = 7, "the token was refused");
    let text = logged(TEXT, Level::INFO, log);
    let (time, rest) = text.split_once(' ').unwrap();
    assert!(time.len() == "2026-01-01T00:00:00.000Z".len() && time.parse::<Timestamp>().is_ok(), "{time}");
    assert_eq!(rest, " WARN bearer_proxy::telemetry::tests: the token was refused generation=7\n");

    let mut json: serde_json::Value = serde_json::from_str(&logged(Style::Json, Level::INFO, log)).unwrap();
    let time = json["timestamp"].take();
    assert!(time.as_str().unwrap().parse::<Timestamp>().is_ok(), "{time}");
    let expected = serde_json::json!({
        "timestamp": null,
        "level": "WARN",
        "message": "the token was refused",
        "generation": 7,
        "target": "bearer_proxy::telemetry::tests",
    });
    assert_eq!(json, expected);
}

#[test]
fn the_level_changes_while_running() {
    let text = logged(TEXT, Level::INFO, |level| {
        let log = |n: u8| tracing::debug!("event {n}");
        log(1);
        level.set(Level::DEBUG);
        log(2);
        level.set(Level::ERROR);
        log(3);
    });
    assert!(!text.contains("event 1") && text.contains("event 2") && !text.contains("event 3"), "{text}");
}

/// Runs in a separate process, because the hook belongs to the process.
const PANICKING: &str = "BEARER_PROXY_TEST_PANICS";

#[test]
fn a_panic_is_logged_with_its_place_and_without_what_it_was_handling() {
    if std::env::var_os(PANICKING).is_some() {
        let logs = Logs::init(&LogConfig {
            format: LogFormat::Json,
            level: Level::INFO,
            requests: crate::config::LogRequests::Errors,
        });
        let _ = std::panic::catch_unwind(|| panic!("a literal"));
        let secret = std::env::var(PANICKING).unwrap();
        let _ = std::panic::catch_unwind(|| panic!("formatted {secret}"));
        let _ = std::panic::catch_unwind(|| secret.parse::<u8>().map_err(|_| secret).unwrap());
        drop(logs);
        return;
    }
    let name = "telemetry::tests::a_panic_is_logged_with_its_place_and_without_what_it_was_handling";
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(PANICKING, "canary")
        .output()
        .unwrap();
    let errors = String::from_utf8(child.stderr).unwrap();
    assert!(child.status.success(), "{errors}");
    let lines = errors.lines().map(serde_json::from_str::<serde_json::Value>).collect::<Result<Vec<_>, _>>();
    let lines = lines.unwrap_or_else(|error| panic!("{error}: {errors}"));
    let messages = lines.iter().map(|line| line["message"].as_str().unwrap()).collect::<Vec<_>>();
    assert_eq!(messages[0], "panicked: a literal");
    assert_eq!(messages.len(), 3);
    assert!(lines.iter().all(|line| line["place"].as_str().unwrap().contains("telemetry/tests.rs:")), "{errors}");
    assert!(!errors.contains("canary"), "{errors}");
}
