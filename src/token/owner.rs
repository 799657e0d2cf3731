//! The name of a lease's owner: a process, and the host that it runs on.
//!
//! File locks may not reach other hosts. So replicas that share a file must be recognised, and a process number does not tell them
//! apart. A command (`login-4711`) has no host in its name: it may run anywhere once, as `docker run` does.

use std::fs;

/// A name that no other process has, not even one with the same number after a restart.
pub fn of_this_process() -> String {
    let mut random = [0; 8];
    // Without randomness TLS would not work either. The process number then still distinguishes the processes of one machine.
    let _ = aws_lc_rs::rand::fill(&mut random);
    let process = format!("{}-{:016x}", std::process::id(), u64::from_be_bytes(random));
    match this_host() {
        Some(host) => format!("{process}@{host}"),
        None => process,
    }
}

/// The name of this machine, container or pod.
pub fn this_host() -> Option<String> {
    plain(&fs::read_to_string("/proc/sys/kernel/hostname").ok()?)
}

/// The host in the name of an owner. `None`: a command, or a process of an older version.
pub fn host(owner: &str) -> Option<&str> {
    owner.split_once('@').map(|(_, host)| host)
}

/// An owner for people: `web-0, process 4711`, or the name of a command.
pub fn shown(owner: &str) -> String {
    let name = owner.split(' ').next().unwrap_or_default();
    match (name.split_once('-'), host(name)) {
        (Some((process, _)), Some(host)) => format!("{host}, process {process}"),
        _ => name.to_owned(),
    }
}

/// A host name as a word: the database store adds a word to the owner.
fn plain(name: &str) -> Option<String> {
    const MAX: usize = 64;
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    let name: String = name.trim().chars().take(MAX).map(|c| if is_plain(c) { c } else { '_' }).collect();
    (!name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_is_unique_and_names_its_host() {
        let (one, other) = (of_this_process(), of_this_process());
        assert_ne!(one, other);
        assert!(one.starts_with(&format!("{}-", std::process::id())), "{one}");
        assert_eq!(host(&one), this_host().as_deref());
        assert!(!one.contains(' '), "{one}");
    }

    #[test]
    fn only_a_server_of_this_version_has_a_host() {
        assert_eq!(host("7-00000000000000aa@web-0"), Some("web-0"));
        assert_eq!((host("7-00000000000000aa"), host("login-7")), (None, None));
    }

    #[test]
    fn a_person_sees_the_host_and_the_process() {
        for (owner, expected) in [
            ("7-00000000000000aa@web-0 00ff", "web-0, process 7"),
            ("7-00000000000000aa 00ff", "7-00000000000000aa"),
            ("login-7 00ff", "login-7"),
        ] {
            assert_eq!(shown(owner), expected);
        }
    }

    #[test]
    fn a_host_name_is_one_word() {
        for (name, expected) in [("web-0.a_b\n", Some("web-0.a_b")), ("a b@c", Some("a_b_c")), ("\n", None)] {
            assert_eq!(plain(name).as_deref(), expected, "{name:?}");
        }
    }
}
