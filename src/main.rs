//! Process shell: arguments → command → exit code. Nothing else.

use std::process::ExitCode;

/// A worker has memory of its own, taken without a lock. docs/decisions/mimalloc.md says what others were tried.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    bearer_proxy::cli::run()
}
