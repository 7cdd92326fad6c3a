//! What an operation did.

use super::{
    counts::RecordCounts, erasure::PlanDigest, limits::MAX_REJECTIONS, secret::shows_nothing, timestamp::Timestamp,
    violation::FieldViolation,
};

/// What a report is stored as, so that a repeated request gets it again: the contract's own response, which this crate's domain cannot see.
pub trait Stored: Sized {
    /// The bytes that stand for it.
    fn to_bytes(&self) -> Vec<u8>;

    /// What the bytes stand for; `None` if they never stood for one.
    fn from_bytes(bytes: &[u8]) -> Option<Self>;
}

/// What deleting a subject's messages did, or would do.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct MessagesDeleted {
    /// Messages gone.
    pub messages: u64,
    /// Conversations that lost messages, or whose count was set to 0.
    pub conversations: u64,
    /// Compaction cache entries gone.
    pub compaction_cache: u64,
    /// Titles of conversations gone.
    pub titles_scrubbed: u64,
    /// Notes of feedback gone.
    pub notes_scrubbed: u64,
    /// What was found in the end of what had to go.
    pub remaining: Remaining,
    /// What stays that identifies the person.
    pub residue: Residue,
}

/// What an erasure found, when it looked again, of what it had to erase.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Remaining {
    /// Messages.
    pub messages: u64,
    /// Compaction cache entries.
    pub compaction_cache: u64,
    /// Personal conversations that are not forgotten.
    pub dialogues: u64,
    /// Personal uploads that are not deleted.
    pub uploads: u64,
    /// Their objects.
    pub objects: u64,
    /// Their embeddings.
    pub embeddings: u64,
    /// Personal memories.
    pub memories: u64,
    /// Personal assistants that are not soft-deleted.
    pub assistants: u64,
    /// Feedback that is not soft-deleted.
    pub feedback: u64,
    /// Sessions.
    pub sessions: u64,
}

/// Records that still identify the person when the messages are gone.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Residue {
    /// Conversations with a title.
    pub titles: u64,
    /// Feedback with notes.
    pub feedback_notes: u64,
    /// Memories.
    pub memories: u64,
    /// Uploads.
    pub uploads: u64,
    /// Assistants.
    pub assistants: u64,
    /// Sessions.
    pub sessions: u64,
}

/// What an erasure would do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Preview<R> {
    /// As it would report it.
    pub report: R,
    /// The stored size of the messages that would go.
    pub message_bytes: i64,
    /// Stands for it, so that the erasure can be bound to it.
    pub plan: PlanDigest,
}

/// What a scoped delete did, or would do.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ScopesErased {
    /// Conversations forgotten.
    pub dialogues: u64,
    /// Compaction cache entries gone.
    pub compaction_cache: u64,
    /// Uploads deleted.
    pub uploads: u64,
    /// The sum of their sizes.
    pub bytes: i64,
    /// Memories gone.
    pub memories: u64,
    /// Assistants soft-deleted.
    pub assistants: u64,
    /// Feedback soft-deleted.
    pub feedback: u64,
    /// Sessions gone.
    pub sessions: u64,
    /// Uploads whose object could not be removed.
    pub uploads_failed: Vec<UploadFailure>,
    /// What was found in the end of what had to go.
    pub remaining: Remaining,
}

/// What has become of erasures.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ErasureStatus {
    /// A number that every erasure of a subject raises.
    pub epoch: i64,
    /// Uploads that are still to be removed.
    pub uploads_pending: u64,
    /// Of these the one that waits longest: since when, and how often it has failed.
    pub oldest: Option<(Timestamp, i32)>,
}

/// An upload whose object could not be removed.
#[derive(Clone, PartialEq, Eq)]
pub struct UploadFailure {
    /// The upload.
    pub upload_id: String,
    /// Why, for the operator.
    pub error: String,
}

shows_nothing!(UploadFailure);

/// What an import did.
#[derive(Clone, Debug, Default)]
pub struct Imported {
    /// Records now held as sent.
    pub counts: RecordCounts,
    /// How many were rejected.
    pub rejected: u64,
    /// Why, for the first [`MAX_REJECTIONS`].
    pub rejections: Vec<FieldViolation>,
}

impl Imported {
    /// Notes that `records` records were rejected for one reason.
    pub fn reject(&mut self, violation: FieldViolation, records: u64) {
        self.reject_all(records, vec![violation]);
    }

    /// Notes that `records` records were rejected, and why.
    pub fn reject_all(&mut self, records: u64, violations: Vec<FieldViolation>) {
        self.rejected = self.rejected.saturating_add(records);
        let room = MAX_REJECTIONS.saturating_sub(self.rejections.len());
        self.rejections.extend(violations.into_iter().take(room));
    }
}
