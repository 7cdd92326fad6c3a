//! The records that are imported, kept and exported. All of it is personal data, so nothing here has a `Debug` that shows content.

use bytes::Bytes;

use super::{digest::RecordDigest, timestamp::Timestamp};

/// Where a record stands among its kind: by creation time, then id.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct RecordKey {
    /// When the record was created.
    pub created_at: Timestamp,
    /// The record's id.
    pub id: String,
}

/// A conversation, without its messages and feedback.
#[derive(Clone, PartialEq)]
pub struct Conversation {
    /// Its place among the subject's conversations.
    pub key: RecordKey,
    /// The agent that was talked to.
    pub agent_id: String,
    /// A title, usually made from the first message.
    pub title: Option<String>,
    /// When the record last changed.
    pub updated_at: Timestamp,
    /// When something was last said.
    pub last_activity_at: Option<Timestamp>,
    /// Held from the platform's dashboard.
    pub is_from_dashboard: bool,
    /// How many messages the platform counted.
    pub message_count: i32,
    /// Tokens read by models; billing.
    pub total_input_tokens: i32,
    /// Tokens written by models; billing.
    pub total_output_tokens: i32,
    /// The sum billed.
    pub total_tokens: i32,
    /// What the platform noted.
    pub metadata: Option<ConversationMetadata>,
    /// The institution it belongs to; `None` for a personal one.
    pub institution_id: Option<String>,
    /// When the user had it forgotten.
    pub forgotten_at: Option<Timestamp>,
}

/// What the platform noted about a conversation.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ConversationMetadata {
    /// When it was last cached.
    pub cached_at: Option<Timestamp>,
}

/// A message, its content in the form in which it leaves.
#[derive(Clone, PartialEq)]
pub struct Message {
    /// Its place within its conversation.
    pub key: RecordKey,
    /// Everything but ids and creation time, as the encoding of the contract's `Message` without those fields. Opaque here and in the
    /// repository; written and read only by `grpc::convert`.
    pub body: Bytes,
    /// The digest of the whole encoding, ids and creation time included, made when the message was imported.
    pub digest: RecordDigest,
}

/// A vote of the user on a message.
#[derive(Clone, PartialEq)]
pub struct Feedback {
    /// Its place among the feedback.
    pub key: RecordKey,
    /// The agent that was judged.
    pub agent_id: String,
    /// The message that was judged.
    pub message_id: String,
    /// The vote.
    pub vote: i32,
    /// Labels.
    pub tags: Vec<String>,
    /// What the user wrote.
    pub notes: Option<String>,
    /// The model that was judged.
    pub model: Option<String>,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// When the user had it deleted.
    pub deleted_at: Option<Timestamp>,
}

/// Something an agent remembers about the user.
#[derive(Clone, PartialEq)]
pub struct Memory {
    /// Its place among the memories. The id is `object_id`, or made from the content where there is none.
    pub key: RecordKey,
    /// The platform's id.
    pub object_id: Option<String>,
    /// The memory in the agent's words.
    pub text: String,
    /// The words it was made from.
    pub raw_extract: String,
    /// What kind it is.
    pub memory_type: Option<MemoryType>,
    /// The experience it tells.
    pub episode: Option<Episode>,
    /// Words it is found by.
    pub keywords: Vec<String>,
    /// Subjects it is about.
    pub topics: Vec<String>,
    /// Labels.
    pub tags: Vec<String>,
    /// Situations that call it up.
    pub recall_triggers: Vec<String>,
    /// Agents that may use it.
    pub agent_ids: Vec<String>,
    /// The application, as the record names it.
    pub app_id: String,
    /// The user, as the record names it.
    pub user_id: String,
    /// The institution it belongs to; `None` for a personal one.
    pub institution_id: Option<String>,
    /// When it last changed.
    pub updated_at: Timestamp,
}

/// What kind a memory is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum MemoryType {
    /// A fact.
    Semantic,
    /// An experience.
    Episodic,
}

/// An experience of an agent with the user.
#[derive(Clone, PartialEq, Eq)]
pub struct Episode {
    /// What was seen.
    pub observation: String,
    /// What the agent made of it.
    pub thoughts: String,
    /// What the agent did.
    pub action: String,
    /// What came of it.
    pub result: String,
}

