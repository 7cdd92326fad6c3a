//! The records that look alike in documents and in the contract: feedback, assistants, sessions, compaction cache entries, and pieces of
//! content.

use base64::{Engine, display::Base64Display, engine::general_purpose::STANDARD as BASE64};
use prost_types::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::time::{rfc3339, rfc3339_or_null};
use crate::grpc::proto::{Assistant, CompactionCacheEntry, ConversationMetadata, Feedback, Session, UploadContent};

form!(ConversationMetadata, ConversationMetadataForm);
form!(Feedback, FeedbackForm);
form!(Assistant, AssistantForm);
form!(Session, SessionForm);
form!(CompactionCacheEntry, CompactionCacheEntryForm);
form!(UploadContent, UploadContentForm);

#[derive(Serialize, Deserialize)]
#[serde(remote = "ConversationMetadata", rename_all = "camelCase", deny_unknown_fields)]
struct ConversationMetadataForm {
    #[serde(with = "rfc3339_or_null", default, skip_serializing_if = "Option::is_none")]
    cached_at: Option<Timestamp>,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Feedback", rename_all = "camelCase", deny_unknown_fields)]
struct FeedbackForm {
    id: String,
    agent_id: String,
    message_id: String,
    vote: i32,
    tags: Vec<String>,
    #[serde(default)]
    notes: Option<String>,
    #[serde(default)]
    model: Option<String>,
    #[serde(with = "rfc3339")]
    created_at: Option<Timestamp>,
    #[serde(with = "rfc3339")]
    updated_at: Option<Timestamp>,
    #[serde(with = "rfc3339_or_null", default, skip_serializing_if = "Option::is_none")]
    deleted_at: Option<Timestamp>,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Assistant", rename_all = "camelCase", deny_unknown_fields)]
struct AssistantForm {
    id: String,
    name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    instructions: Option<String>,
    status: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    institution_id: Option<String>,
    #[serde(with = "rfc3339")]
    created_at: Option<Timestamp>,
    #[serde(with = "rfc3339")]
    updated_at: Option<Timestamp>,
    #[serde(with = "rfc3339_or_null", default, skip_serializing_if = "Option::is_none")]
    deleted_at: Option<Timestamp>,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Session", rename_all = "camelCase", deny_unknown_fields)]
struct SessionForm {
    id: String,
    #[serde(default)]
    ip_address: String,
    #[serde(default)]
    user_agent: String,
    #[serde(default)]
    device: String,
    #[serde(with = "rfc3339")]
    created_at: Option<Timestamp>,
    #[serde(with = "rfc3339_or_null", default, skip_serializing_if = "Option::is_none")]
    last_active_at: Option<Timestamp>,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "CompactionCacheEntry", rename_all = "camelCase", deny_unknown_fields)]
struct CompactionCacheEntryForm {
    id: String,
    conversation_id: String,
    text: String,
    #[serde(with = "rfc3339")]
    created_at: Option<Timestamp>,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "UploadContent", rename_all = "camelCase", deny_unknown_fields)]
struct UploadContentForm {
    upload_id: String,
    offset: i64,
    #[serde(with = "base64_text")]
    data: Vec<u8>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    missing: bool,
}

/// `with = "base64_text"`: bytes as base64.
pub(super) mod base64_text {
    use super::{BASE64, Base64Display, Deserialize, Deserializer, Engine, Serializer, de};

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        BASE64.decode(String::deserialize(deserializer)?).map_err(|_| de::Error::custom("is not base64 with padding"))
    }

    pub(in super::super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&Base64Display::new(bytes, &BASE64))
    }
}
