//! What the README and `deploy/` say of the program is so: keys, variables, metrics, problem types, commands, configurations.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use bearer_proxy::config::{Config, KEYS, Loaded, Sources, keys_markdown};

use crate::support::{PROGRAM, output};

const KEYS_BEGIN: &str = "<!-- keys:";
const KEYS_END: &str = "<!-- /keys -->";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The README and everything that is deployed, with its path.
fn texts() -> Vec<(PathBuf, String)> {
    let mut folders = vec![root().join("deploy")];
    let mut paths = vec![root().join("README.md"), root().join("Dockerfile")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { paths.push(path) }
        }
    }
    paths.into_iter().map(|path| (path.clone(), read(path))).collect()
}

/// Every word that begins with `prefix`, as long as its characters are such.
fn words<'a>(text: &'a str, prefix: &'a str, such: impl Fn(char) -> bool + 'a) -> impl Iterator<Item = &'a str> + 'a {
    text.match_indices(prefix).map(move |(at, _)| {
        let rest = &text[at..];
        &rest[..rest.find(|c: char| !such(c)).unwrap_or(rest.len())]
    })
}

fn name_character(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// The content between a marker's line and the end marker.
fn between<'a>(text: &'a str, begin: &str, end: &str) -> &'a str {
    let (_, rest) = text.split_once(begin).unwrap_or_else(|| panic!("the README has no {begin}"));
    let (_, rest) = rest.split_once("-->\n").unwrap();
    rest.split_once(end).unwrap_or_else(|| panic!("the README has no {end}")).0
}

/// To update the table: `UPDATE_README=1 cargo test --test promises the_table_of_keys`.
#[test]
fn the_table_of_keys_is_the_programs() {
    let readme = read("README.md");
    let present = between(&readme, KEYS_BEGIN, KEYS_END);
    if std::env::var_os("UPDATE_README").is_some() {
        let updated =
            readme.replace(&format!("-->\n{present}{KEYS_END}"), &format!("-->\n{}{KEYS_END}", keys_markdown()));
        std::fs::write(root().join("README.md"), updated).unwrap();
        return;
    }
    assert!(
        present == keys_markdown(),
        "the README's table of keys differs from src/config/keys/table.rs; write it anew: \
         UPDATE_README=1 cargo test --test promises the_table_of_keys"
    );
}

#[test]
fn every_key_that_is_named_is_one() {
    let sections: BTreeSet<_> = KEYS.iter().map(|key| key.section()).filter(|section| !section.is_empty()).collect();
    for (path, text) in texts() {
        for word in text.split(|c: char| !(name_character(c) || c == '.')) {
            let word = word.trim_end_matches('.');
            let Some((section, _)) = word.split_once('.') else { continue };
            // A path like `upstream.rs` or a host has no such section, but for file names.
            if !sections.contains(section) || word.ends_with(".rs") {
                continue;
            }
            let known = KEYS
                .iter()
                .any(|key| key.name == word || (key.kind.is_secret() && format!("{}_file", key.name) == word));
            assert!(known, "{}: no such key: {word}", path.display());
        }
    }
}

#[test]
fn every_variable_that_is_named_is_known() {
    let mut known: BTreeSet<String> = BTreeSet::from(["BEARER_PROXY_".into(), "BEARER_PROXY_CONFIG".into()]);
    for key in KEYS {
        known.insert(key.variable());
        if key.kind.is_secret() {
            known.insert(key.variable() + "_FILE");
        }
    }
    for (path, text) in texts() {
        for name in words(&text, "BEARER_PROXY_", name_character) {
            assert!(known.contains(name), "{}: no such variable: {name}", path.display());
        }
    }
}

#[test]
fn every_metric_that_is_named_exists_and_the_readme_names_all() {
    let source = read("src/metrics.rs");
    let metrics: BTreeSet<_> = words(&source, "bearer_proxy_", name_character).collect();
    for (path, text) in texts() {
        for name in words(&text, "bearer_proxy_", name_character) {
            let base = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix));
            let is_histogram = |name: &str| name.ends_with("_seconds");
            let known = metrics.contains(name) || base.is_some_and(|base| is_histogram(base) && metrics.contains(base));
            // The PostgreSQL store's table.
            assert!(known || name == "bearer_proxy_grant", "{}: no such metric: {name}", path.display());
        }
    }
    let readme = read("README.md");
    let table = between(&readme, "<!-- metrics:", "<!-- /metrics -->");
    let listed: BTreeSet<_> = words(table, "bearer_proxy_", name_character).collect();
    assert_eq!(listed, metrics);
}

