//! The events of a watch: one JSON document a line.

use std::sync::Arc;
use std::time::Duration;

use super::fault::Fault;
use super::objects::{Secret, WatchEvent};
use crate::outbound::client::Arriving;

/// The events of one watch of the Secret.
pub(super) struct Events {
    response: Arriving,
    /// What has arrived of the next line.
    line: Vec<u8>,
}

pub(super) enum Event {
    Changed(Arc<Secret>),
    Deleted,
    /// Nothing has changed, and the watch works.
    Bookmark,
    /// The server has closed the watch, as it does after its time.
    Ended,
}

/// Without a line for this time, the path may be broken. Servers since 1.21 send a bookmark each minute.
const IDLE: Duration = Duration::from_secs(90);
const LONGEST_LINE: usize = 4 << 20;

// === impl Events ===

impl Events {
    pub(super) fn new(response: Arriving) -> Self {
        Self { response, line: Vec::new() }
    }

    /// The next event. If this future is dropped, nothing is lost.
    pub(super) async fn next(&mut self) -> Result<Event, Fault> {
        loop {
            if let Some(end) = self.line.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.line.drain(..=end).collect();
                return read(&line);
            }
            match self.response.chunk(IDLE).await {
                Ok(Some(chunk)) if self.line.len() + chunk.len() <= LONGEST_LINE => self.line.extend_from_slice(&chunk),
                Ok(Some(_)) => return Err(Fault::Refused("an event of the watch is larger than 4 MiB".to_owned())),
                Ok(None) => return Ok(Event::Ended),
                Err(error) => return Err(Fault::Unavailable(error.to_string())),
            }
        }
    }
}

fn read(line: &[u8]) -> Result<Event, Fault> {
    // The text of serde would quote the event.
    let odd = |_| Fault::Unavailable("an event of the watch is not readable".to_owned());
    let WatchEvent { kind, object } = serde_json::from_slice(line).map_err(odd)?;
    match kind.as_str() {
        "ADDED" | "MODIFIED" => {
            let secret: Secret = serde_json::from_str(object.get()).map_err(odd)?;
            Ok(Event::Changed(Arc::new(secret)))
        }
        "DELETED" => Ok(Event::Deleted),
        // The usual one is 410 Gone. Whatever it is, a read brings the present state.
        "ERROR" => Err(Fault::Expired),
        _ => Ok(Event::Bookmark),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(line: &str) -> &'static str {
        match read(line.as_bytes()) {
            Ok(Event::Changed(secret)) if secret.document().is_some() => "document",
            Ok(Event::Changed(_)) => "empty",
            Ok(Event::Deleted) => "deleted",
            Ok(Event::Ended) => "ended",
            Ok(Event::Bookmark) => "nothing",
            Err(Fault::Expired) => "expired",
            Err(_) => "unreadable",
        }
    }

    #[test]
    fn each_kind_of_event_is_known_and_other_lines_are_not_trusted() {
        let object = r#"{"metadata":{"resourceVersion":"7"},"data":{"grant.json":"e30="}}"#;
        for (line, expected) in [
            (format!(r#"{{"type":"ADDED","object":{object}}}"#), "document"),
            (format!(r#"{{"type":"MODIFIED","object":{object}}}"#), "document"),
            (r#"{"type":"ADDED","object":{"metadata":{"resourceVersion":"7"}}}"#.to_owned(), "empty"),
            (format!(r#"{{"type":"DELETED","object":{object}}}"#), "deleted"),
            (r#"{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"9"}}}"#.to_owned(), "nothing"),
            (r#"{"type":"ERROR","object":{"kind":"Status","code":410}}"#.to_owned(), "expired"),
            (r#"{"type":"ADDED","object":{}}"#.to_owned(), "unreadable"),
            ("canary".to_owned(), "unreadable"),
        ] {
            assert_eq!(kind(&line), expected, "{line}");
        }
        let Err(error) = read(b"canary") else { panic!("it is no event") };
        assert!(!error.to_string().contains("canary"));
    }
}
