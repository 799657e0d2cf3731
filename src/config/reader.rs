//! Parses the merged settings key by key. An error is noted with key and place, and reading continues, so that all errors are reported at
//! once.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::header::HeaderMap;

use super::error::{ConfigError, Place, Topic, Warning, world_readable};
use super::header;
use super::key::{Key, Kind};
use super::malformed::Malformed;
use super::parameter;
use super::quantity;
use super::settings::{Header, Raw, Setting, Settings, shown_name};
use super::watched::Watched;
use crate::secret::Secret;

mod secret;

/// The settings while they are parsed. A method returns `None` for an unset value, or for a wrong one that it has noted.
pub(super) struct Reader {
    keys: &'static [Key],
    settings: Settings,
    /// A layer could not be read. It may set a key that seems unset.
    incomplete: bool,
    pub errors: Vec<ConfigError>,
    pub warnings: Vec<Warning>,
    /// The files of the configuration and the files that it names, to watch for changes.
    pub files: Vec<Watched>,
    /// The contents of the files of secrets, by key.
    contents: BTreeMap<&'static str, Secret>,
}

// === impl Reader ===

impl Reader {
    pub(super) fn new(keys: &'static [Key], settings: Settings, incomplete: bool, errors: Vec<ConfigError>) -> Self {
        Self { keys, settings, incomplete, errors, warnings: Vec::new(), files: Vec::new(), contents: BTreeMap::new() }
    }

