//! Records, going out.

use super::time::timestamp;
use crate::{
    domain::record::{Assistant, CompactionCacheEntry, Conversation, Feedback, Memory, MemoryType, Session, Upload},
    grpc::proto,
};

impl From<Conversation> for proto::Conversation {
    fn from(record: Conversation) -> Self {
        Self {
            id: record.key.id,
            agent_id: record.agent_id,
            title: record.title,
            created_at: Some(timestamp(record.key.created_at)),
            updated_at: Some(timestamp(record.updated_at)),
            last_activity_at: record.last_activity_at.map(timestamp),
            is_from_dashboard: record.is_from_dashboard,
            message_count: record.message_count,
            total_input_tokens: record.total_input_tokens,
            total_output_tokens: record.total_output_tokens,
            total_tokens: record.total_tokens,
            conversation_metadata: record
                .metadata
                .map(|metadata| proto::ConversationMetadata { cached_at: metadata.cached_at.map(timestamp) }),
            institution_id: record.institution_id,
            forgotten_at: record.forgotten_at.map(timestamp),
            messages: Vec::new(),
            feedback: Vec::new(),
        }
    }
}

impl From<Feedback> for proto::Feedback {
    fn from(record: Feedback) -> Self {
        Self {
            id: record.key.id,
            agent_id: record.agent_id,
            message_id: record.message_id,
            vote: record.vote,
            tags: record.tags,
            notes: record.notes,
            model: record.model,
            created_at: Some(timestamp(record.key.created_at)),
            updated_at: Some(timestamp(record.updated_at)),
            deleted_at: record.deleted_at.map(timestamp),
        }
    }
}

impl From<Memory> for proto::Memory {
    fn from(record: Memory) -> Self {
        let memory_type = record.memory_type.map(|kind| match kind {
            MemoryType::Semantic => proto::MemoryType::Semantic,
            MemoryType::Episodic => proto::MemoryType::Episodic,
        });
        Self {
            object_id: record.object_id,
            text: record.text,
            raw_extract: record.raw_extract,
            memory_type: memory_type.map(i32::from),
            episode: record.episode.map(|episode| proto::Episode {
                observation: episode.observation,
                thoughts: episode.thoughts,
                action: episode.action,
                result: episode.result,
            }),
            keywords: record.keywords,
            topics: record.topics,
            tags: record.tags,
            recall_triggers: record.recall_triggers,
            agent_ids: record.agent_ids,
            app_id: record.app_id,
            user_id: record.user_id,
            institution_id: record.institution_id,
            created_at: Some(timestamp(record.key.created_at)),
            updated_at: Some(timestamp(record.updated_at)),
        }
    }
}

impl From<Upload> for proto::Upload {
    fn from(record: Upload) -> Self {
        Self {
            id: record.key.id,
            file_name: record.file_name,
            content_type: record.content_type,
            size_bytes: record.size_bytes,
            status: record.status,
            institution_id: record.institution_id,
            created_at: Some(timestamp(record.key.created_at)),
            deleted_at: record.deleted_at.map(timestamp),
        }
    }
}

impl From<Assistant> for proto::Assistant {
    fn from(record: Assistant) -> Self {
        Self {
            id: record.key.id,
            name: record.name,
            description: record.description,
            instructions: record.instructions,
            status: record.status,
            institution_id: record.institution_id,
            created_at: Some(timestamp(record.key.created_at)),
            updated_at: Some(timestamp(record.updated_at)),
            deleted_at: record.deleted_at.map(timestamp),
        }
    }
}

impl From<Session> for proto::Session {
    fn from(record: Session) -> Self {
        Self {
            id: record.key.id,
            ip_address: record.ip_address,
            user_agent: record.user_agent,
            device: record.device,
            created_at: Some(timestamp(record.key.created_at)),
            last_active_at: record.last_active_at.map(timestamp),
        }
    }
}

impl From<CompactionCacheEntry> for proto::CompactionCacheEntry {
    fn from(record: CompactionCacheEntry) -> Self {
        Self {
            id: record.key.id,
            conversation_id: record.conversation_id,
            text: record.text,
            created_at: Some(timestamp(record.key.created_at)),
        }
    }
}
