use std::collections::BTreeSet;

use super::*;
use crate::config::error::Place;
use crate::config::key::Preset;
use crate::config::markdown::{keys_markdown, profiles_markdown};
use crate::config::profile::Profile;
use crate::config::settings::Raw;

#[test]
fn a_sections_keys_stand_together_and_each_once() {
    let mut seen = BTreeSet::new();
    let mut sections: Vec<&str> = Vec::new();
    for key in KEYS {
        assert!(seen.insert(key.name), "{} twice", key.name);
        if sections.last() != Some(&key.section()) {
            assert!(!sections.contains(&key.section()), "{} apart from its section", key.name);
            sections.push(key.section());
        }
    }
    assert_eq!(sections.first(), Some(&""), "TOML has keys without a section before all sections");
}

#[test]
fn no_name_is_both_a_key_and_a_file_of_another() {
    for key in KEYS {
        let file = format!("{}_file", key.name);
        assert!(!key.kind.is_secret() || KEYS.iter().all(|other| other.name != file), "{file}");
    }
}

#[test]
fn no_key_is_taken_for_a_variable_of_kubernetes() {
    for key in KEYS {
        let variable = key.variable();
        assert!(
            !variable.starts_with("BEARER_PROXY_PORT") && !variable.starts_with("BEARER_PROXY_SERVICE"),
            "{variable}"
        );
        assert_ne!(variable, "BEARER_PROXY_CONFIG");
    }
}

#[test]
fn every_row_of_our_own_tables_has_the_shape_of_its_key() {
    let rows = || Profile::all().flat_map(|profile| profile.values().iter().copied());
    let defaults = KEYS.iter().filter_map(|key| match key.preset {
        Preset::Value(text) => Some((key.name, text)),
        _ => None,
    });
    for (name, text) in defaults.chain(rows()) {
        let (key, form) = find(name).unwrap();
        assert!(matches!(Raw::from_text(key, form, text, &Place::Default), Ok(Some(_))), "{name}");
    }
    for (name, _) in rows() {
        assert!(matches!(find(name).unwrap().0.preset, Preset::Profile), "{name} says that the profile has it");
    }
}

#[test]
fn a_slip_is_answered_by_what_was_probably_meant() {
    for (name, expected) in [
        ("upstream.conect_timeout", Some("upstream.connect_timeout")),
        ("oauth.client_secretfile", Some("oauth.client_secret_file")),
        ("token_url", Some("oauth.token_url")),
        ("guard.via", Some("via")),
        ("colour", None),
        ("x", None),
    ] {
        assert_eq!(nearest(name), expected.map(|key| format!("did you mean {key}?")), "{name}");
    }
    assert_eq!(nearest(&"x".repeat(100_000)), None);
}

#[test]
fn the_markdown_has_a_row_a_key() {
    let text = keys_markdown();
    assert_eq!(text.lines().count(), KEYS.len() + 2);
    assert!(text.contains(
        "\n| `upstream.connect_timeout` | `5s` | a duration from 10ms to 10m |  | Time limit for DNS, TCP and TLS together. |\n"
    ));
    assert!(text.contains("\n| `admin.key` (or `_file`) | – |"));
    let cells = |line: &str| line.replace("\\|", "").matches('|').count();
    assert!(text.lines().all(|line| cells(line) == 6), "{text}");
}

#[test]
fn a_profile_has_a_column_and_a_key_of_its_a_row() {
    let text = profiles_markdown();
    let rows = KEYS.iter().filter(|key| matches!(key.preset, Preset::Profile)).count();
    assert_eq!(text.lines().count(), rows + 2);
    for line in [
        "| key | `passolution` | `priava` | `custom` |",
        "|---|---|---|---|",
        "| `upstream.url` | `https://api.passolution.eu` | `https://api.priava.com` | required |",
        "| `upstream.refusal` | `401`, `302 **/login`, `303 **/login` | `401` | `401` |",
        "| `upstream.headers` | – | `TenantRegion`, copied from `oauth.headers` | – |",
        "| `oauth.redirect_uri` | `http://127.0.0.1/callback` | required | `http://127.0.0.1/callback` |",
        "| `check.path` | `/api/v2/account/subscription` | – | – |",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
    }
}
