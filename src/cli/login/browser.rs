//! Opens the person's browser, if there is a graphical one.
//!
//! A text browser would block, and fill the terminal. `xdg-open` starts one if it finds nothing else.

use std::env;
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use url::Url;

/// What `$BROWSER` may name, and must not be started.
const TEXT_BROWSERS: [&str; 7] = ["www-browser", "w3m", "lynx", "links", "links2", "elinks", "browsh"];
/// For `xdg-open`, which adds text browsers to its own list.
const GRAPHICAL: &str = "x-www-browser:firefox:chromium:chromium-browser:google-chrome:epiphany:konqueror";

/// Starts it, and waits for nothing. The URL is on the terminal in any case.
pub(super) fn open(url: &Url) {
    let variable = |name: &str| env::var_os(name).filter(|value| !value.is_empty());
    if let Some(program) = choose(variable, |name| find(name, variable("PATH"))) {
        let mut command = Command::new(program);
        if variable("BROWSER").is_none() {
            command.env("BROWSER", GRAPHICAL);
        }
        // These variables may hold secrets, and unlike this process, other processes of this user can read a browser's environment.
        for (name, _) in env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"BEARER_PROXY_")) {
            command.env_remove(name);
        }
        command.arg(url.as_str()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        // Ctrl-C on this terminal must not end the browser.
        let _ = command.process_group(0).spawn();
    }
}

/// The program to start. Pure.
fn choose(variable: impl Fn(&str) -> Option<OsString>, find: impl Fn(&str) -> Option<PathBuf>) -> Option<PathBuf> {
    if let Some(browsers) = variable("BROWSER") {
        // A list, as with `xdg-open`. An entry with arguments is left to `xdg-open`.
        let browsers = browsers.into_string().ok()?;
        let graphical = |name: &&str| {
            let file = Path::new(name).file_name().and_then(|file| file.to_str()).unwrap_or_default();
            !file.is_empty() && !TEXT_BROWSERS.contains(&file) && !name.contains([' ', '%'])
        };
        return browsers.split(':').filter(graphical).find_map(find);
    }
    if variable("WSL_DISTRO_NAME").is_some() {
        return find("wslview");
    }
    // On another machine's screen, a browser of this one would be slow or invisible.
    let has_screen = variable("DISPLAY").is_some() || variable("WAYLAND_DISPLAY").is_some();
    if has_screen && variable("SSH_CONNECTION").is_none() { find("xdg-open") } else { None }
}

fn find(name: &str, path: Option<OsString>) -> Option<PathBuf> {
    if name.contains('/') {
        return Some(PathBuf::from(name)).filter(|path| path.is_file());
    }
    env::split_paths(&path?).map(|folder| folder.join(name)).find(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_browser_is_never_started() {
        type Row<'a> = (&'a [(&'a str, &'a str)], Option<&'a str>);
        let rows: [Row<'_>; 12] = [
            (&[], None),
            (&[("DISPLAY", ":0")], Some("xdg-open")),
            (&[("WAYLAND_DISPLAY", "wayland-0")], Some("xdg-open")),
            (&[("DISPLAY", ":0"), ("SSH_CONNECTION", "a")], None),
            (&[("BROWSER", "firefox")], Some("firefox")),
            (&[("BROWSER", "w3m"), ("DISPLAY", ":0")], None),
            (&[("BROWSER", "/usr/bin/lynx:firefox")], Some("firefox")),
            (&[("BROWSER", "/usr/bin/w3m %s")], None),
            (&[("BROWSER", "firefox"), ("SSH_CONNECTION", "a")], Some("firefox")),
            (&[("BROWSER", "www-browser")], None),
            (&[("WSL_DISTRO_NAME", "Debian")], Some("wslview")),
            (&[("BROWSER", "absent:firefox")], Some("firefox")),
        ];
        for (environment, expected) in rows {
            let variable = |name: &str| {
                environment.iter().find(|(known, _)| *known == name).map(|(_, value)| OsString::from(value))
            };
            let chosen = choose(variable, |name| (name != "absent").then(|| PathBuf::from(name)));
            assert_eq!(chosen, expected.map(PathBuf::from), "{environment:?}");
        }
    }
}
