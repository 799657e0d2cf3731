//! The limit of open files.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the limit of open files for this process and its children.
pub fn allow_open_files(count: u64) {
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= count) {
        return;
    }
    let allowed = limit.maximum.is_none_or(|maximum| maximum >= count);
    assert!(allowed, "this needs {count} open files, and the hard limit is {:?}: raise it (ulimit -Hn)", limit.maximum);
    setrlimit(Resource::Nofile, Rlimit { current: Some(count), ..limit }).unwrap();
}
