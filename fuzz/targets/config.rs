//! The configuration: see `bearer_proxy::fuzzing`.

#![no_main]

use std::sync::LazyLock;

use tempfile::TempDir;

static FOLDER: LazyLock<TempDir> = LazyLock::new(|| tempfile::tempdir().expect("a folder"));

libfuzzer_sys::fuzz_target!(|data: &[u8]| bearer_proxy::fuzzing::config(FOLDER.path(), data));