    pub(super) fn keys(&self) -> &'static [Key] {
        self.keys
    }

    /// A key that the program itself names.
    pub(super) fn key(&self, name: &str) -> &'static Key {
        match self.keys.iter().find(|key| key.name == name) {
            Some(key) => key,
            None => unreachable!("{name} is a key of a section"),
        }
    }

    /// Why a key has no effect with the chosen grant and store. `None`: it has one.
    pub(super) fn no_use(&self, key: &Key) -> Option<String> {
        let is_missing = |among: &[&str], chosen: &str| !among.is_empty() && !among.contains(&chosen);
        let grant = self.text("oauth.grant").unwrap_or_default();
        if is_missing(key.grants, grant) {
            return Some(format!("has no effect with the grant `{grant}`"));
        }
        let store = self.text("store.kind").unwrap_or_default();
        is_missing(key.stores, store).then(|| format!("has no effect with the store `{store}`"))
    }

    pub(super) fn setting(&self, key: &str) -> Option<&Setting> {
        self.settings.get(key)
    }

    pub(super) fn content(&self, key: &str) -> Option<&Secret> {
        self.contents.get(key)
    }

    /// Whether the key was set, even to a wrong value: it must not be reported as missing too.
    pub(super) fn is_set(&self, key: &str) -> bool {
        self.settings.get(key).is_some() || self.errors.iter().any(|error| error.is_about(key))
    }

    /// The unparsed text of a key.
    pub(super) fn text(&self, key: &str) -> Option<&str> {
        match &self.settings.get(key)?.raw {
            Raw::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(super) fn parse<T>(
        &mut self,
        name: &'static str,
        parse: impl FnOnce(&str) -> Result<T, Malformed>,
    ) -> Option<T> {
        let parsed = parse(self.text(name)?);
        self.accept(name, None, parsed)
    }

    pub(super) fn parse_if_set<T>(
        &mut self,
        name: &'static str,
        parse: impl FnOnce(&str) -> Result<T, Malformed>,
    ) -> Option<Option<T>> {
        self.if_set(name, |reader| reader.parse(name, parse))
    }

    pub(super) fn parse_or<T>(
        &mut self,
        name: &'static str,
        parse: impl FnOnce(&str) -> Result<T, Malformed>,
        unset: T,
    ) -> Option<T> {
        self.parse_if_set(name, parse).map(|value| value.unwrap_or(unset))
    }

    /// A value that a function of its section reads.
    pub(super) fn by<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(&mut Self, &'static str) -> Option<T>,
    ) -> Option<T> {
        read(self, name)
    }

    pub(super) fn flag(&mut self, name: &'static str) -> Option<bool> {
        self.parse(name, quantity::flag)
    }

    pub(super) fn count(&mut self, name: &'static str) -> Option<u64> {
        let Kind::Count { min, max } = self.key(name).kind else { return None };
        self.parse(name, |text| quantity::count(text, min, max))
    }

    pub(super) fn size(&mut self, name: &'static str) -> Option<u64> {
        let Kind::Size { min, max } = self.key(name).kind else { return None };
        self.parse(name, |text| quantity::size(text, min, max))
    }

    pub(super) fn duration(&mut self, name: &'static str) -> Option<Duration> {
        let Kind::Duration { min, max } = self.key(name).kind else { return None };
        self.parse(name, |text| quantity::duration(text, min, max))
    }

    pub(super) fn choice<T>(&mut self, name: &'static str, from_name: impl FnOnce(&str) -> Option<T>) -> Option<T> {
        let Kind::Choice(names) = self.key(name).kind else { return None };
        let chosen = |text: &str| names.contains(&text).then(|| from_name(text)).flatten();
        self.parse(name, |text| chosen(text).ok_or(Malformed::INVALID))
    }

    /// A file that another part of the program reads.
    pub(super) fn file(&mut self, name: &'static str) -> Option<PathBuf> {
        let path = PathBuf::from(self.text(name)?);
        self.files.push(Watched::new(path.clone()));
        Some(path)
    }

    /// Two keys that have an effect only together: a certificate and its private key.
    pub(super) fn pair(&mut self, one: &'static str, two: &'static str) -> Option<(PathBuf, PathBuf)> {
        match (self.file(one), self.file(two)) {
            (Some(one), Some(two_file)) => {
                self.warn_if_world_readable(two, &two_file);
                return Some((one, two_file));
            }
            (Some(_), None) => self.reject(one, format!("has no effect without {two}: set both or neither")),
            (None, Some(_)) => self.reject(two, format!("has no effect without {one}: set both or neither")),
            (None, None) => {}
        }
        None
    }

    /// Parses every item, so that every wrong one is reported.
    pub(super) fn list<T>(
        &mut self,
        name: &'static str,
        parse: impl Fn(&str) -> Result<T, Malformed>,
    ) -> Option<Vec<T>> {
        let Raw::List(items) = &self.settings.get(name)?.raw else { return None };
        let parsed: Vec<_> = items.iter().map(|item| (item.clone(), parse(item))).collect();
        let parsed: Vec<_> = parsed.into_iter().map(|(item, parsed)| self.accept(name, Some(&item), parsed)).collect();
        parsed.into_iter().collect()
    }

    pub(super) fn list_if_set<T>(
        &mut self,
        name: &'static str,
        parse: impl Fn(&str) -> Result<T, Malformed>,
    ) -> Option<Option<Vec<T>>> {
        // A wrong list is not an unset one: that would open a guard.
        self.if_set(name, |reader| reader.list(name, parse))
    }

    pub(super) fn list_or_empty<T>(
        &mut self,
        name: &'static str,
        parse: impl Fn(&str) -> Result<T, Malformed>,
    ) -> Option<Vec<T>> {
        self.list_if_set(name, parse).map(Option::unwrap_or_default)
    }

    /// Unset is an empty map.
    pub(super) fn headers(&mut self, name: &'static str) -> Option<HeaderMap> {
        let Some(Setting { raw: Raw::Headers(headers), .. }) = self.settings.get(name) else {
            return Some(HeaderMap::new());
        };
        let mut map = HeaderMap::new();
        let mut failures = Vec::new();
        for Header { name, value, place } in headers {
            let parsed = header::name(name).and_then(|name| {
                let parse = if header::is_public(&name) { header::value } else { header::secret_value };
                parse(value.expose()).map(|value| (name, value))
            });
            match parsed {
                Ok((name, value)) => drop(map.insert(name, value)),
                Err(malformed) => failures.push((name.clone(), place.clone(), malformed)),
            }
        }
        let all_well = failures.is_empty();
        for (header, place, malformed) in failures {
            let key = format!("{name}.{}", shown_name(&header));
            self.errors.push(ConfigError::value(
                key,
                place,
                None,
                &malformed.to_string(),
                self.key(name).kind.accepts(),
            ));
        }
        all_well.then_some(map)
    }

    /// Unset is an empty list.
    pub(super) fn parameters(&mut self, name: &'static str) -> Option<Vec<(String, Secret)>> {
        let Some(Setting { raw: Raw::Headers(given), .. }) = self.settings.get(name) else { return Some(Vec::new()) };
        let mut parameters = Vec::new();
        let mut failures = Vec::new();
        for Header { name, value, place } in given {
            match parameter::check(name, value.expose()) {
                Ok(()) => parameters.push((name.clone(), value.clone())),
                Err(malformed) => failures.push((name.clone(), place.clone(), malformed)),
            }
        }
        let all_well = failures.is_empty();
        for (parameter, place, malformed) in failures {
            let key = format!("{name}.{}", shown_name(&parameter));
            let accepted = self.key(name).kind.accepts();
            self.errors.push(ConfigError::value(key, place, None, &malformed.to_string(), accepted));
        }
        all_well.then_some(parameters)
    }

    /// Sets a default that depends on other keys or on the machine.
    pub(super) fn preset(&mut self, name: &'static str, place: Place, raw: Raw) {
        if !self.is_set(name) {
            let key = self.key(name);
            self.settings.set(key, place, raw);
        }
    }

    /// Copies one header from `from` to `to`, unless `to` has its own. Returns whether `from` has it.
    pub(super) fn copy_header(
        &mut self,
        header: &'static str,
        from: &'static str,
        to: &'static str,
        place: Place,
    ) -> bool {
        let headers = |name| match self.settings.get(name).map(|setting| &setting.raw) {
            Some(Raw::Headers(headers)) => headers.as_slice(),
            _ => &[],
        };
        let Some(found) = headers(from).iter().find(|found| found.is_named(header)) else { return false };
        if !headers(to).iter().any(|other| other.is_named(header)) {
            let copy = Header { name: header.to_owned(), value: found.value.clone(), place: place.clone() };
            let mut all = headers(to).to_vec();
            all.push(copy);
            let key = self.key(to);
            self.settings.set(key, place, Raw::Headers(all));
        }
        true
    }

    /// Notes that a key must be set, unless a layer could not be read: it may be set there.
    pub(super) fn missing(&mut self, name: &'static str, why: &'static str) {
        if !self.incomplete && !self.errors.iter().any(|error| error.is_about(name)) {
            let key = self.key(name);
            let secret = key.kind.is_secret();
            self.errors.push(ConfigError::Missing { key: key.name, why, variable: key.variable(), secret });
        }
    }

    /// Notes that a value violates a rule. The text says what to do.
    pub(super) fn reject(&mut self, name: &'static str, what: impl Into<String>) {
        let (key, place) = self.spot(name);
        self.errors.push(ConfigError::Rule { key, place, what: what.into() });
    }

    /// The same for the file of a secret.
    pub(super) fn reject_file(&mut self, topic: Topic, name: &'static str, what: impl Into<String>) {
        let (key, place) = self.spot(name);
        self.errors.push(ConfigError::SecretFile { key, place, what: what.into(), topic });
    }

    pub(super) fn warn(&mut self, name: &'static str, what: impl Into<String>) {
        self.warn_about(Topic::Other, name, what);
    }

    pub(super) fn warn_about(&mut self, topic: Topic, name: &'static str, what: impl Into<String>) {
        let (key, place) = self.spot(name);
        self.warnings.push(Warning { key, place, what: what.into(), topic });
    }

    /// The file of a secret is for its owner, and perhaps for a group.
    pub(super) fn warn_if_world_readable(&mut self, name: &'static str, path: &Path) {
        if let Some(what) = world_readable(path) {
            self.warn_about(Topic::WorldReadable, name, what);
        }
    }

    /// Warns of a value that a key takes from another place.
    pub(super) fn warn_at(&mut self, key: impl Into<String>, place: Place, what: impl Into<String>) {
        self.warnings.push(Warning { key: key.into(), place, what: what.into(), topic: Topic::Other });
    }

    /// The key as it was written, and its place.
    fn spot(&self, name: &'static str) -> (String, Place) {
        match self.settings.get(name) {
            Some(Setting { place, raw: Raw::SecretFile(_) }) => (format!("{name}_file"), place.clone()),
            Some(Setting { place, .. }) => (name.to_owned(), place.clone()),
            None => (name.to_owned(), Place::Default),
        }
    }

    /// `Some(None)` for an unset key.
    fn if_set<T>(&mut self, name: &'static str, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<Option<T>> {
        if self.is_set(name) { read(self).map(Some) } else { Some(None) }
    }

    fn accept<T>(&mut self, name: &'static str, item: Option<&str>, parsed: Result<T, Malformed>) -> Option<T> {
        parsed
            .map_err(|malformed| {
                let kind = &self.key(name).kind;
                let shown = item.or(self.text(name)).filter(|_| kind.may_be_shown()).map(shown_name);
                let (key, place) = self.spot(name);
                self.errors.push(ConfigError::value(
                    key,
                    place,
                    shown.as_deref(),
                    &malformed.to_string(),
                    kind.accepts(),
                ));
            })
            .ok()
    }
}
