//! How logins of other programs fail, and the kept output that shows what this one does. One for each kind of standard input.

use std::fs;
use std::path::Path;

use crate::STDINS;

/// A failure of other programs, the names of the kept outputs, and the exit code.
type Row = (&'static str, &'static [&'static str], i32);

const FAILURES: [Row; 12] = [
    ("the URL is never printed, and the login hangs", &["stored"], 0),
    ("a text browser blocks the login, or a browser fills the terminal", &["noisy_browser"], 0),
    ("the redirect is not forwarded to a remote shell", &["distant_browser"], 0),
    ("the port is taken, or another process answers", &["port_in_use"], 1),
    ("the redirect arrives before the listener exists", &["stored"], 0),
    ("localhost, 127.0.0.1 and ::1 are mixed", &["localhost"], 0),
    ("a forged response ends the login, or is not reported", &["forged"], 1),
    ("the browser reports success before the exchange", &["no_refresh_token", "unclear"], 1),
    ("a denial is ignored", &["denied"], 1),
    ("there is no time limit, or Ctrl-C exits with 0", &["timeout", "interrupted"], 1),
    ("the URL is wrapped at 80 columns", &["stored"], 0),
    ("the pasted text is cut at 1,024 or 4,095 characters", &["long_paste"], 0),
];

#[test]
fn each_failure_has_a_kept_output_for_each_kind_of_standard_input() {
    for (failure, names, code) in FAILURES {
        for name in names {
            for stdin in STDINS {
                // Nothing can be pasted: the wait for the browser goes on, as in any other login.
                let is_paste_without_input = *name == "long_paste" && stdin == crate::Stdin::Closed;
                let name = if is_paste_without_input { "stored" } else { name };
                let file = format!("tests/login/expected/{name}.{}.txt", format!("{stdin:?}").to_lowercase());
                let kept = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(&file));
                let kept = kept.unwrap_or_else(|error| panic!("{failure}: {file}: {error}"));
                assert!(kept.ends_with(&format!("exit code {code}\n")), "{failure}: {file}:\n{kept}");
                assert!(!kept.contains("NOISE"), "{failure}: {file}:\n{kept}");
            }
        }
    }
}
