//! Parse, run, exit code.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    userdata::cli::run(std::env::args_os()).await
}

/// Frames and pages come and go by the hundred kilobytes: the system's allocator gives such memory back each time, and has it cleared again.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
