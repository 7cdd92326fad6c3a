//! `generate`.

use std::{
    fs::File,
    io::{BufWriter, Write, stdout},
    path::PathBuf,
};

use anyhow::Context;
use clap::Args;

use super::{progress, sample};

/// Writes invented, realistic user documents as JSON Lines; the same seed gives the same bytes.
#[derive(Debug, Args)]
pub(super) struct GenerateArgs {
    /// How many users.
    #[arg(long, default_value_t = 30)]
    users: u64,
    /// What everything follows from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Give each user exactly so many messages.
    #[arg(long)]
    messages: Option<u32>,
    /// The file to write; standard output if absent.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Runs the command.
///
/// # Errors
/// If the output cannot be written.
pub(super) fn run(args: GenerateArgs) -> anyhow::Result<()> {
    let mut out: Box<dyn Write> = match &args.output {
        Some(path) => Box::new(BufWriter::new(File::create(path).with_context(|| format!("cannot create {}", path.display()))?)),
        None => Box::new(BufWriter::new(stdout())),
    };
    let bar = progress::count(args.users);
    for document in sample::documents(args.seed, args.users, args.messages) {
        serde_json::to_writer(&mut out, &document).context("cannot write the documents")?;
        out.write_all(b"\n").context("cannot write the documents")?;
        bar.inc(1);
    }
    out.flush().context("cannot write the documents")?;
    bar.finish_and_clear();
    Ok(())
}
