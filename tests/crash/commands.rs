//! The program's commands, beside a running process or after its end.

use std::process::Stdio;

use tokio::io::AsyncWriteExt;

use crate::support::Setup;

/// Exit code, standard output, standard error.
pub async fn run(setup: &Setup, words: &[&str], input: &str) -> (i32, String, String) {
    let mut command = setup.command(words);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // A command that does not read its input may end before this write.
    let _ = stdin.write_all(input.as_bytes()).await;
    drop(stdin);
    let output = child.wait_with_output().await.unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

pub async fn import(setup: &Setup, grant: &str) {
    let (exit, _, error) = run(setup, &["import"], grant).await;
    assert_eq!(exit, 0, "{error}");
}
