//! Small made-up records. All of a record but its id follows from a number: with another number, every field that can differ does.

use std::collections::BTreeMap;

use prost_types::Timestamp;
use userdata::grpc::proto::{
    Assistant, CompactionCacheEntry, Conversation, ConversationMetadata, Episode, Feedback, Memory, Message, MessagePart, Role, Session,
    TextPart, TurnContext, Upload, UploadContent, UploadEmbedding, message_part::Part,
};

/// A moment, so many seconds after another.
pub(crate) fn at(seconds: i32) -> Option<Timestamp> {
    Some(Timestamp { seconds: 1_750_000_000 + i64::from(seconds), nanos: 0 })
}

/// An institution's record, or a personal one.
fn institution(number: i32) -> Option<String> {
    (number % 2 == 1).then(|| "school".to_owned())
}

fn texts(number: i32) -> Vec<String> {
    (0..=number).map(|nth| format!("text {nth}")).collect()
}

pub(crate) fn conversation(id: &str, number: i32) -> Conversation {
    Conversation {
        id: id.to_owned(),
        agent_id: format!("agent {number}"),
        title: (number != 0).then(|| format!("title {number}")),
        created_at: at(number),
        updated_at: at(100 + number),
        last_activity_at: (number != 1).then(|| at(200 + number)).flatten(),
        is_from_dashboard: number % 2 == 1,
        message_count: number,
        total_input_tokens: 10 + number,
        total_output_tokens: 20 + number,
        total_tokens: 30 + number,
        conversation_metadata: (number != 2).then(|| ConversationMetadata { cached_at: at(300 + number).filter(|_| number != 1) }),
        institution_id: institution(number),
        ..Default::default()
    }
}

pub(crate) fn message(id: &str, conversation_id: &str, number: i32) -> Message {
    let turn_context = match number % 3 {
        0 => None,
        1 => Some(TurnContext::default()),
        _ => Some(TurnContext { values: BTreeMap::from([("page".to_owned(), "home".to_owned())]) }),
    };
    Message {
        id: id.to_owned(),
        conversation_id: conversation_id.to_owned(),
        created_at: at(number),
        role: if number % 2 == 0 { Role::User.into() } else { Role::Assistant.into() },
        parts: vec![MessagePart { part: Some(Part::Text(TextPart { text: format!("text {number}") })) }],
        updated_at: at(100 + number),
        model: (number % 2 == 1).then(|| "model".to_owned()),
        input_tokens: (number > 1).then_some(0),
        output_tokens: (number > 1).then_some(number),
        turn_context,
    }
}

pub(crate) fn feedback(id: &str, number: i32) -> Feedback {
    Feedback {
        id: id.to_owned(),
        agent_id: format!("agent {number}"),
        message_id: format!("m{number}"),
        vote: number,
        tags: texts(number),
        notes: (number != 0).then(|| format!("notes {number}")),
        model: (number != 1).then(|| format!("model {number}")),
        created_at: at(number),
        updated_at: at(100 + number),
        deleted_at: None,
    }
}

pub(crate) fn memory(object_id: Option<&str>, number: i32) -> Memory {
    let episode = Episode { observation: "o".to_owned(), thoughts: "t".to_owned(), action: "a".to_owned(), result: number.to_string() };
    Memory {
        object_id: object_id.map(str::to_owned),
        text: format!("text {number}"),
        raw_extract: format!("extract {number}"),
        memory_type: (number != 0).then_some(1 + number % 2),
        episode: (number % 2 == 0).then_some(episode),
        keywords: texts(number),
        topics: texts(number + 1),
        tags: texts(number + 2),
        recall_triggers: texts(number + 3),
        agent_ids: texts(number + 4),
        app_id: format!("application {number}"),
        user_id: format!("user {number}"),
        institution_id: institution(number),
        created_at: at(number),
        updated_at: at(100 + number),
    }
}

pub(crate) fn upload(id: &str, number: i32) -> Upload {
    Upload {
        id: id.to_owned(),
        file_name: format!("file {number}"),
        content_type: format!("text/{number}"),
        size_bytes: i64::from(number),
        status: format!("status {number}"),
        institution_id: institution(number),
        created_at: at(number),
        deleted_at: None,
    }
}

pub(crate) fn content(upload_id: &str, offset: usize, length: usize) -> UploadContent {
    let data = (offset..offset + length).map(|byte| byte as u8).collect();
    UploadContent { upload_id: upload_id.to_owned(), offset: offset as i64, data, missing: false }
}

pub(crate) fn embedding(upload_id: &str, number: i32) -> UploadEmbedding {
    UploadEmbedding { upload_id: upload_id.to_owned(), chunk_index: 0, model: format!("model {number}"), vector: vec![number as f32, 0.5] }
}

pub(crate) fn assistant(id: &str, name: &str, number: i32) -> Assistant {
    Assistant {
        id: id.to_owned(),
        name: name.to_owned(),
        description: (number != 0).then(|| format!("description {number}")),
        instructions: (number != 1).then(|| format!("instructions {number}")),
        status: format!("status {number}"),
        institution_id: institution(number),
        created_at: at(number),
        updated_at: at(100 + number),
        deleted_at: None,
    }
}

pub(crate) fn session(id: &str, number: i32) -> Session {
    Session {
        id: id.to_owned(),
        ip_address: format!("192.0.2.{number}"),
        user_agent: format!("browser {number}"),
        device: format!("device {number}"),
        created_at: at(number),
        last_active_at: at(100 + number).filter(|_| number != 1),
    }
}

pub(crate) fn compaction_cache(id: &str, conversation_id: &str, number: i32) -> CompactionCacheEntry {
    CompactionCacheEntry {
        id: id.to_owned(),
        conversation_id: conversation_id.to_owned(),
        text: format!("text {number}"),
        created_at: at(number),
    }
}
