//! What an operation did.

use super::{counts::RecordCounts, limits::MAX_REJECTIONS, violation::FieldViolation};

/// What deleting a subject's messages did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct MessagesDeleted {
    /// Messages gone.
    pub messages: u64,
    /// Conversations that lost messages, or whose count was set to 0.
    pub conversations: u64,
    /// Compaction cache entries gone.
    pub compaction_cache: u64,
}

/// What a scoped delete did.
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
}

/// An upload whose object could not be removed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UploadFailure {
    /// The upload.
    pub upload_id: String,
    /// Why, for the operator.
    pub error: String,
}

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
