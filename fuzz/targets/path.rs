//! The allow-list and its patterns: see `bearer_proxy::fuzzing`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bearer_proxy::fuzzing::path(data));
