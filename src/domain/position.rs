//! Where an export stands. The order of the variants is the order of the export.

use super::record::RecordKey;

/// Everything up to and including this has been exported.
#[derive(Clone, PartialEq, Eq, Default)]
pub enum Position {
    /// Nothing yet.
    #[default]
    Start,
    /// In the conversations.
    Conversation(RecordKey, InConversation),
    /// In the detached feedback.
    Feedback(RecordKey),
    /// In the memories.
    Memory(RecordKey),
    /// In the uploads; of this one's content, so many bytes.
    Upload(RecordKey, InUpload),
    /// In the assistants.
    Assistant(RecordKey),
    /// In the sessions.
    Session(RecordKey),
    /// In the compaction cache.
    CompactionCache(RecordKey),
    /// Everything.
    End,
}

/// How far within a conversation.
#[derive(Clone, PartialEq, Eq)]
pub enum InConversation {
    /// Its header.
    Header,
    /// Its messages up to this one.
    Message(RecordKey),
    /// Its messages, and its feedback up to this one.
    Feedback(RecordKey),
}

/// How far within an upload.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum InUpload {
    /// Its record, and some of its content; more may follow.
    Content {
        /// So many bytes.
        offset: u64,
        /// The number of the content they are of.
        version: u64,
    },
    /// All of it.
    Complete,
}