#[test]
fn every_problem_type_that_is_listed_is_the_programs_and_the_readme_lists_all() {
    let source = read("src/proxy/error.rs");
    let (_, table) = source.split_once("fn row(&self)").unwrap();
    let (table, _) = table.split_once("\n    }\n").unwrap();
    let kinds: BTreeSet<_> = table
        .split('"')
        .skip(1)
        .step_by(2)
        // Errors of RFC 9209 have underscores; nobody is there to read `client-gone`.
        .filter(|text| !text.contains('_') && *text != "client-gone")
        .collect();
    let readme = read("README.md");
    let (_, rows) = readme.split_once("| status | type | when |").unwrap();
    let (rows, _) = rows.split_once("\n\n").unwrap();
    let listed: BTreeSet<_> =
        rows.lines().skip(2).map(|row| row.split('|').nth(2).unwrap().trim().trim_matches('`')).collect();
    assert_eq!(listed, kinds);
}

#[tokio::test]
async fn the_commands_are_those_of_the_help() {
    let readme = read("README.md");
    let (_, rows) = readme.split_once("| command | what it does |").unwrap();
    let (rows, _) = rows.split_once("\n\n").unwrap();
    let listed: BTreeSet<_> = rows.lines().skip(2).map(|row| row.split('`').nth(1).unwrap().to_owned()).collect();
    let mut help = tokio::process::Command::new(PROGRAM);
    help.arg("--help");
    let (_, help, _) = output(help).await;
    let (_, commands) = help.split_once("Commands:\n").unwrap();
    let (commands, _) = commands.split_once("\n\n").unwrap();
    let there: BTreeSet<_> = commands
        .lines()
        .filter(|line| !line.starts_with("   "))
        .map(|line| line.split_whitespace().next().unwrap().to_owned())
        .filter(|name| name != "help")
        .collect();
    assert_eq!(listed, there);
}

#[test]
fn every_configuration_that_is_shown_is_valid() {
    let folder = tempfile::tempdir().unwrap();
    let readme = read("README.md");
    let blocks: Vec<_> = readme.split("```toml\n").skip(1).map(|rest| rest.split_once("```").unwrap().0).collect();
    assert!(blocks.len() >= 4, "{} blocks", blocks.len());
    for block in blocks {
        let secret = folder.path().join("secret");
        write_secret(&secret, "a-secret\n");
        let secret = secret.display().to_string();
        let block =
            block.replace("/etc/bearer-proxy/client-secret", &secret).replace("/etc/bearer-proxy/token", &secret);
        let file = folder.path().join("config.toml");
        std::fs::write(&file, &block).unwrap();
        let loaded = Config::load(&Sources::new(Some(file), Vec::<(String, String)>::new()));
        valid(loaded, &block);
    }
}

#[test]
fn every_deployment_is_valid() {
    let (mut seen, mut limited) = (0, 0);
    for (path, text) in texts() {
        for (part, environment) in environments(&text) {
            seen += 1;
            let folder = tempfile::tempdir().unwrap();
            let environment: Vec<_> = environment
                .into_iter()
                .map(|(name, value)| {
                    if name == "BEARER_PROXY_CONFIG" {
                        return (
                            name,
                            value.replace("/etc/bearer-proxy", &root().join("deploy/systemd").display().to_string()),
                        );
                    }
                    if name == "BEARER_PROXY_GUARD__CLIENT_KEYS" {
                        // What the operator has to put there.
                        assert!(value.starts_with("YOUR-"), "{value}");
                        return (name, "0123456789abcdef".repeat(4));
                    }
                    if !name.ends_with("_FILE") {
                        return (name, value);
                    }
                    let file = folder.path().join(&name);
                    write_secret(&file, content(&name));
                    (name, file.display().to_string())
                })
                .collect();
            let shown = format!("{}, part {part}: {environment:?}", path.display());
            let loaded = Config::load(&Sources::new(None, environment));
            if let (Ok(loaded), Some(limit)) = (&loaded, memory_limit(&text)) {
                limited += 1;
                let most = most_memory(&loaded.config);
                assert!(most <= limit, "{} MiB may be held, of {} MiB: {shown}", most / MIB, limit / MIB);
            }
            valid(loaded, &shown);
        }
    }
    assert!(seen >= 5, "only {seen} environments were found in deploy/");
    assert_eq!(limited, 5, "deployments with a limit of memory");
}

