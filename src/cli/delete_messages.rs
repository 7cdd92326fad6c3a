//! `delete-messages USER`.

use std::io::{Write, stdout};

use clap::Args;

use super::{client_args::ServerArgs, confirm::confirm};
use crate::grpc::proto::DeleteUserMessagesRequest;

/// Permanently deletes all messages of a user; conversations, token totals, feedback and memories stay.
#[derive(Debug, Args)]
pub(super) struct DeleteMessagesArgs {
    /// The user token.
    #[arg(value_name = "USER")]
    user: String,
    /// Delete without asking.
    #[arg(long)]
    yes: bool,
    /// The server and the credential.
    #[command(flatten)]
    server: ServerArgs,
}

/// Runs the command.
///
/// # Errors
/// If it was not confirmed, or the call failed.
pub(super) async fn run(args: DeleteMessagesArgs) -> anyhow::Result<()> {
    confirm("Permanently delete all messages of this user?", args.yes)?;
    let deleted = args.server.connect().await?.delete_user_messages(DeleteUserMessagesRequest { user_token: args.user }).await?;
    let mut out = stdout().lock();
    writeln!(out, "messages_deleted: {}", deleted.messages_deleted)?;
    writeln!(out, "conversations_affected: {}", deleted.conversations_affected)?;
    writeln!(out, "compaction_cache_purged: {}", deleted.compaction_cache_purged)?;
    Ok(())
}
