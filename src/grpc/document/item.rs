//! What an export holds, one by one: the items of its digest, and the lines of JSON Lines.

use prost::Message as _;
use serde::{
    Serialize, Serializer,
    ser::{Error as _, SerializeMap},
};

use super::{conversation::ConversationForm, upload::UploadForm};
use crate::{
    domain::category::Category,
    grpc::proto::{
        Assistant, CompactionCacheEntry, Conversation, ExportUserDataResponse, Feedback, Memory, Message, Session, Upload, UploadContent,
    },
};

/// One record, or one piece of content.
#[derive(Clone, PartialEq)]
pub enum Item {
    /// A conversation without its messages and feedback.
    Conversation(Conversation),
    /// A message.
    Message {
        /// The conversation it is nested in.
        conversation_id: String,
        /// The message.
        message: Message,
    },
    /// Feedback that is nested in a conversation.
    ConversationFeedback {
        /// The conversation it is nested in.
        conversation_id: String,
        /// The feedback.
        feedback: Feedback,
    },
    /// Feedback that belongs to no conversation.
    Feedback(Feedback),
    /// A memory.
    Memory(Memory),
    /// An upload.
    Upload(Upload),
    /// A piece of the content of an upload.
    UploadContent(UploadContent),
    /// An assistant.
    Assistant(Assistant),
    /// A session.
    Session(Session),
    /// A compaction cache entry.
    CompactionCache(CompactionCacheEntry),
}

impl Item {
    /// What the item is counted as; pieces of content are not counted.
    pub fn category(&self) -> Option<Category> {
        Some(match self {
            Self::Conversation(_) => Category::Conversations,
            Self::Message { .. } => Category::Messages,
            Self::ConversationFeedback { .. } | Self::Feedback(_) => Category::Feedback,
            Self::Memory(_) => Category::Memories,
            Self::Upload(_) => Category::Uploads,
            Self::UploadContent(_) => return None,
            Self::Assistant(_) => Category::Assistants,
            Self::Session(_) => Category::Sessions,
            Self::CompactionCache(_) => Category::CompactionCache,
        })
    }

    /// The number of the item's field in the contract, as the digest frames it.
    pub fn field_number(&self) -> u8 {
        match self {
            Self::Conversation(_) => 1,
            Self::Feedback(_) => 2,
            Self::Memory(_) => 3,
            Self::Upload(_) => 4,
            Self::UploadContent(_) => 5,
            Self::Assistant(_) => 6,
            Self::Session(_) => 7,
            Self::CompactionCache(_) => 8,
            Self::Message { .. } => 15,
            Self::ConversationFeedback { .. } => 16,
        }
    }

    /// The serialised form of the record.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Conversation(record) => record.encode_to_vec(),
            Self::Message { message, .. } => message.encode_to_vec(),
            Self::ConversationFeedback { feedback, .. } | Self::Feedback(feedback) => feedback.encode_to_vec(),
            Self::Memory(record) => record.encode_to_vec(),
            Self::Upload(record) => record.encode_to_vec(),
            Self::UploadContent(piece) => piece.encode_to_vec(),
            Self::Assistant(record) => record.encode_to_vec(),
            Self::Session(record) => record.encode_to_vec(),
            Self::CompactionCache(record) => record.encode_to_vec(),
        }
    }

    /// The length of the serialised form.
    pub fn encoded_len(&self) -> usize {
        match self {
            Self::Conversation(record) => record.encoded_len(),
            Self::Message { message, .. } => message.encoded_len(),
            Self::ConversationFeedback { feedback, .. } | Self::Feedback(feedback) => feedback.encoded_len(),
            Self::Memory(record) => record.encoded_len(),
            Self::Upload(record) => record.encoded_len(),
            Self::UploadContent(piece) => piece.encoded_len(),
            Self::Assistant(record) => record.encoded_len(),
            Self::Session(record) => record.encoded_len(),
            Self::CompactionCache(record) => record.encoded_len(),
        }
    }

    /// How many elements of lists it is in a request, itself and those nested in it, and the continuation that it may need.
    pub(super) fn elements(&self) -> usize {
        let nested = match self {
            Self::Message { message, .. } => message.parts.len() + message.turn_context.as_ref().map_or(0, |context| context.values.len()),
            Self::ConversationFeedback { feedback, .. } | Self::Feedback(feedback) => feedback.tags.len(),
            Self::Memory(Memory { keywords, topics, tags, recall_triggers, agent_ids, .. }) => {
                [keywords, topics, tags, recall_triggers, agent_ids].map(Vec::len).iter().sum()
            }
            Self::Conversation(_)
            | Self::Upload(_)
            | Self::UploadContent(_)
            | Self::Assistant(_)
            | Self::Session(_)
            | Self::CompactionCache(_) => 0,
        };
        2 + nested
    }
}

