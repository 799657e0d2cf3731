//! Logs.

use tracing::Level;

use crate::config::key::choice;
use crate::config::reader::Reader;
use crate::config::section::{choice, section};
use crate::config::value::Value;

section! {
    #[derive(Clone, Debug)]
    pub struct LogConfig in "log." {
        /// Format of logs. They go to standard error.
        format: LogFormat = choice(&["text", "json"]).computed("`text` on a terminal, else `json`").restart();
        /// Minimum log level.
        level: Level = choice(&["error", "warn", "info", "debug", "trace"]).default("info");
        /// Which requests are logged. `errors`: those that the proxy answered itself, 5xx and truncated ones. The log has the path, never
        /// the query.
        requests: LogRequests = choice(LogRequests::NAMES).default("errors");
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Text on a terminal, else JSON.
    Auto,
    Text,
    Json,
}

choice! {
    pub enum LogRequests {
        None = "none",
        Errors = "errors",
        All = "all",
    }
}

// === impl LogFormat ===

impl Value for LogFormat {
    fn read(reader: &mut Reader, name: &'static str) -> Option<Self> {
        if !reader.is_set(name) {
            return Some(Self::Auto);
        }
        reader.choice(name, |text| match text {
            "text" => Some(Self::Text),
            "json" => Some(Self::Json),
            _ => None,
        })
    }
}

impl Value for Level {
    fn read(reader: &mut Reader, name: &'static str) -> Option<Self> {
        reader.choice(name, |text| text.parse().ok())
    }
}
