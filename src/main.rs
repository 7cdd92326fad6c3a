//! Parse, run, exit code.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    userdata::cli::run(std::env::args_os()).await
}
