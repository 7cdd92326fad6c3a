//! The command line: one file per subcommand. Results go to stdout, everything for people to stderr.

mod client_args;
mod confirm;
mod delete_messages;
mod demo;
mod export;
mod generate;
mod health;
mod import;
mod keys;
mod progress;
pub mod sample;
mod scoped_delete;
mod serve;

use std::{
    ffi::OsString,
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use clap::{Parser, Subcommand};

use crate::config::layers;

/// Exports and erases what an AI-agent platform holds about one of its users, over gRPC.
///
/// Every flag can also be set by its environment variable, and in a TOML file under its name with `_` for `-`. A flag wins over the
/// environment, the environment over the file.
#[derive(Parser, Debug)]
#[command(name = "userdata", version, arg_required_else_help = true)]
struct CommandLine {
    /// TOML file with settings; relative paths in it start in the working directory.
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Serve on embedded SQLite with invented users, and print calls to paste. Nothing needs to be set up.
    Demo(demo::DemoArgs),
    /// Serve.
    Serve(serve::ServeArgs),
    /// Bring the schema of the database up to date.
    Migrate(serve::MigrateArgs),
    /// Create, rotate, list and revoke API keys, directly in the database.
    Keys(keys::KeysArgs),
    /// Export what is held about a user.
    Export(export::ExportArgs),
    /// Import user documents, one JSON document per line.
    Import(import::ImportArgs),
    /// Permanently delete all messages of a user.
    DeleteMessages(delete_messages::DeleteMessagesArgs),
    /// Erase scopes of a user's personal data.
    ScopedDelete(scoped_delete::ScopedDeleteArgs),
    /// Ask a server whether it is serving: exit code 0 if it is, 1 if not.
    Health(health::HealthArgs),
    /// Write invented, realistic user documents as JSON Lines; the same seed gives the same bytes.
    Generate(generate::GenerateArgs),
}

/// Runs one command line: exit code 0, 1 when the command fails, 2 when the command line or the settings file is wrong.
pub async fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let command_line: CommandLine = match layers::parse(arguments) {
        Ok(command_line) => command_line,
        Err(error) => {
            // Nowhere is left to say that the terminal is gone.
            let _ = error.print();
            return u8::try_from(error.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from);
        }
    };
    let outcome = match command_line.command {
        Command::Demo(args) => demo::run(args).await,
        Command::Serve(args) => serve::run(args).await,
        Command::Migrate(args) => serve::migrate(args).await,
        Command::Keys(args) => keys::run(args).await,
        Command::Export(args) => export::run(args).await,
        Command::Import(args) => import::run(args).await,
        Command::DeleteMessages(args) => delete_messages::run(args).await,
        Command::ScopedDelete(args) => scoped_delete::run(args).await,
        Command::Health(args) => health::run(args).await,
        Command::Generate(args) => generate::run(args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr().lock(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        use clap::CommandFactory;
        CommandLine::command().debug_assert();
    }
}
