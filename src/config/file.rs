//! The layer of the file, in TOML.

use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{ConfigError, Place, Topic, Warning, world_readable};
use super::keys;
use super::settings::{Raw, Settings, WrongShape, shown_name};
use crate::files;

/// The settings of one file, while they are read.
struct Reading<'a> {
    path: &'a Path,
    text: &'a str,
    settings: Settings,
    errors: &'a mut Vec<ConfigError>,
    warnings: &'a mut Vec<Warning>,
    /// A secret was found in it.
    holds_secret: bool,
}

/// `None`: the file cannot be used; `errors` has the reason.
pub(super) fn settings(path: &Path, errors: &mut Vec<ConfigError>, warnings: &mut Vec<Warning>) -> Option<Settings> {
    let text = match files::read_text(path) {
        Ok(text) => text,
        Err(error) => {
            errors.push(ConfigError::Unreadable { path: path.to_owned(), reason: error.to_string() });
            return None;
        }
    };
    let (table, failures) = DeTable::parse_recoverable(&text);
    let mut reading =
        Reading { path, text: &text, settings: Settings::default(), errors, warnings, holds_secret: false };
    if failures.is_empty() {
        reading.section("", table.get_ref());
        return Some(reading.settings);
    }
    for failure in failures {
        let at = failure.span().map_or(0, |span| span.start);
        let column = reading.before(at).rsplit('\n').next().map_or(0, |line| line.chars().count()) + 1;
        // The `Display` of the error shows the line, which may contain a secret.
        let reason = failure.message().to_owned();
        reading.errors.push(ConfigError::Syntax { place: reading.place(at), column, reason });
    }
    None
}

// === impl Reading ===

impl Reading<'_> {
    fn section(&mut self, section: &str, table: &DeTable<'_>) {
        for (name, value) in table {
            let full =
                if section.is_empty() { name.get_ref().to_string() } else { format!("{section}.{}", name.get_ref()) };
            let place = self.place(name.span().start);
            // A quoted name with a dot is one name in TOML, and not a key.
            let plain = !name.get_ref().is_empty() && !name.get_ref().contains('.');
            if plain && keys::find(&full).is_some() {
                self.key(&full, place, value);
            } else if plain && keys::is_section(&full) {
                match value.get_ref() {
                    DeValue::Table(table) => self.section(&full, table),
                    _ => self.wrong(&full, place, "not a section".to_owned(), format!("a table `[{full}]`")),
                }
            } else {
                match value.get_ref() {
                    // The section is misspelled: report each key in it, with a suggestion.
                    DeValue::Table(table) if plain && section.is_empty() && !table.is_empty() => {
                        self.section(&full, table)
                    }
                    _ => self.errors.push(ConfigError::Unknown {
                        suggestion: keys::nearest(&full),
                        name: shown_name(&full),
                        place,
                    }),
                }
            }
        }
    }

    fn key(&mut self, name: &str, place: Place, value: &Spanned<DeValue<'_>>) {
        let Some((key, form)) = keys::find(name) else { return };
        match Raw::from_toml(key, form, value.get_ref(), |at| self.place(at)) {
            Ok(Some(raw)) => {
                // One warning is enough.
                if key.kind.is_secret() && matches!(raw, Raw::Secret(_) | Raw::Secrets(_)) && !self.holds_secret {
                    self.holds_secret = true;
                    let what = world_readable(self.path);
                    let warning = what.map(|what| {
                        let (key, place) = (name.to_owned(), place.clone());
                        Warning { key, place, what, topic: Topic::WorldReadable }
                    });
                    self.warnings.extend(warning);
                }
                let outcome = self.settings.set_once(key, place, raw);
                self.errors.extend(outcome.err());
            }
            Ok(None) if key.unset_means.is_some() => self.errors.extend(ConfigError::empty(key, form, place)),
            // The operator may have wanted to allow nothing.
            Ok(None) if value.get_ref().is_array() => {
                self.warnings.push(Warning {
                    key: name.to_owned(),
                    place,
                    what: "an empty list counts as unset".to_owned(),
                    topic: Topic::Other,
                });
            }
            Ok(None) => {}
            Err(WrongShape(what)) => self.wrong(name, place, what, key.kind.accepts()),
        }
    }

    fn wrong(&mut self, key: &str, place: Place, reason: String, accepted: String) {
        self.errors.push(ConfigError::value(key.to_owned(), place, None, &reason, accepted));
    }

    fn place(&self, at: usize) -> Place {
        let line = self.before(at).bytes().filter(|byte| *byte == b'\n').count() + 1;
        Place::File { path: self.path.to_owned(), line }
    }

    fn before(&self, at: usize) -> &str {
        self.text.get(..at).unwrap_or(self.text)
    }
}
