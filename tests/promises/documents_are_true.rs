//! README, `docs/` and `deploy/` are true: keys, variables, metrics, commands, configurations, links and shell commands.
//!
//! `cargo xtask docs` writes the generated parts of the reference.

mod blocks;
mod faults;
mod followed;
mod generated;
mod links;

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use bearer_proxy::internals::config::{Config, KEYS, Loaded, Sources};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Every file below a folder of the repository.
fn files_below(folder: &str) -> Vec<PathBuf> {
    let (mut folders, mut files) = (vec![root().join(folder)], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    files.sort();
    files
}

/// Every page in Markdown, with its text.
fn pages() -> Vec<(PathBuf, String)> {
    let top = std::fs::read_dir(root()).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file());
    let folders = ["docs", "deploy", "bench", ".github"].into_iter().flat_map(files_below);
    let is_page = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "md");
    top.chain(folders).filter(is_page).map(|path| (path.clone(), read(path))).collect()
}

/// README, `docs/` without its pictures, and everything that is deployed, with its path.
fn texts() -> Vec<(PathBuf, String)> {
    let mut paths = vec![root().join("README.md"), root().join("Dockerfile")];
    let is_text = |path: &PathBuf| path.extension().is_none_or(|extension| extension != "png");
    paths.extend(["docs", "deploy"].into_iter().flat_map(files_below).filter(is_text));
    paths.into_iter().map(|path| (path.clone(), read(path))).collect()
}

/// Every word that starts with `prefix`, up to the first character that `such` rejects.
fn words<'a>(text: &'a str, prefix: &'a str, such: impl Fn(char) -> bool + 'a) -> impl Iterator<Item = &'a str> + 'a {
    text.match_indices(prefix).map(move |(at, _)| {
        let rest = &text[at..];
        &rest[..rest.find(|c: char| !such(c)).unwrap_or(rest.len())]
    })
}