/// The items of one response of an export, in their order. The resume token and the summary are not among them.
pub fn items(response: ExportUserDataResponse) -> impl Iterator<Item = Item> {
    let mut pieces = response.upload_contents.into_iter().peekable();
    let mut uploads = Vec::with_capacity(response.uploads.len() + pieces.len());
    // Pieces stand in a list of their own: those that belong to an upload of an earlier response come first, the others after theirs.
    while let Some(piece) = pieces.next_if(|piece| response.uploads.iter().all(|upload| upload.id != piece.upload_id)) {
        uploads.push(Item::UploadContent(piece));
    }
    for upload in response.uploads {
        let id = upload.id.clone();
        uploads.push(Item::Upload(upload));
        while let Some(piece) = pieces.next_if(|piece| piece.upload_id == id) {
            uploads.push(Item::UploadContent(piece));
        }
    }
    uploads.extend(pieces.map(Item::UploadContent));

    (response.conversations.into_iter().flat_map(conversation_items))
        .chain(response.feedback.into_iter().map(Item::Feedback))
        .chain(response.memories.into_iter().map(Item::Memory))
        .chain(uploads)
        .chain(response.assistants.into_iter().map(Item::Assistant))
        .chain(response.sessions.into_iter().map(Item::Session))
        .chain(response.compaction_cache.into_iter().map(Item::CompactionCache))
}

/// A conversation's header, unless it is a continuation, and what is nested in it.
pub(super) fn conversation_items(mut conversation: Conversation) -> impl Iterator<Item = Item> {
    let (messages, feedback) = (std::mem::take(&mut conversation.messages), std::mem::take(&mut conversation.feedback));
    let (id, other_id) = (conversation.id.clone(), conversation.id.clone());
    let header = conversation.created_at.is_some().then_some(Item::Conversation(conversation));
    (header.into_iter())
        .chain(messages.into_iter().map(move |message| Item::Message { conversation_id: id.clone(), message }))
        .chain(feedback.into_iter().map(move |feedback| Item::ConversationFeedback { conversation_id: other_id.clone(), feedback }))
}

/// An item as a line of JSON Lines: an object with one member, named after the kind of record. Nested feedback has a second one,
/// `conversationId`; messages tell theirs themselves.
pub struct Line<'a> {
    /// The user.
    pub user_token: &'a str,
    /// The item.
    pub item: &'a Item,
}

impl Serialize for Line<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut line = serializer.serialize_map(None)?;
        match self.item {
            Item::Conversation(record) => {
                let header = ConversationForm::of(record, self.user_token)
                    .ok_or_else(|| S::Error::custom("a conversation has no time of creation"))?;
                line.serialize_entry("conversation", &header)?;
            }
            Item::Message { message, .. } => line.serialize_entry("message", message)?,
            Item::ConversationFeedback { conversation_id, feedback } => {
                line.serialize_entry("feedback", feedback)?;
                line.serialize_entry("conversationId", conversation_id)?;
            }
            Item::Feedback(feedback) => line.serialize_entry("feedback", feedback)?,
            Item::Memory(record) => line.serialize_entry("memory", record)?,
            Item::Upload(record) => line.serialize_entry("upload", &UploadForm::of(record, None))?,
            Item::UploadContent(piece) => line.serialize_entry("uploadContent", piece)?,
            Item::Assistant(record) => line.serialize_entry("assistant", record)?,
            Item::Session(record) => line.serialize_entry("session", record)?,
            Item::CompactionCache(record) => line.serialize_entry("compactionCache", record)?,
        }
        line.end()
    }
}
