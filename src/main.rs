//! Parse, run, exit code.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    #[cfg(feature = "failpoints")]
    let _of_environment = fail::FailScenario::setup();
    userdata::cli::run(std::env::args_os()).await
}
