//! Shell commands in the documents parse, and JSON documents are valid.

use std::io::Write;
use std::process::{Command, Stdio};

use super::{blocks, pages};

#[test]
fn every_shell_block_parses() {
    let mut seen = 0;
    for (page, text) in pages() {
        for (line, block) in blocks(&text, "sh") {
            seen += 1;
            let mut bash = Command::new("bash").arg("-n").stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
            bash.stdin.take().unwrap().write_all(block.as_bytes()).unwrap();
            let output = bash.wait_with_output().unwrap();
            let errors = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{}:{line}: {errors}\n{block}", page.display());
        }
    }
    assert!(seen > 30, "only {seen} blocks were found");
}

#[test]
fn every_json_block_is_valid() {
    for (page, text) in pages() {
        for (line, block) in blocks(&text, "json") {
            let parsed: Result<serde_json::Value, _> = serde_json::from_str(&block);
            assert!(parsed.is_ok(), "{}:{line}: {parsed:?}\n{block}", page.display());
        }
    }
}
