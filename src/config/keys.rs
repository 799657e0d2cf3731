//! All keys: what the layers may hold, and what the documentation lists.

use super::key::{Form, Key};
use super::sections::SECTIONS;

/// Every key, in the order in which they are printed. A section's keys stand together.
pub const KEYS: &[Key] = &{
    let mut keys = [SECTIONS[0][0]; COUNT];
    let (mut section, mut index, mut at) = (0, 0, 0);
    while section < SECTIONS.len() {
        while index < SECTIONS[section].len() {
            keys[at] = SECTIONS[section][index];
            index += 1;
            at += 1;
        }
        section += 1;
        index = 0;
    }
    keys
};

const COUNT: usize = {
    let (mut section, mut count) = (0, 0);
    while section < SECTIONS.len() {
        count += SECTIONS[section].len();
        section += 1;
    }
    count
};

/// The key of that name in the file.
pub(super) fn find(name: &str) -> Option<(&'static Key, Form)> {
    KEYS.iter().find_map(|key| key.form(name, key.name, "_file"))
}

/// The key of that variable; the name has the prefix of all variables.
pub(super) fn find_variable(name: &str) -> Option<(&'static Key, Form)> {
    KEYS.iter().find_map(|key| key.form(name, &key.variable(), "_FILE"))
}

/// Whether keys begin with this name and a dot.
pub(super) fn is_section(name: &str) -> bool {
    KEYS.iter().any(|key| key.section() == name)
}

/// The key that was probably meant, as it would be written in the file.
pub(super) fn nearest(name: &str) -> Option<String> {
    nearest_of(name, '.', |key| (key.name.to_owned(), "_file"))
}

/// The variable that was probably meant.
pub(super) fn nearest_variable(name: &str) -> Option<String> {
    nearest_of(name, '_', |key| (key.variable(), "_FILE"))
}

fn nearest_of(name: &str, separator: char, spell: impl Fn(&Key) -> (String, &'static str)) -> Option<String> {
    // A longer name is no typing error, and the distance costs its square.
    if name.len() > 100 {
        return None;
    }
    let candidates = KEYS.iter().flat_map(|key| {
        let (plain, suffix) = spell(key);
        let file = key.kind.is_secret().then(|| format!("{plain}{suffix}"));
        std::iter::once(plain).chain(file)
    });
    let allowed = 2 + name.len() / 8;
    candidates
        .filter_map(|candidate| {
            let distance = strsim::damerau_levenshtein(name, &candidate);
            // `client_id` at the top, or in another section.
            let displaced = separator == '.' && candidate.rsplit('.').next() == name.rsplit('.').next();
            (distance <= allowed || displaced).then_some((distance, candidate))
        })
        .min()
        .map(|(_, candidate)| format!("did you mean {candidate}?"))
}

#[cfg(test)]
mod tests;
