//! Reports, going out, and those that were kept coming back. Counts beyond 2³¹ are told as 2³¹ − 1.

use prost::Message;

use super::time::timestamp;
use crate::{
    domain::{
        category::Category,
        counts::RecordCounts,
        report::{ErasureStatus, Imported, MessagesDeleted, Preview, Remaining, Residue, ScopesErased, Stored, UploadFailure},
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
            titles_scrubbed: count(report.titles_scrubbed),
            notes_scrubbed: count(report.notes_scrubbed),
            remaining: Some(report.remaining.into()),
            residue: Some(report.residue.into()),
            ..Default::default()
        }
    }
}

impl From<Preview<MessagesDeleted>> for proto::DeleteUserMessagesResponse {
    fn from(Preview { report, message_bytes, plan }: Preview<MessagesDeleted>) -> Self {
        Self { remaining: None, message_bytes, plan_digest: plan.hex(), ..report.into() }
    }
}

impl From<Preview<ScopesErased>> for proto::ScopedDeleteResponse {
    fn from(Preview { report, plan, .. }: Preview<ScopesErased>) -> Self {
        Self { remaining: None, plan_digest: plan.hex(), ..report.into() }
    }
}

impl From<Remaining> for proto::Remaining {
    fn from(remaining: Remaining) -> Self {
        Self {
            messages: count(remaining.messages),
            compaction_cache: count(remaining.compaction_cache),
            dialogues: count(remaining.dialogues),
            uploads: count(remaining.uploads),
            objects: count(remaining.objects),
            embeddings: count(remaining.embeddings),
            memories: count(remaining.memories),
            assistants: count(remaining.assistants),
            feedback: count(remaining.feedback),
            sessions: count(remaining.sessions),
        }
    }
}

impl From<Residue> for proto::Residue {
    fn from(residue: Residue) -> Self {
        Self {
            titles: count(residue.titles),
            feedback_notes: count(residue.feedback_notes),
            memories: count(residue.memories),
            uploads: count(residue.uploads),
            assistants: count(residue.assistants),
            sessions: count(residue.sessions),
        }
    }
}

impl From<ErasureStatus> for proto::GetErasureStatusResponse {
    fn from(status: ErasureStatus) -> Self {
        Self {
            epoch: status.epoch,
            uploads_pending: count(status.uploads_pending),
            oldest_pending_since: status.oldest.map(|(since, _)| timestamp(since)),
            oldest_attempts: status.oldest.map_or(0, |(_, attempts)| attempts),
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
            remaining: Some(report.remaining.into()),
            plan_digest: String::new(),
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

impl Stored for MessagesDeleted {
    fn to_bytes(&self) -> Vec<u8> {
        proto::DeleteUserMessagesResponse::from(*self).encode_to_vec()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let response = proto::DeleteUserMessagesResponse::decode(bytes).ok()?;
        Some(Self {
            messages: counted(response.messages_deleted),
            conversations: counted(response.conversations_affected),
            compaction_cache: counted(response.compaction_cache_purged),
            titles_scrubbed: counted(response.titles_scrubbed),
            notes_scrubbed: counted(response.notes_scrubbed),
            remaining: response.remaining?.into(),
            residue: response.residue?.into(),
        })
    }
}

impl Stored for ScopesErased {
    fn to_bytes(&self) -> Vec<u8> {
        proto::ScopedDeleteResponse::from(self.clone()).encode_to_vec()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let response = proto::ScopedDeleteResponse::decode(bytes).ok()?;
        let failed = response.uploads_failed.into_iter();
        Some(Self {
            dialogues: counted(response.dialogues_forgotten),
            compaction_cache: counted(response.compaction_cache_purged),
            uploads: counted(response.uploads_deleted),
            bytes: response.bytes_freed,
            memories: counted(response.memory_deleted),
            assistants: counted(response.assistants_deleted),
            feedback: counted(response.feedback_deleted),
            sessions: counted(response.sessions_deleted),
            uploads_failed: failed.map(|failure| UploadFailure { upload_id: failure.upload_id, error: failure.error }).collect(),
            remaining: response.remaining?.into(),
        })
    }
}

fn counted(count: i32) -> u64 {
    u64::try_from(count).unwrap_or_default()
}

impl From<proto::Remaining> for Remaining {
    fn from(remaining: proto::Remaining) -> Self {
        Self {
            messages: counted(remaining.messages),
            compaction_cache: counted(remaining.compaction_cache),
            dialogues: counted(remaining.dialogues),
            uploads: counted(remaining.uploads),
            objects: counted(remaining.objects),
            embeddings: counted(remaining.embeddings),
            memories: counted(remaining.memories),
            assistants: counted(remaining.assistants),
            feedback: counted(remaining.feedback),
            sessions: counted(remaining.sessions),
        }
    }
}

impl From<proto::Residue> for Residue {
    fn from(residue: proto::Residue) -> Self {
        Self {
            titles: counted(residue.titles),
            feedback_notes: counted(residue.feedback_notes),
            memories: counted(residue.memories),
            uploads: counted(residue.uploads),
            assistants: counted(residue.assistants),
            sessions: counted(residue.sessions),
        }
    }
}