/// An uploaded file, without its content.
#[derive(Clone, PartialEq)]
pub struct Upload {
    /// Its place among the uploads.
    pub key: RecordKey,
    /// The file's name.
    pub file_name: String,
    /// The media type.
    pub content_type: String,
    /// The length of the content.
    pub size_bytes: i64,
    /// The platform's word for its state; [`DELETED`] for erased ones.
    pub status: String,
    /// The institution it belongs to; `None` for a personal one.
    pub institution_id: Option<String>,
    /// When the user had it deleted.
    pub deleted_at: Option<Timestamp>,
}

/// The status of soft-deleted uploads and assistants.
pub const DELETED: &str = "deleted";

/// A vector made from a piece of an upload.
#[derive(Clone, PartialEq)]
pub struct UploadEmbedding {
    /// The upload.
    pub upload_id: String,
    /// Which piece of it.
    pub chunk_index: i32,
    /// The model that made it.
    pub model: String,
    /// The vector.
    pub vector: Vec<f32>,
}

/// An assistant the user made.
#[derive(Clone, PartialEq)]
pub struct Assistant {
    /// Its place among the assistants.
    pub key: RecordKey,
    /// Its name, unique among those not deleted.
    pub name: String,
    /// What it is for.
    pub description: Option<String>,
    /// What it was told to do.
    pub instructions: Option<String>,
    /// The platform's word for its state; [`DELETED`] for erased ones.
    pub status: String,
    /// The institution it belongs to; `None` for a personal one.
    pub institution_id: Option<String>,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// When the user had it deleted.
    pub deleted_at: Option<Timestamp>,
}

/// A login of the user.
#[derive(Clone, PartialEq)]
pub struct Session {
    /// Its place among the sessions.
    pub key: RecordKey,
    /// The address it came from.
    pub ip_address: String,
    /// The browser.
    pub user_agent: String,
    /// The device.
    pub device: String,
    /// When it was last used.
    pub last_active_at: Option<Timestamp>,
}

/// A summary of a conversation.
#[derive(Clone, PartialEq)]
pub struct CompactionCacheEntry {
    /// Its place among the entries.
    pub key: RecordKey,
    /// The conversation it summarises.
    pub conversation_id: String,
    /// The summary.
    pub text: String,
}

/// What a record takes in memory beside its texts, about.
const FIXED_BYTES: usize = 256;

fn length(text: &Option<String>) -> usize {
    text.as_ref().map_or(0, String::len)
}

fn lengths(texts: &[String]) -> usize {
    texts.iter().map(|text| text.len() + size_of::<String>()).sum()
}

impl Conversation {
    /// About how many bytes it takes in memory.
    pub fn bytes(&self) -> usize {
        FIXED_BYTES + length(&self.title)
    }
}

impl Feedback {
    /// About how many bytes it takes in memory.
    pub fn bytes(&self) -> usize {
        FIXED_BYTES + lengths(&self.tags) + length(&self.notes) + length(&self.model)
    }
}

impl Memory {
    /// About how many bytes it takes in memory.
    pub fn bytes(&self) -> usize {
        let lists = [&self.keywords, &self.topics, &self.tags, &self.recall_triggers, &self.agent_ids];
        let episode = self
            .episode
            .as_ref()
            .map_or(0, |episode| episode.observation.len() + episode.thoughts.len() + episode.action.len() + episode.result.len());
        let texts = self.text.len() + self.raw_extract.len() + self.app_id.len() + self.user_id.len();
        FIXED_BYTES + texts + episode + lists.into_iter().map(|list| lengths(list)).sum::<usize>()
    }
}

impl Upload {
    /// About how many bytes its record takes in memory.
    pub fn bytes(&self) -> usize {
        FIXED_BYTES + self.file_name.len() + self.content_type.len()
    }
}

impl Assistant {
    /// About how many bytes it takes in memory.
    pub fn bytes(&self) -> usize {
        FIXED_BYTES + length(&self.description) + length(&self.instructions)
    }
}

impl Session {
    /// About how many bytes it takes in memory.
    pub fn bytes(&self) -> usize {
        FIXED_BYTES + self.ip_address.len() + self.user_agent.len() + self.device.len()
    }
}

impl CompactionCacheEntry {
    /// About how many bytes it takes in memory.
    pub fn bytes(&self) -> usize {
        FIXED_BYTES + self.text.len()
    }
}