const MIB: usize = 1 << 20;

/// The README's ceiling for HTTP/2 clients, and what a cgroup counts besides: socket buffers and TLS, for the connections of clients
/// and to the upstream.
fn most_memory(config: &Config) -> usize {
    let (connections, in_flight) = (config.guard.max_connections, config.upstream.max_in_flight);
    let head = 8 * (config.guard.max_header_size + 64 * 1024);
    let ceiling = 10 * MIB + config.upstream.replay_budget + connections * MIB + in_flight * (27 * MIB / 10 + 2 * head);
    ceiling + (connections + in_flight) * MIB
}

/// In bytes: Kubernetes' `limits`, Compose's `mem_limit`, systemd's `MemoryMax`.
fn memory_limit(text: &str) -> Option<usize> {
    let value = text.lines().map(str::trim).find_map(|line| {
        let kubernetes = || line.strip_prefix("limits: {")?.split_once("memory: ").map(|(_, value)| value);
        kubernetes().or_else(|| line.strip_prefix("mem_limit: ")).or_else(|| line.strip_prefix("MemoryMax="))
    })?;
    let digits = value.find(|c: char| !c.is_ascii_digit()).unwrap();
    let unit = if value[digits..].to_ascii_lowercase().starts_with('g') { 1024 * MIB } else { MIB };
    Some(value[..digits].parse::<usize>().unwrap() * unit)
}

fn valid(loaded: Result<Loaded, bearer_proxy::config::Errors>, shown: &str) {
    match loaded {
        Ok(loaded) => assert!(loaded.warnings.is_empty(), "{:?}\n{shown}", loaded.warnings),
        Err(errors) => panic!("{errors}\n{shown}"),
    }
}

/// For its owner alone, as the README has it made.
fn write_secret(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

/// What a secret's file would hold, that of the variable `name`.
fn content(name: &str) -> &'static str {
    match name {
        "BEARER_PROXY_STORE__URL_FILE" => "postgres://user:password@db.example/grants",
        "BEARER_PROXY_STORE__KEYS_FILE" => "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
        _ => "a-secret",
    }
}

/// The environments that a text sets, by part: a document of Kubernetes or Compose, or a unit.
///
/// ```text
/// - { name: NAME, value: "…" }      Kubernetes
/// NAME: "…"                         Compose
/// Environment=NAME=…                systemd
/// ```
fn environments(text: &str) -> Vec<(usize, Vec<(String, String)>)> {
    let unquoted = |text: &str| text.trim().trim_matches(|c| c == '"' || c == '\'').to_owned();
    let mut parts = Vec::new();
    for (part, document) in text.split("\n---\n").enumerate() {
        let mut environment = BTreeMap::new();
        for line in document.lines().map(str::trim) {
            let pair = if let Some(rest) = line.strip_prefix("- { name: BEARER_PROXY_") {
                rest.trim_end_matches('}').split_once(", value: ")
            } else if let Some(rest) = line.strip_prefix("BEARER_PROXY_") {
                rest.split_once(": ")
            } else if let Some(rest) = line.strip_prefix("Environment=BEARER_PROXY_") {
                rest.split_once('=')
            } else {
                None
            };
            if let Some((name, value)) = pair {
                environment.insert(format!("BEARER_PROXY_{}", name.trim()), unquoted(value));
            }
        }
        if !environment.is_empty() {
            parts.push((part, environment.into_iter().collect()));
        }
    }
    parts
}
