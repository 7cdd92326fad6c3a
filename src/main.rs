//! Parse, run, exit code.

use std::process::ExitCode;

fn main() -> std::io::Result<ExitCode> {
    #[cfg(feature = "failpoints")]
    let _of_environment = fail::FailScenario::setup();
    let runtime = tokio::runtime::Runtime::new()?;
    let code = runtime.block_on(userdata::cli::run(std::env::args_os()));
    // A name that is looked up, or a folder that does not answer, would hold the end for as long as it likes.
    runtime.shutdown_background();
    Ok(code)
}
