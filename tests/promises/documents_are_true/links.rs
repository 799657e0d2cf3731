//! Every relative link leads to a file, and every anchor to a heading. The table of contents lists every page.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::{files_below, pages, read, root};

#[test]
fn every_link_leads_somewhere() {
    let mut seen = 0;
    for (page, text) in pages() {
        let folder = page.parent().unwrap();
        for target in links(&text) {
            if target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            seen += 1;
            let (path, anchor) = target.split_once('#').unwrap_or((&target, ""));
            let file = if path.is_empty() { page.clone() } else { folder.join(path) };
            assert!(file.exists(), "{}: no such file: {target}", page.display());
            if !anchor.is_empty() {
                let anchors = anchors(&read(&file));
                assert!(anchors.contains(anchor), "{}: no such heading: {target}", page.display());
            }
        }
    }
    assert!(seen > 100, "only {seen} links were found");
}

#[test]
fn the_table_of_contents_lists_every_page() {
    let docs = root().join("docs");
    let listed = |list: &str| -> BTreeSet<_> {
        let folder = docs.join(list);
        let folder = folder.parent().unwrap();
        links(&read(docs.join(list))).into_iter().map(|link| folder.join(link)).collect()
    };
    let is_page = |path: &Path| path.extension().is_some_and(|end| end == "md") && !path.ends_with("docs/SUMMARY.md");
    let pages: BTreeSet<_> = files_below("docs").into_iter().filter(|path| is_page(path)).collect();
    assert_eq!(listed("SUMMARY.md"), pages, "docs/SUMMARY.md");
    let decisions = docs.join("decisions");
    let decisions: BTreeSet<_> =
        pages.into_iter().filter(|path| path.starts_with(&decisions) && !path.ends_with("README.md")).collect();
    assert_eq!(listed("decisions/README.md"), decisions, "docs/decisions/README.md");
}

#[test]
fn every_decision_has_its_sections() {
    for path in files_below("docs/decisions").iter().filter(|path| !path.ends_with("README.md")) {
        let text = read(path);
        let headings: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("## ")).collect();
        let expected = ["Context", "Decision", "Consequences", "Measurement", "What would reverse it"];
        assert_eq!(headings, expected, "{}", path.display());
    }
}

#[test]
fn the_map_names_modules_that_exist() {
    let mut seen = 0;
    for page in ["ARCHITECTURE.md", "CONTRIBUTING.md"] {
        let text = read(page);
        for word in text.split(|c: char| !(c.is_ascii_alphanumeric() || "_/.-".contains(c))) {
            let word = word.trim_end_matches(['.', '/']);
            let Some((first, _)) = word.split_once('/') else { continue };
            // Other words with a slash are URLs and prose.
            let is_ours = ["src", "tests", "docs", "crates", "fuzz", "bench", "release", "deploy", "xtask", ".ci"]
                .contains(&first);
            let is_module = first.starts_with(char::is_alphabetic) && root().join("src").join(first).is_dir();
            if !is_ours && !is_module {
                continue;
            }
            seen += 1;
            let candidates = [word.to_owned(), format!("src/{word}"), format!("src/{word}.rs")];
            let exists = candidates.iter().any(|path| root().join(path).exists());
            assert!(exists || word.ends_with("/TARGET"), "{page}: no such file: {word}");
        }
    }
    assert!(seen > 50, "only {seen} paths were found");
}

/// The targets of all links and images, outside code.
fn links(text: &str) -> Vec<String> {
    let prose = prose(text);
    let mut found = Vec::new();
    for (at, _) in prose.match_indices("](") {
        let rest = &prose[at + 2..];
        if let Some((target, _)) = rest.split_once(')') {
            found.push(target.to_owned());
        }
    }
    found
}

/// A page without code blocks and code spans.
fn prose(text: &str) -> String {
    let mut fenced = false;
    let mut lines = Vec::new();
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if !fenced {
            lines.push(line.split('`').step_by(2).collect::<Vec<_>>().join("``"));
        }
    }
    lines.join("\n")
}

/// The anchors of the headings, as GitHub and mdBook form them.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut fenced = false;
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    let mut anchors = BTreeSet::new();
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        }
        let Some((_, heading)) = line.split_once("# ").filter(|(marks, _)| !fenced && marks.chars().all(|c| c == '#'))
        else {
            continue;
        };
        let kept = heading.trim().to_lowercase();
        let kept = kept.chars().filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c));
        let slug: String = kept.map(|c| if c == ' ' { '-' } else { c }).collect();
        let count = counts.entry(slug.clone()).or_default();
        anchors.insert(if *count == 0 { slug } else { format!("{slug}-{count}") });
        *count += 1;
    }
    anchors
}
