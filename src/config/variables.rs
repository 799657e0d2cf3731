//! The layer of the environment: `BEARER_PROXY_` and the key in upper case, with `__` between section and key.

use std::ffi::OsStr;

use super::environment::Environment;
use super::error::{ConfigError, Place};
use super::key::PREFIX;
use super::keys;
use super::service_links::is_service_link;
use super::settings::{Raw, Settings, WrongShape, shown_name};

pub(super) fn settings(environment: &Environment, errors: &mut Vec<ConfigError>) -> Settings {
    let mut settings = Settings::default();
    for (name, value) in environment.iter() {
        // A name that is not Unicode is not a key. `get` finds the last value of a name.
        let Some(name) = name.to_str().filter(|name| is_ours(name, value)) else { continue };
        let place = Place::Environment(shown_name(name));
        let Some((key, form)) = keys::find_variable(name) else {
            errors.push(unknown(name, place));
            continue;
        };
        let raw = match value.to_str() {
            Some(text) => Raw::from_text(key, form, text, &place),
            None => Err(WrongShape("not UTF-8".to_owned())),
        };
        let outcome = match raw {
            Ok(Some(raw)) => settings.set_once(key, place, raw),
            Ok(None) => ConfigError::empty(key, form, place).map_or(Ok(()), Err),
            Err(WrongShape(reason)) => {
                Err(ConfigError::value(key.name.to_owned(), place, None, &reason, key.kind.accepts()))
            }
        };
        errors.extend(outcome.err());
    }
    settings
}

/// The variables that Kubernetes has injected, which look like keys of this program.
pub(super) fn service_links(environment: &Environment) -> Vec<String> {
    let links = environment.iter().filter_map(|(name, value)| {
        let (name, value) = (name.to_str()?, value.to_str()?);
        is_service_link(name.strip_prefix(PREFIX)?, value).then(|| name.to_owned())
    });
    links.collect()
}

/// Whether a variable is meant for this program.
fn is_ours(name: &str, value: &OsStr) -> bool {
    let Some(rest) = name.strip_prefix(PREFIX) else { return false };
    // No key has such a name, so the value does not matter.
    let of_this_name = rest == "PORT" || rest.starts_with("PORT_") || rest.starts_with("SERVICE_");
    rest != "CONFIG" && !of_this_name && !value.to_str().is_some_and(|value| is_service_link(rest, value))
}

fn unknown(name: &str, place: Place) -> ConfigError {
    // The variables of a Service `bearer-proxy-admin` look like keys.
    let injected = ["_SERVICE_HOST", "_SERVICE_PORT", "_PORT"].iter().any(|part| name.contains(part));
    let links = || injected.then(|| "if Kubernetes injects it, set enableServiceLinks: false in the pod".to_owned());
    let suggestion = keys::nearest_variable(name).or_else(links);
    ConfigError::Unknown { name: shown_name(name), place, suggestion }
}
