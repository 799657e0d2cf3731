//! The generated parts of the reference equal what the program says. `cargo xtask docs` writes them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use bearer_proxy::internals::config::{keys_markdown, profiles_markdown};
use http::{Method, StatusCode};
use simulator::{Options, Simulator};
use tokio::process::Command;

use super::{files_below, name_character, read, root};
use testkit::{Proxy, output, program, request};

const END: &str = "<!-- /generated -->";

/// Compares the part `name` of a page, or writes it with `UPDATE_DOCS`.
pub(super) fn check(page: &str, name: &str, expected: &str) {
    let begin = format!("<!-- generated: {name} -->\n");
    let text = read(page);
    let (before, rest) = text.split_once(&begin).unwrap_or_else(|| panic!("{page} does not contain {begin}"));
    let (present, after) = rest.split_once(END).unwrap_or_else(|| panic!("{page} does not contain {END}"));
    let expected = format!("{}\n", expected.trim());
    if present == expected {
        return;
    }
    assert!(
        std::env::var_os("UPDATE_DOCS").is_some(),
        "the part {name:?} of {page} differs from the program; `cargo xtask docs` writes it"
    );
    std::fs::write(root().join(page), format!("{before}{begin}{expected}{END}{after}")).unwrap();
}

#[test]
fn the_table_of_keys_is_the_programs() {
    check("docs/reference/configuration.md", "keys", &keys_markdown());
    check("docs/reference/configuration.md", "profiles", &profiles_markdown());
}

#[tokio::test]
async fn the_commands_are_those_of_the_help() {
    let help = async |arguments: &[&str]| {
        let mut command = Command::new(program());
        command.args(arguments).env_clear();
        let (_, text, _) = output(command).await;
        text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n").trim().to_owned()
    };
    let top = help(&["--help"]).await;
    let (_, commands) = top.split_once("Commands:\n").unwrap();
    let (commands, _) = commands.split_once("\n\n").unwrap();
    let mut text = format!("## bearer-proxy\n\n```text\n{top}\n```\n");
    for line in commands.lines().filter(|line| !line.starts_with("   ")) {
        let name = line.split_whitespace().next().unwrap();
        if name != "help" {
            let _ = write!(text, "\n## {name}\n\n```text\n{}\n```\n", help(&[name, "--help"]).await);
        }
    }
    check("docs/reference/commands.md", "commands", &text);
}

/// Labels whose values depend on the requests, or on what happened so far.
const OPEN_LABELS: [&str; 4] = ["method", "code", "version", "operation"];

#[tokio::test]
async fn the_metrics_are_those_of_a_scrape() {
    let simulator = Simulator::start(Options::league8()).await.unwrap();
    let proxy = Proxy::before(&simulator).start().await;
    proxy.ready().await;
    // One response of the upstream, one of the proxy.
    proxy.get("/").await;
    proxy.http1().await.send(request(Method::TRACE, "/")).await.unwrap();
    let scrape = proxy.admin(Method::GET, "/metrics").await.text();

    let mut text = String::from("| metric | type | labels | meaning |\n|---|---|---|---|\n");
    for line in scrape.lines().filter_map(|line| line.strip_prefix("# HELP ")) {
        let (name, help) = line.split_once(' ').unwrap();
        let kind = scrape.lines().find_map(|line| line.strip_prefix(&format!("# TYPE {name} "))).unwrap();
        let mut labels: Vec<(&str, BTreeSet<&str>)> = Vec::new();
        for (label, value) in scrape.lines().filter(|line| line.starts_with(name)).flat_map(labels_of) {
            match labels.iter_mut().find(|(known, _)| *known == label) {
                Some((_, values)) => _ = values.insert(value),
                None => labels.push((label, BTreeSet::from([value]))),
            }
        }
        let labels: Vec<_> = labels
            .iter()
            .filter(|(label, _)| *label != "le")
            .map(|(label, values)| {
                let listed: Vec<_> = values.iter().map(|value| format!("`{value}`")).collect();
                let is_open = OPEN_LABELS.contains(label) || values.len() < 2;
                if is_open { format!("`{label}`") } else { format!("`{label}` ({})", listed.join(", ")) }
            })
            .collect();
        let _ = writeln!(text, "| `{name}` | {kind} | {} | {} |", labels.join("; "), help.replace('|', "\\|"));
    }
    check("docs/reference/metrics.md", "metrics", &text);
}

/// The labels of a sample, with their values.
fn labels_of(sample: &str) -> Vec<(&str, &str)> {
    let Some((_, rest)) = sample.split_once('{') else { return Vec::new() };
    let labels = rest.rsplit_once('}').unwrap().0;
    labels.split("\",").filter_map(|pair| pair.trim_end_matches('"').split_once("=\"")).collect()
}

