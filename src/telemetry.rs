//! TELEMETRY: logs, one line for each event on standard error, as text or JSON.
//!
//! * **Only events of this program are written, at any level.** Libraries for HTTP put frames and header bytes into their debug and trace
//!   events, and some field values into warnings. One such line would leak a token. A problem that they warn of also reaches this program
//!   as an error value, and is logged from there.
//! * **An event is one line.** A field can contain text of a client or a server. A newline or an escape sequence in it would forge a line
//!   or control a terminal. JSON escapes control characters; the text format does so here.
//! * **Logging never waits for its reader**: see [`queue`].
//! * **A repeated warning is written once a minute**: see [`repeats`].
//! * **A panic shows its location, and its message only if that is a literal.** A formatted message can contain request data.

pub mod problems;
mod queue;
mod repeats;
pub mod service_manager;

use std::any::Any;
use std::fmt::{self, Write as _};
use std::io::{self, IsTerminal};
use std::panic::PanicHookInfo;

use jiff::Timestamp;
use tracing::level_filters::LevelFilter;
use tracing::{Level, Subscriber};
use tracing_subscriber::field::MakeExt;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format::{self, Writer};
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::fmt::{self as lines, MakeWriter};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{Layer, Registry, reload};

use self::problems::{Problems, is_unprintable};
use self::queue::Queue;
use crate::config::{LogConfig, LogFormat};

/// The running log. Dropping it waits a short time until all lines are written.
pub struct Logs {
    level: LevelHandle,
    problems: Problems,
    queue: Queue,
}

/// Logs were already set up in this process.
#[derive(Debug, thiserror::Error)]
#[error("logs were already set up in this process")]
pub struct AlreadyInitialised;

/// The format of lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Style {
    Text { colours: bool },
    Json,
}

struct LevelHandle(reload::Handle<Targets, Registry>);

/// RFC 3339, in UTC, to the millisecond.
struct Rfc3339;

/// Escapes control characters, and characters that change the direction of text.
struct Escaping<'a, 'w>(&'a mut Writer<'w>);

// === impl Logs ===

impl Logs {
    /// Sends the events and panics of this process to standard error.
    pub fn init(config: &LogConfig) -> Result<Self, AlreadyInitialised> {
        let queue = Queue::start(io::stderr());
        let (subscriber, level) = subscriber(style(config.format), config.level, queue.clone());
        let problems = Problems::default();
        let subscriber = subscriber.with(problems.clone());
        tracing::subscriber::set_global_default(subscriber).map_err(|_| AlreadyInitialised)?;
        std::panic::set_hook(Box::new(report));
        Ok(Self { level, problems, queue })
    }

    /// The latest warnings and errors of this process.
    pub fn problems(&self) -> &Problems {
        &self.problems
    }

    /// Changes the minimum log level, starting with the next event.
    pub fn set_level(&self, level: Level) {
        self.level.set(level);
    }
}

impl Drop for Logs {
    fn drop(&mut self) {
        self.queue.flush();
    }
}

impl LevelHandle {
    fn set(&self, level: Level) {
        // This fails only if the subscriber is gone. Then nothing is logged at any level.
        let _ = self.0.reload(own_events(level));
    }
}

fn subscriber<W>(style: Style, level: Level, writer: W) -> (impl Subscriber + Send + Sync, LevelHandle)
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let (filter, handle) = reload::Layer::new(own_events(level));
    let layer = lines::layer().with_timer(Rfc3339).with_writer(writer);
    let layer = match style {
        Style::Text { colours } => {
            layer.with_ansi(colours).fmt_fields(format::debug_fn(write_field).delimited(" ")).boxed()
        }
        Style::Json => layer.json().flatten_event(true).with_current_span(false).with_span_list(false).boxed(),
    };
    (Registry::default().with(filter).with(layer), LevelHandle(handle))
}

fn own_events(level: Level) -> Targets {
    Targets::new().with_target(env!("CARGO_CRATE_NAME"), LevelFilter::from_level(level))
}

fn style(format: LogFormat) -> Style {
    let terminal = io::stderr().is_terminal();
    // https://no-color.org: the variable is set and not empty.
    let colours = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    match format {
        LogFormat::Auto if !terminal => Style::Json,
        LogFormat::Auto | LogFormat::Text => Style::Text { colours },
        LogFormat::Json => Style::Json,
    }
}

fn write_field(writer: &mut Writer<'_>, field: &tracing::field::Field, value: &dyn fmt::Debug) -> fmt::Result {
    if field.name() != "message" {
        write!(writer, "{}=", field.name())?;
    }
    write!(Escaping(writer), "{value:?}")
}

fn report(panic: &PanicHookInfo<'_>) {
    let place = panic.location().map(ToString::to_string);
    let thread = std::thread::current();
    let thread = thread.name().unwrap_or("unnamed");
    tracing::error!(place, thread, "panicked: {}", literal(panic.payload()));
}

/// The message of `panic!("literal")`. A formatted message is a `String`.
fn literal(payload: &dyn Any) -> &'static str {
    payload.downcast_ref::<&'static str>().copied().unwrap_or("(the message is not shown: it may hold request data)")
}

// === impl Rfc3339 ===

impl FormatTime for Rfc3339 {
    fn format_time(&self, writer: &mut Writer<'_>) -> fmt::Result {
        write!(writer, "{:.3}", Timestamp::now())
    }
}

// === impl Escaping ===

impl fmt::Write for Escaping<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.chars().try_for_each(|c| match c {
            c if c.is_control() => write!(self.0, "{}", c.escape_default()),
            c if is_unprintable(c) => write!(self.0, "{}", c.escape_unicode()),
            c => self.0.write_char(c),
        })
    }
}

#[cfg(test)]
mod tests;
