//! `scoped-delete USER`.

use std::io::{Write, stderr, stdout};

use anyhow::bail;
use clap::Args;

use super::{
    client_args::{ServerArgs, TermsArgs},
    confirm::confirm,
};
use crate::grpc::proto::ScopedDeleteRequest;

/// Erases the chosen scopes of a user's personal data.
#[derive(Debug, Args)]
pub(super) struct ScopedDeleteArgs {
    /// The user token.
    #[arg(value_name = "USER")]
    user: String,
    /// Forget personal conversations; rows stay for billing.
    #[arg(long)]
    dialogues: bool,
    /// Delete personal uploads and their files.
    #[arg(long)]
    vault: bool,
    /// Permanently delete personal memories.
    #[arg(long)]
    memory: bool,
    /// Soft-delete personal assistants.
    #[arg(long)]
    assistants: bool,
    /// Soft-delete the feedback the user wrote.
    #[arg(long)]
    feedback: bool,
    /// Permanently delete the user's login sessions.
    #[arg(long)]
    sessions: bool,
    /// All six scopes.
    #[arg(long)]
    all: bool,
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
/// If no scope was chosen, it was not confirmed, the call failed, or a file could not be removed.
pub(super) async fn run(args: ScopedDeleteArgs) -> anyhow::Result<()> {
    let request = ScopedDeleteRequest {
        user_token: args.user,
        dialogues: args.dialogues || args.all,
        vault: args.vault || args.all,
        memory: args.memory || args.all,
        assistants: args.assistants || args.all,
        feedback: args.feedback || args.all,
        sessions: args.sessions || args.all,
        request_id: args.terms.request_id.unwrap_or_default(),
        validate_only: args.terms.preview,
        plan_digest: args.terms.plan.unwrap_or_default(),
    };
    let chosen = chosen(&request);
    if chosen.is_empty() {
        bail!("no scope: choose from --dialogues, --vault, --memory, --assistants, --feedback, --sessions, or --all");
    }
    confirm(&format!("Erase {} of this user?", chosen.join(", ")), args.yes || args.terms.preview)?;
    let deleted = args.server.connect().await?.scoped_delete(request).await?;

    let mut out = stdout().lock();
    writeln!(out, "dialogues_forgotten: {}", deleted.dialogues_forgotten)?;
    writeln!(out, "uploads_deleted: {}", deleted.uploads_deleted)?;
    writeln!(out, "bytes_freed: {}", deleted.bytes_freed)?;
    writeln!(out, "memory_deleted: {}", deleted.memory_deleted)?;
    writeln!(out, "assistants_deleted: {}", deleted.assistants_deleted)?;
    writeln!(out, "feedback_deleted: {}", deleted.feedback_deleted)?;
    writeln!(out, "sessions_deleted: {}", deleted.sessions_deleted)?;
    writeln!(out, "compaction_cache_purged: {}", deleted.compaction_cache_purged)?;
    writeln!(out, "uploads_failed: {}", deleted.uploads_failed.len())?;
    if let Some(remaining) = &deleted.remaining {
        writeln!(
            out,
            "remaining: dialogues={} uploads={} objects={} embeddings={} memories={} assistants={} feedback={} sessions={} compaction_cache={}",
            remaining.dialogues,
            remaining.uploads,
            remaining.objects,
            remaining.embeddings,
            remaining.memories,
            remaining.assistants,
            remaining.feedback,
            remaining.sessions,
            remaining.compaction_cache
        )?;
    }
    if args.terms.preview {
        writeln!(out, "plan_digest: {}", deleted.plan_digest)?;
    }
    if !deleted.uploads_failed.is_empty() {
        let mut err = stderr().lock();
        for failure in &deleted.uploads_failed {
            writeln!(err, "upload {}: {}", failure.upload_id, failure.error)?;
        }
        bail!("{} uploads could not be deleted; the rest is done. The service goes on trying", deleted.uploads_failed.len());
    }
    Ok(())
}

fn chosen(request: &ScopedDeleteRequest) -> Vec<&'static str> {
    let scopes = [
        (request.dialogues, "dialogues"),
        (request.vault, "vault"),
        (request.memory, "memory"),
        (request.assistants, "assistants"),
        (request.feedback, "feedback"),
        (request.sessions, "sessions"),
    ];
    scopes.into_iter().filter_map(|(chosen, name)| chosen.then_some(name)).collect()
}