#[test]
fn the_problem_types_are_those_of_the_source() {
    let mut rows: BTreeMap<(u16, String), BTreeSet<String>> = BTreeMap::new();
    for (_, source) in sources("src/proxy") {
        for rest in source.split("StatusCode::").skip(1) {
            let name = &rest[..rest.find(|c: char| !(c.is_ascii_uppercase() || c == '_')).unwrap_or(rest.len())];
            // `StatusCode::LOOP_DETECTED, "loop", "proxy_loop_detected"`
            let mut parts = rest[name.len()..].split('"');
            let (Some(comma), Some(kind), Some(between), Some(error)) =
                (parts.next(), parts.next(), parts.next(), parts.next())
            else {
                continue;
            };
            if comma.trim() == "," && between.trim() == "," {
                rows.entry((status(name), kind.to_owned())).or_default().insert(error.to_owned());
            }
        }
    }
    let page = read("docs/reference/errors.md");
    let mut text = String::from("| status | type | `Proxy-Status` error |\n|---|---|---|\n");
    for ((status, kind), errors) in &rows {
        assert!(page.contains(&format!("\n## {kind}\n")), "docs/reference/errors.md has no section {kind}");
        let errors: Vec<_> = errors.iter().map(|error| format!("`{error}`")).collect();
        let _ = writeln!(text, "| {status} | [`{kind}`](#{kind}) | {} |", errors.join(", "));
    }
    assert!(rows.len() >= 15, "{} types", rows.len());
    check("docs/reference/errors.md", "errors", &text);
}

/// The number of a constant of `StatusCode`.
fn status(name: &str) -> u16 {
    let is_named = |code: &StatusCode| {
        code.canonical_reason().is_some_and(|reason| reason.to_uppercase().replace([' ', '-'], "_") == name)
    };
    (100..600).filter_map(|code| StatusCode::from_u16(code).ok()).find(is_named).expect("a status code").as_u16()
}

#[test]
fn the_log_events_are_those_of_the_source() {
    const LEVELS: [&str; 5] = ["error", "warn", "info", "debug", "trace"];
    let mut events: BTreeSet<(usize, String, String)> = BTreeSet::new();
    for (_, source) in sources("src") {
        for (rank, level) in LEVELS.iter().enumerate() {
            let call = format!("{level}!(");
            for (at, _) in source.match_indices(&call) {
                let before = source[..at].chars().next_back();
                let is_event =
                    source[..at].ends_with("tracing::") || before.is_none_or(|c| !name_character(c) && c != ':');
                if is_event {
                    let (message, fields) = event(&source[at + call.len()..]);
                    events.insert((rank, message, fields));
                }
            }
        }
    }
    assert!(events.len() >= 60, "{} events", events.len());
    let mut text = String::from("| level | message | fields |\n|---|---|---|\n");
    for (rank, message, fields) in &events {
        let _ = writeln!(text, "| {} | {message} | {fields} |", LEVELS[*rank].to_uppercase());
    }
    check("docs/reference/logs.md", "logs", &text);
}

#[test]
fn the_events_that_need_a_person_exist() {
    let page = read("docs/reference/logs.md");
    let (_, table) = page.split_once("| event | what to do |\n|---|---|\n").unwrap();
    let (table, _) = table.split_once("\n\n").unwrap();
    let sources = sources("src");
    for row in table.lines() {
        let message = row.split('|').nth(1).unwrap().trim();
        assert!(sources.iter().any(|(_, source)| source.contains(message)), "no such event: {message}");
    }
}

/// The message and the field names of an event, from the arguments of its macro.
pub(super) fn event(arguments: &str) -> (String, String) {
    let (mut message, mut fields) = (String::new(), Vec::new());
    for argument in split(arguments) {
        let argument = argument.trim();
        if let Some(literal) = argument.strip_prefix('"') {
            if message.is_empty() {
                let literal = literal.trim_end_matches('"');
                // A backslash at the end of a line continues the literal.
                message = literal.split("\\\n").map(str::trim_start).collect::<String>().replace('|', "\\|");
            }
        } else if !argument.starts_with("target:") && message.is_empty() && !argument.is_empty() {
            let name = argument.split('=').next().unwrap().trim().trim_start_matches(['%', '?']);
            fields.push(format!("`{}`", name.rsplit('.').next().unwrap()));
        }
    }
    (message, fields.join(", "))
}

/// The arguments of a call, up to its closing parenthesis.
pub(super) fn split(text: &str) -> Vec<&str> {
    let (mut parts, mut start, mut depth, mut quoted, mut escaped) = (Vec::new(), 0, 0, false, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ if quoted => {}
            ')' if depth == 0 => {
                parts.push(&text[start..at]);
                break;
            }
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts
}

/// The sources below a folder, without their tests.
pub(super) fn sources(folder: &str) -> Vec<(String, String)> {
    let is_test =
        |path: &str| ["/tests/", "/tests.rs", "/testing.rs", "fuzzing.rs"].iter().any(|part| path.contains(part));
    files_below(folder)
        .into_iter()
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .map(|path| (path.display().to_string(), read(&path)))
        .filter(|(path, _)| !is_test(path))
        .map(|(path, text)| {
            let code = text.split("#[cfg(test)]\nmod tests").next().unwrap();
            // Comments may name events, too.
            let lines: Vec<_> = code.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
            (path, lines.join("\n"))
        })
        .collect()
}
