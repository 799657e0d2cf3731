//! The tables of keys and profiles in the documentation.

use super::key::{Key, Kind, Preset};
use super::keys::KEYS;
use super::profile::{NAMES, PROFILES, Row};

/// All keys, as a table in Markdown.
pub fn keys_markdown() -> String {
    let mut text = String::from("| key | default | accepted | restart | meaning |\n|---|---|---|---|---|\n");
    for key in KEYS {
        let accepts = key.kind.accepts().replace('|', "\\|");
        // The examples are for readers of an error.
        let accepts = accepts.split(", such as").next().unwrap_or_default();
        let file = if key.kind.is_secret() { " (or `_file`)" } else { "" };
        let restart = if key.needs_restart { "yes" } else { "" };
        text += &format!("| `{}`{file} | {} | {accepts} | {restart} | {} |\n", key.name, key.preset.text(), key.doc);
    }
    text
}

/// What the profiles set, as a table in Markdown: a column for each profile, a row for each key whose default is the profile's.
pub fn profiles_markdown() -> String {
    let row = |first: String, rest: &mut dyn Iterator<Item = String>| {
        format!("| {first} | {} |\n", rest.collect::<Vec<_>>().join(" | "))
    };
    let mut text = row("key".into(), &mut NAMES.iter().map(|name| format!("`{name}`")));
    text += &format!("|{}\n", "---|".repeat(NAMES.len() + 1));
    for key in KEYS.iter().filter(|key| matches!(key.preset, Preset::Profile)) {
        text += &row(format!("`{}`", key.name), &mut PROFILES.iter().map(|profile| profile.cell(key)));
    }
    text
}

// === impl Row ===

impl Row {
    /// The value of a key, for the documentation.
    fn cell(&self, key: &Key) -> String {
        if let Some((_, value)) = self.values.iter().find(|(name, _)| *name == key.name) {
            let items: Vec<_> = match key.kind {
                Kind::List(_) => value.split(',').map(|item| format!("`{item}`")).collect(),
                _ => vec![format!("`{value}`")],
            };
            return items.join(", ");
        }
        match (key.name, self.tenant_header) {
            ("oauth.headers", Some(header)) => format!("`{header}` required"),
            ("upstream.headers", Some(header)) => format!("`{header}`, copied from `oauth.headers`"),
            ("upstream.url", _) => "required".into(),
            ("oauth.token_url", _) => "required, except for `static`".into(),
            ("oauth.redirect_uri", _) if self.needs_redirect_uri => "required".into(),
            _ => "–".into(),
        }
    }
}

// === impl Preset ===

impl Preset {
    fn text(&self) -> String {
        match self {
            Self::Unset => "–".to_owned(),
            Self::Value(text) => format!("`{text}`"),
            Self::Profile => "profile".to_owned(),
            Self::Computed(text) => (*text).to_owned(),
        }
    }
}
