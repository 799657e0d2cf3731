//! The values of the layers before they are parsed: for each key, text of the right shape, and its place.

use std::collections::BTreeMap;
use std::path::PathBuf;

use toml::Spanned;
use toml::de::{DeArray, DeValue};

use super::error::{ConfigError, Place};
use super::key::{Form, Key, Kind};
use crate::secret::Secret;

/// One layer, or several merged ones. An empty value is unset or an error ([`Key::unset_means`]), unless the key allows it.
#[derive(Default)]
pub(super) struct Settings(BTreeMap<&'static str, Setting>);

#[derive(Clone)]
pub(super) struct Setting {
    pub place: Place,
    pub raw: Raw,
}

#[derive(Clone)]
pub(super) enum Raw {
    Text(String),
    List(Vec<String>),
    /// Also parameters: each is a name and a value.
    Headers(Vec<Header>),
    Secret(Secret),
    Secrets(Vec<Secret>),
    /// The path in `X_file`.
    SecretFile(PathBuf),
}

#[derive(Clone)]
pub(super) struct Header {
    pub name: String,
    pub value: Secret,
    pub place: Place,
}

/// A value of another shape than the key has: "found an integer".
pub(super) struct WrongShape(pub String);

// === impl Settings ===

impl Settings {
    pub(super) fn get(&self, key: &str) -> Option<&Setting> {
        self.0.get(key)
    }

    pub(super) fn set(&mut self, key: &'static Key, place: Place, raw: Raw) {
        self.0.insert(key.name, Setting { place, raw });
    }

    /// Sets a value of one layer. Setting one secret in two ways is an error, because the intended one is unknown.
    pub(super) fn set_once(&mut self, key: &'static Key, place: Place, raw: Raw) -> Result<(), ConfigError> {
        match self.0.get(key.name) {
            Some(other) if key.kind.is_secret() => Err(ConfigError::Rule {
                key: key.name.to_owned(),
                what: format!("set twice, also by {}: set only one of {} and {}_file", other.place, key.name, key.name),
                place,
            }),
            _ => {
                self.set(key, place, raw);
                Ok(())
            }
        }
    }

    /// Merges a layer with higher precedence. Headers are merged by name.
    pub(super) fn merge(&mut self, higher: Self) {
        for (name, setting) in higher.0 {
            let merged = match (self.0.remove(name), setting) {
                (Some(Setting { raw: Raw::Headers(lower), .. }), Setting { place, raw: Raw::Headers(mut headers) }) => {
                    let inherited =
                        lower.into_iter().filter(|header| !headers.iter().any(|other| other.is_named(&header.name)));
                    let mut all: Vec<_> = inherited.collect();
                    all.append(&mut headers);
                    Setting { place, raw: Raw::Headers(all) }
                }
                (_, setting) => setting,
            };
            self.0.insert(name, merged);
        }
    }
}

// === impl Raw ===

impl Raw {
    /// Reads a variable or a default: lists are comma-separated, tables are inline TOML. `None`: empty.
    pub(super) fn from_text(key: &Key, form: Form, text: &str, place: &Place) -> Result<Option<Self>, WrongShape> {
        if text.is_empty() && !key.may_be_empty {
            return Ok(None);
        }
        Ok(match (&key.kind, form) {
            (_, Form::File) => Some(Self::SecretFile(text.into())),
            (Kind::Secret(_), _) => Some(Self::Secret(Secret::new(text))),
            (Kind::Secrets(_), _) => Self::secrets(text),
            (Kind::Digests(_) | Kind::List(_) | Kind::TextOrList(_), _) => {
                Self::list(text.split(',').map(|item| item.trim().to_owned()))
            }
            (Kind::Headers | Kind::Parameters, _) => {
                // The message of the parser does not contain the text.
                let table = DeValue::parse(text)
                    .map_err(|error| WrongShape(format!("not inline TOML ({})", error.message())))?;
                Self::headers(table.get_ref(), |_| place.clone())?
            }
            _ => Some(Self::Text(text.to_owned())),
        })
    }

    /// Reads a value of a file. `place` returns the place of a span. `None`: empty.
    pub(super) fn from_toml(
        key: &Key,
        form: Form,
        value: &DeValue<'_>,
        place: impl Fn(usize) -> Place,
    ) -> Result<Option<Self>, WrongShape> {
        // An empty text is an unset value for every shape of key.
        if value.as_str() == Some("") && !key.may_be_empty {
            return Ok(None);
        }
        if form == Form::File {
            return text(value).map(|path| Some(Self::SecretFile(path.into())));
        }
        Ok(match (&key.kind, value) {
            (Kind::Boolean, DeValue::Boolean(flag)) => Some(Self::Text(flag.to_string())),
            (Kind::Boolean, other) => return Err(wrong(other)),
            (Kind::Count { .. }, DeValue::Integer(_)) => Some(Self::Text(integer(value)?)),
            (Kind::Count { .. }, other) => return Err(wrong(other)),
            (Kind::Size { .. } | Kind::Choice(_), DeValue::Integer(_)) => Some(Self::Text(integer(value)?)),
            (Kind::Digests(_) | Kind::List(_) | Kind::TextOrList(_), DeValue::Array(items)) => {
                Self::list(texts(items)?.into_iter())
            }
            (Kind::TextOrList(_), DeValue::String(text)) => Self::list(std::iter::once(text.to_string())),
            (Kind::Digests(_) | Kind::List(_) | Kind::TextOrList(_), other) => return Err(wrong(other)),
            (Kind::Headers | Kind::Parameters, table) => Self::headers(table, place)?,
            (Kind::Secret(_), value) => Some(Self::Secret(Secret::new(text(value)?))),
            (Kind::Secrets(_), DeValue::Array(items)) => {
                let secrets: Vec<_> =
                    texts(items)?.into_iter().filter(|item| !item.is_empty()).map(Secret::new).collect();
                (!secrets.is_empty()).then_some(Self::Secrets(secrets))
            }
            (Kind::Secrets(_), other) => return Err(wrong(other)),
            (_, value) => Some(Self::Text(text(value)?)),
        })
    }

    /// A list of secrets as text: one on each line, or comma-separated.
    pub(super) fn secrets(text: &str) -> Option<Self> {
        let items = text.split([',', '\n']).map(str::trim).filter(|item| !item.is_empty());
        let secrets: Vec<_> = items.map(Secret::new).collect();
        (!secrets.is_empty()).then_some(Self::Secrets(secrets))
    }

    fn list(items: impl Iterator<Item = String>) -> Option<Self> {
        let items: Vec<_> = items.filter(|item| !item.is_empty()).collect();
        (!items.is_empty()).then_some(Self::List(items))
    }

    fn headers(value: &DeValue<'_>, place: impl Fn(usize) -> Place) -> Result<Option<Self>, WrongShape> {
        let DeValue::Table(table) = value else { return Err(wrong(value)) };
        let mut headers: Vec<Header> = Vec::new();
        for (name, value) in table {
            let shown = shown_name(name.get_ref());
            let value_text =
                text(value.get_ref()).map_err(|WrongShape(what)| WrongShape(format!("for `{shown}`, {what}")))?;
            if headers.iter().any(|other| other.is_named(name.get_ref())) {
                return Err(WrongShape(format!("`{shown}` is given twice (names are not case-sensitive)")));
            }
            if !value_text.is_empty() {
                let place = place(name.span().start);
                headers.push(Header { name: name.get_ref().to_string(), value: Secret::new(value_text), place });
            }
        }
        Ok((!headers.is_empty()).then_some(Self::Headers(headers)))
    }
}

// === impl Header ===

impl Header {
    pub(super) fn is_named(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }
}

/// An untrusted name, escaped for one line of text.
pub(super) fn shown_name(name: &str) -> String {
    let mut shown: String = name.chars().take(80).flat_map(char::escape_debug).collect();
    if name.chars().nth(80).is_some() {
        shown.push('…');
    }
    shown
}

fn text(value: &DeValue<'_>) -> Result<String, WrongShape> {
    value.as_str().map(str::to_owned).ok_or_else(|| wrong(value))
}

/// The items of a list of texts. A status is a text too.
fn texts(items: &DeArray<'_>) -> Result<Vec<String>, WrongShape> {
    items
        .iter()
        .map(Spanned::get_ref)
        .map(|item| if item.is_integer() { integer(item) } else { text(item) })
        .collect::<Result<_, _>>()
        .map_err(|WrongShape(what)| WrongShape(format!("in an item, {what}")))
}

/// In decimal, for every notation.
fn integer(value: &DeValue<'_>) -> Result<String, WrongShape> {
    let DeValue::Integer(integer) = value else { return Err(wrong(value)) };
    u64::from_str_radix(integer.as_str(), integer.radix())
        .map(|number| number.to_string())
        .map_err(|_| WrongShape("out of range".to_owned()))
}

fn wrong(value: &DeValue<'_>) -> WrongShape {
    WrongShape(match value {
        DeValue::String(_) => "found a text".to_owned(),
        DeValue::Integer(_) => "found an integer".to_owned(),
        DeValue::Array(_) => "found a list".to_owned(),
        other => format!("found a {}", other.type_str()),
    })
}
