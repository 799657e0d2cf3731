//! Secrets, given in place or in a file.

use std::path::PathBuf;

use super::Reader;
use crate::config::error::{Topic, one_line};
use crate::config::malformed::Malformed;
use crate::config::secret_source::SecretSource;
use crate::config::settings::Raw;
use crate::config::watched::Watched;
use crate::files;
use crate::secret::Secret;

// === impl Reader ===

impl Reader {
    /// The text of a secret, from its place or its file. A secret that has no effect is not read.
    pub(in crate::config) fn secret(
        &mut self,
        name: &'static str,
        check: impl FnOnce(&str) -> Result<(), Malformed>,
    ) -> Option<Secret> {
        if self.no_use(self.key(name)).is_some() {
            return None;
        }
        let secret = match &self.settings.get(name)?.raw {
            Raw::Secret(secret) => secret.clone(),
            Raw::SecretFile(path) => {
                let path = path.clone();
                self.content_of(name, path)?
            }
            _ => return None,
        };
        let checked = check(secret.expose());
        self.accept(name, None, checked)?;
        Some(secret)
    }

    pub(in crate::config) fn secret_if_set(
        &mut self,
        name: &'static str,
        check: impl FnOnce(&str) -> Result<(), Malformed>,
    ) -> Option<Option<Secret>> {
        self.if_used(name, |reader| reader.secret(name, check))
    }

    pub(in crate::config) fn secret_source_if_set(
        &mut self,
        name: &'static str,
        check: impl FnOnce(&str) -> Result<(), Malformed>,
    ) -> Option<Option<SecretSource>> {
        self.if_used(name, |reader| reader.secret_source(name, check))
    }

    fn if_used<T>(&mut self, name: &'static str, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<Option<T>> {
        if self.no_use(self.key(name)).is_some() { Some(None) } else { self.if_set(name, read) }
    }

    /// A secret whose file is read again later. It must be readable now, too.
    fn secret_source(
        &mut self,
        name: &'static str,
        check: impl FnOnce(&str) -> Result<(), Malformed>,
    ) -> Option<SecretSource> {
        let secret = self.secret(name, check)?;
        match &self.settings.get(name)?.raw {
            Raw::SecretFile(path) => Some(SecretSource::File(path.clone())),
            _ => Some(SecretSource::Inline(secret)),
        }
    }

    /// Unset is an empty list.
    pub(in crate::config) fn secrets<T>(
        &mut self,
        name: &'static str,
        parse: impl Fn(&str) -> Result<T, Malformed>,
    ) -> Option<Vec<T>> {
        let secrets = match self.settings.get(name).map(|setting| setting.raw.clone()) {
            Some(Raw::Secrets(secrets)) => secrets,
            Some(Raw::SecretFile(path)) => match Raw::secrets(self.content_of(name, path)?.expose()) {
                Some(Raw::Secrets(secrets)) => secrets,
                _ => {
                    let what = "the file contains only blanks: put one secret on each line";
                    self.reject_file(Topic::SecretEmpty, name, what);
                    return None;
                }
            },
            _ => return Some(Vec::new()),
        };
        let parsed: Vec<_> = secrets.iter().map(|secret| parse(secret.expose())).collect();
        let parsed: Vec<_> = parsed.into_iter().map(|parsed| self.accept(name, None, parsed)).collect();
        parsed.into_iter().collect()
    }

    /// One trailing newline is not part of the secret: editors and `echo` add it.
    fn content_of(&mut self, name: &'static str, path: PathBuf) -> Option<Secret> {
        self.files.push(Watched::new(path.clone()));
        let shown = one_line(path.display());
        match files::read_text(&path) {
            Ok(text) => {
                self.warn_if_world_readable(name, &path);
                let text =
                    text.strip_suffix('\n').map_or(text.as_str(), |text| text.strip_suffix('\r').unwrap_or(text));
                if text.is_empty() {
                    let what = format!("the file {shown} is empty: put the secret there");
                    self.reject_file(Topic::SecretEmpty, name, what);
                    return None;
                }
                let secret = Secret::new(text);
                self.contents.insert(self.key(name).name, secret.clone());
                Some(secret)
            }
            Err(error) => {
                self.reject_file(Topic::SecretUnreadable, name, format!("the file {shown} cannot be read: {error}"));
                None
            }
        }
    }
}
