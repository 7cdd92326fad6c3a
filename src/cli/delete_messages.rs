//! `delete-messages USER`.

use std::io::{Write, stdout};

use clap::Args;

use super::{
    client_args::{ServerArgs, TermsArgs},
    confirm::confirm,
};
use crate::grpc::proto::DeleteUserMessagesRequest;

/// Permanently deletes all messages of a user; conversations, token totals, feedback and memories stay.
#[derive(Debug, Args)]
pub(super) struct DeleteMessagesArgs {
    /// The user token.
    #[arg(value_name = "USER")]
    user: String,
    /// Also remove the texts that would stay: titles of conversations and notes of feedback.
    #[arg(long)]
    scrub_residue: bool,
    /// Terms of the erasure.
    #[command(flatten)]
    terms: TermsArgs,
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
    confirm("Permanently delete all messages of this user?", args.yes || args.terms.preview)?;
    let request = DeleteUserMessagesRequest {
        user_token: args.user,
        request_id: args.terms.request_id.unwrap_or_default(),
        validate_only: args.terms.preview,
        plan_digest: args.terms.plan.unwrap_or_default(),
        scrub_residue: args.scrub_residue,
    };
    let deleted = args.server.connect().await?.delete_user_messages(request).await?;
    let mut out = stdout().lock();
    writeln!(out, "messages_deleted: {}", deleted.messages_deleted)?;
    writeln!(out, "conversations_affected: {}", deleted.conversations_affected)?;
    writeln!(out, "compaction_cache_purged: {}", deleted.compaction_cache_purged)?;
    if args.scrub_residue {
        writeln!(out, "titles_scrubbed: {}", deleted.titles_scrubbed)?;
        writeln!(out, "notes_scrubbed: {}", deleted.notes_scrubbed)?;
    }
    if args.terms.preview {
        writeln!(out, "message_bytes: {}", deleted.message_bytes)?;
        writeln!(out, "plan_digest: {}", deleted.plan_digest)?;
    }
    if let Some(remaining) = deleted.remaining {
        writeln!(out, "remaining: messages={} compaction_cache={}", remaining.messages, remaining.compaction_cache)?;
    }
    let residue = deleted.residue.unwrap_or_default();
    writeln!(
        out,
        "residue: titles={} feedback_notes={} memories={} uploads={} assistants={} sessions={}",
        residue.titles, residue.feedback_notes, residue.memories, residue.uploads, residue.assistants, residue.sessions
    )?;
    Ok(())
}
