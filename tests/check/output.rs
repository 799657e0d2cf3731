//! What people and programs get: on a terminal, in a pipe, and as JSON. The files in `output/` keep it for a reader.
//!
//! `UPDATE=1 cargo test --test check output` writes them again.

use std::fs;
use std::path::Path;

use simulator::{Act, Answer, Fault, Simulator, Step};

use crate::checked::{league, stored};
use testkit::{Setup, program};

/// Addresses and paths differ between runs.
fn constant(text: &str, setup: &Setup, simulator: &Simulator) -> String {
    let text = text.replace(&simulator.address().port().to_string(), "49152");
    text.replace(&setup.folder().display().to_string(), "/state").replace('\r', "")
}

/// Compares a text with the file that is kept.
fn is_kept(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/check/output").join(name);
    if std::env::var_os("UPDATE").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
    }
    assert_eq!(fs::read_to_string(&path).unwrap_or_default(), text, "{name}");
}

#[tokio::test]
async fn the_output_is_the_one_that_is_kept() {
    let simulator = league().await;
    let setup = stored(&simulator).await;
    let arguments = ["check", "--skip", "store-ephemeral"];
    let broken = setup.again().set("OAUTH__CLIENT_SECRET", " another-secret");
    let quota = Fault::api(Step::BeforeCommit, Act::Answer(Answer::text(429, "application/json", "{}")));
    simulator.fault(quota.forever());
    let (code, piped, err) = broken.run(&arguments).await;
    assert_eq!((code, err.as_str()), (1, ""));
    is_kept("pipe.txt", &constant(&piped, &setup, &simulator));

    let (_, json, _) = broken.run(&[&arguments[..], &["--json"]].concat()).await;
    is_kept("report.json", &constant(&json, &setup, &simulator));

    simulator.clear_faults();
    let (code, healthy, err) = setup.run(&arguments).await;
    assert_eq!((code, err.as_str()), (0, ""));
    is_kept("healthy.txt", &constant(&healthy, &setup, &simulator));

    if !Path::new("/usr/bin/script").exists() {
        return println!("not run: no script(1), which makes a terminal");
    }
    simulator.fault(Fault::api(Step::BeforeCommit, Act::Answer(Answer::text(429, "application/json", "{}"))).forever());
    let command = [&[&*program()], &arguments[..]].concat().join(" ");
    let (_, terminal, err) = broken.again().program("/usr/bin/script").run(&["-qec", &command, "/dev/null"]).await;
    let terminal = constant(&terminal, &setup, &simulator);
    assert!(terminal.lines().all(|line| line.chars().count() <= 80), "{terminal}{err}");
    is_kept("terminal.txt", &terminal);
}
