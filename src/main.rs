//! Process shell: arguments → command → exit code. Nothing else.

use std::process::ExitCode;

/// The release is linked statically against musl, whose own allocator takes one lock for all threads.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    bearer_proxy::cli::run()
}
