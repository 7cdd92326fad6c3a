//! Reports, going out. Counts beyond 2³¹ are told as 2³¹ − 1.

use crate::{
    domain::{
        category::Category,
        counts::RecordCounts,
        report::{Imported, MessagesDeleted, ScopesErased},
    },
    grpc::proto,
};

fn count(count: u64) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

impl From<RecordCounts> for proto::RecordCounts {
    fn from(counts: RecordCounts) -> Self {
        let of = |category| count(counts.of(category).into());
        Self {
            conversations: of(Category::Conversations),
            messages: of(Category::Messages),
            feedback: of(Category::Feedback),
            memories: of(Category::Memories),
            uploads: of(Category::Uploads),
            assistants: of(Category::Assistants),
            sessions: of(Category::Sessions),
            compaction_cache: of(Category::CompactionCache),
        }
    }
}

impl From<MessagesDeleted> for proto::DeleteUserMessagesResponse {
    fn from(report: MessagesDeleted) -> Self {
        Self {
            messages_deleted: count(report.messages),
            conversations_affected: count(report.conversations),
            compaction_cache_purged: count(report.compaction_cache),
        }
    }
}

impl From<ScopesErased> for proto::ScopedDeleteResponse {
    fn from(report: ScopesErased) -> Self {
        let failed = report.uploads_failed.into_iter();
        Self {
            dialogues_forgotten: count(report.dialogues),
            uploads_deleted: count(report.uploads),
            bytes_freed: report.bytes,
            memory_deleted: count(report.memories),
            assistants_deleted: count(report.assistants),
            feedback_deleted: count(report.feedback),
            sessions_deleted: count(report.sessions),
            compaction_cache_purged: count(report.compaction_cache),
            uploads_failed: failed.map(|failure| proto::UploadFailure { upload_id: failure.upload_id, error: failure.error }).collect(),
        }
    }
}

impl From<Imported> for proto::ImportUserDataResponse {
    fn from(report: Imported) -> Self {
        let rejections = report.rejections.into_iter();
        Self {
            imported: Some(report.counts.into()),
            rejected: count(report.rejected),
            rejections: rejections
                .map(|violation| proto::RecordRejection { field: violation.field, description: violation.complaint.to_string() })
                .collect(),
        }
    }
}
