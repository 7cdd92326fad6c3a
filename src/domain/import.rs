//! What an import asks for: the acceptable records of one request, each with its place in the request so that a refusal can name it.

use bytes::Bytes;

use super::{
    record::{Assistant, CompactionCacheEntry, Conversation, Feedback, Memory, Message, Session, Upload, UploadEmbedding},
    timestamp::Timestamp,
};

/// A record, and its index in the repeated field it came in.
pub struct At<T> {
    /// The index.
    pub index: usize,
    /// The record.
    pub record: T,
}

/// The acceptable records of one request.
#[derive(Default)]
pub struct ImportBatch {
    /// The path of the request: `requests[2]`.
    pub path: String,
    /// The subject's epoch when the writer looked; `None` if it did not say.
    pub observed_epoch: Option<i64>,
    /// Conversations and continuations.
    pub conversations: Vec<At<ConversationElement>>,
    /// Detached feedback.
    pub feedback: Vec<At<Feedback>>,
    /// Memories.
    pub memories: Vec<At<Memory>>,
    /// Uploads.
    pub uploads: Vec<At<Upload>>,
    /// Pieces of content.
    pub upload_contents: Vec<At<ContentPiece>>,
    /// Embeddings.
    pub upload_embeddings: Vec<At<UploadEmbedding>>,
    /// Assistants.
    pub assistants: Vec<At<Assistant>>,
    /// Sessions.
    pub sessions: Vec<At<Session>>,
    /// Compaction cache entries.
    pub compaction_cache: Vec<At<CompactionCacheEntry>>,
}

/// A conversation with what is nested in it, or a continuation.
pub struct ConversationElement {
    /// The conversation's id.
    pub id: String,
    /// The conversation itself; `None` in a continuation.
    pub header: Option<Conversation>,
    /// The mark of a forgotten conversation; continuations bear it too.
    pub forgotten_at: Option<Timestamp>,
    /// Messages to add or replace.
    pub messages: Vec<At<Message>>,
    /// Feedback to add or replace.
    pub feedback: Vec<At<Feedback>>,
}

impl ConversationElement {
    /// How many records it holds.
    pub fn records(&self) -> u64 {
        (usize::from(self.header.is_some()) + self.messages.len() + self.feedback.len()) as u64
    }
}

/// A piece of the content of an upload.
pub struct ContentPiece {
    /// The upload.
    pub upload_id: String,
    /// Where the piece begins.
    pub offset: u64,
    /// The bytes.
    pub data: Bytes,
}
