//! Memories. Unlike all other records they tell their times in epoch seconds.

use serde::{Deserialize, Serialize};

use super::time::epoch_seconds;
use crate::grpc::proto::{Episode, Memory};

#[derive(Serialize, Deserialize)]
#[serde(remote = "Memory", rename_all = "camelCase", deny_unknown_fields)]
struct MemoryForm {
    #[serde(rename = "objectID", default, skip_serializing_if = "Option::is_none")]
    object_id: Option<String>,
    text: String,
    raw_extract: String,
    #[serde(with = "memory_type", default, skip_serializing_if = "Option::is_none")]
    memory_type: Option<i32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    episode: Option<Episode>,
    #[serde(default)]
    keywords: Vec<String>,
    #[serde(default)]
    topics: Vec<String>,
    #[serde(rename = "_tags", default)]
    tags: Vec<String>,
    #[serde(default)]
    recall_triggers: Vec<String>,
    #[serde(rename = "agentIDs", default)]
    agent_ids: Vec<String>,
    #[serde(default)]
    app_id: String,
    #[serde(rename = "userID", default)]
    user_id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    institution_id: Option<String>,
    #[serde(with = "epoch_seconds")]
    created_at: Option<prost_types::Timestamp>,
    #[serde(with = "epoch_seconds")]
    updated_at: Option<prost_types::Timestamp>,
}

form!(Memory, MemoryForm);

#[derive(Serialize, Deserialize)]
#[serde(remote = "Episode", deny_unknown_fields)]
struct EpisodeForm {
    observation: String,
    thoughts: String,
    action: String,
    result: String,
}

form!(Episode, EpisodeForm);

mod memory_type {
    use serde::{Deserialize, Deserializer, Serialize, Serializer, ser};

    use crate::grpc::proto::MemoryType;

    #[derive(Serialize, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum MemoryTypeForm {
        Semantic,
        Episodic,
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i32>, D::Error> {
        let form = Option::<MemoryTypeForm>::deserialize(deserializer)?;
        Ok(form.map(|form| {
            match form {
                MemoryTypeForm::Semantic => MemoryType::Semantic,
                MemoryTypeForm::Episodic => MemoryType::Episodic,
            }
            .into()
        }))
    }

    pub(super) fn serialize<S: Serializer>(memory_type: &Option<i32>, serializer: S) -> Result<S::Ok, S::Error> {
        let unknown = || ser::Error::custom("a memory has a type this client does not know; use a newer one");
        let form = match memory_type.map(MemoryType::try_from) {
            None => None,
            Some(Ok(MemoryType::Semantic)) => Some(MemoryTypeForm::Semantic),
            Some(Ok(MemoryType::Episodic)) => Some(MemoryTypeForm::Episodic),
            Some(Ok(MemoryType::Unspecified) | Err(_)) => return Err(unknown()),
        };
        form.serialize(serializer)
    }
}
