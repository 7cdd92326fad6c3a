//! Asks before something is deleted.

use std::io::{IsTerminal, Write, stderr, stdin};

use anyhow::{Context, bail};

/// Asks on the terminal whether to go on, unless `yes` says so already.
///
/// # Errors
/// If the answer is not yes, or there is no terminal to ask on.
pub(super) fn confirm(question: &str, yes: bool) -> anyhow::Result<()> {
    if yes {
        return Ok(());
    }
    if !stdin().is_terminal() || !stderr().is_terminal() {
        bail!("this deletes data and there is no terminal to ask on; nothing was deleted. Repeat it with --yes");
    }
    write!(stderr().lock(), "{question} [y/N] ").context("cannot write to the terminal")?;
    let mut answer = String::new();
    stdin().read_line(&mut answer).context("cannot read from the terminal")?;
    if !matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes") {
        bail!("nothing was deleted");
    }
    Ok(())
}