fn name_character(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// The content of each fenced block in this language, with the number of its first line.
fn blocks(text: &str, language: &str) -> Vec<(usize, String)> {
    let mut found: Vec<(usize, String)> = Vec::new();
    // Whether the open block is in this language.
    let mut open = None;
    for (number, line) in text.lines().enumerate() {
        let line = line.trim_start();
        match (open, line.strip_prefix("```")) {
            (Some(_), Some(_)) => open = None,
            (None, Some(info)) => {
                open = Some(info.trim() == language);
                if open == Some(true) {
                    found.push((number + 2, String::new()));
                }
            }
            (Some(true), None) => {
                if let Some((_, block)) = found.last_mut() {
                    *block += line;
                    *block += "\n";
                }
            }
            (Some(false) | None, None) => {}
        }
    }
    found
}

#[test]
fn the_readme_is_short() {
    let bytes = read("README.md").len();
    assert!(bytes <= 10 * 1024, "{bytes} bytes: move something into docs/");
}

#[test]
fn every_key_that_is_named_is_one() {
    let sections: BTreeSet<_> = KEYS.iter().map(|key| key.section()).filter(|section| !section.is_empty()).collect();
    for (path, text) in texts() {
        for word in text.split(|c: char| !(name_character(c) || c == '.')) {
            let word = word.trim_end_matches('.');
            let Some((section, _)) = word.split_once('.') else { continue };
            // A file like `upstream.rs` or `admin.md` is named as a section is.
            let is_file = [".rs", ".md", ".json", ".yaml", "tls.crt", "tls.key"].iter().any(|end| word.ends_with(end));
            if !sections.contains(section) || is_file {
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
fn every_metric_that_is_named_exists() {
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
}

#[test]
fn every_configuration_that_is_shown_is_valid() {
    let mut seen = 0;
    for (path, text) in pages() {
        for (line, block) in blocks(&text, "toml") {
            seen += 1;
            let folder = tempfile::tempdir().unwrap();
            let mut block = block;
            while let Some((before, rest)) = block.split_once("\"/etc/bearer-proxy/") {
                let (name, after) = rest.split_once('"').unwrap();
                let file = folder.path().join(name);
                write_secret(&file, content(name));
                block = format!("{before}\"{}\"{after}", file.display());
            }
            let file = folder.path().join("config.toml");
            std::fs::write(&file, &block).unwrap();
            let loaded = Config::load(&Sources::new(Some(file), Vec::<(String, String)>::new()));
            valid(loaded, &format!("{}:{line}\n{block}", path.display()));
        }
    }
    assert!(seen >= 6, "{seen} blocks");
}

#[test]
fn every_deployment_is_valid() {
    let (mut seen, mut limited) = (0, 0);
    // `.ci/deploy` renders the templates of the chart.
    let rendered = |path: &PathBuf| !path.starts_with(root().join("deploy/chart/templates"));
    for (path, text) in texts().into_iter().filter(|(path, _)| rendered(path)) {
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
                        // A value that only the operator can supply.
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
            let loaded = Config::load(&Sources::new(None, environment.into_iter().chain(in_a_pod(folder.path()))));
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

/// What Kubernetes gives each pod, with the files of its service account in `account`.
fn in_a_pod(account: &Path) -> Vec<(String, String)> {
    std::fs::write(account.join("namespace"), "default").unwrap();
    let service =
        [("HOST", "10.96.0.1".to_owned()), ("PORT", "443".to_owned()), ("ACCOUNT_DIR", account.display().to_string())];
    service.into_iter().map(|(name, value)| (format!("KUBERNETES_SERVICE_{name}"), value)).collect()
}

const MIB: usize = 1 << 20;

/// The documented ceiling for HTTP/2 clients, plus what a cgroup counts in addition: socket buffers and TLS, for client and upstream
/// connections.
fn most_memory(config: &Config) -> usize {
    let (connections, in_flight) = (config.guard.max_connections, config.upstream.max_in_flight);
    let head = 8 * (config.guard.max_header_size + 64 * 1024);
    let ceiling = 10 * MIB + config.upstream.replay_budget + connections * MIB + in_flight * (27 * MIB / 10 + 2 * head);
    ceiling + (connections + in_flight) * MIB
}

/// In bytes: Kubernetes' `limits`, Compose's `mem_limit`, systemd's `MemoryMax`.
pub fn memory_limit(text: &str) -> Option<usize> {
    let value = text.lines().map(str::trim).find_map(|line| {
        let kubernetes = || line.strip_prefix("limits: {")?.split_once("memory: ").map(|(_, value)| value);
        kubernetes().or_else(|| line.strip_prefix("mem_limit: ")).or_else(|| line.strip_prefix("MemoryMax="))
    })?;
    let value = value.trim_start_matches('"');
    let digits = value.find(|c: char| !c.is_ascii_digit()).unwrap();
    let unit = if value[digits..].to_ascii_lowercase().starts_with('g') { 1024 * MIB } else { MIB };
    Some(value[..digits].parse::<usize>().unwrap() * unit)
}

fn valid(loaded: Result<Loaded, bearer_proxy::internals::config::Errors>, shown: &str) {
    match loaded {
        Ok(loaded) => assert!(loaded.warnings.is_empty(), "{:?}\n{shown}", loaded.warnings),
        Err(errors) => panic!("{errors}\n{shown}"),
    }
}

/// Readable for its owner only, as the documents create it.
fn write_secret(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

/// A valid content for a secret file, by its variable or its own name.
fn content(name: &str) -> &'static str {
    match name {
        "BEARER_PROXY_STORE__URL_FILE" | "store-url" => "postgres://user:password@db.example/grants",
        "BEARER_PROXY_STORE__KEYS_FILE" | "store-keys" => "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
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
pub fn environments(text: &str) -> Vec<(usize, Vec<(String, String)>)> {
    let unquoted = |text: &str| text.trim().trim_matches(|c| c == '"' || c == '\'').to_owned();
    let mut parts = Vec::new();
    for (part, document) in text.split("\n---\n").enumerate() {
        let mut environment = BTreeMap::new();
        for line in document.lines().map(str::trim) {
            let pair = if let Some(rest) = line.strip_prefix("- { name: BEARER_PROXY_") {
                let from_secret = || rest.split_once(", valueFrom: ").map(|(name, _)| (name, "from-a-secret"));
                rest.trim_end_matches('}').split_once(", value: ").or_else(from_secret)
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
