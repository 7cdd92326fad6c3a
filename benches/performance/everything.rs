//! Users who hold some of everything that a ScopedDelete erases.

use prost_types::Timestamp;
use userdata::grpc::{
    document::UserDocument,
    proto::{Assistant, CompactionCacheEntry, Conversation, Feedback, ImportUserDataRequest, Memory, Session, Upload, UploadEmbedding},
};

/// 2025-01-01T00:00:00Z.
const OPENED: i64 = 1_735_689_600;

/// How many records of each kind: 80 together.
const CONVERSATIONS: u32 = 20;
const FEEDBACK: u32 = 15;
const MEMORIES: u32 = 20;
const UPLOADS: u32 = 10;
const ASSISTANTS: u32 = 5;
const SESSIONS: u32 = 5;
const COMPACTION_CACHE: u32 = 5;
const ALL: u32 = CONVERSATIONS + FEEDBACK + MEMORIES + UPLOADS + ASSISTANTS + SESSIONS + COMPACTION_CACHE;

/// What imports a user of so many records, in the proportions above. The uploads' content is lost, so that erasing them is the database's
/// work alone.
pub(crate) fn requests(token: &str, records: u32) -> Vec<ImportUserDataRequest> {
    let of = |kind: &'static str, of_all: u32| {
        let token = token.to_owned();
        (0..(of_all * records).div_ceil(ALL)).map(move |nth| (format!("{kind}_{token}_{nth:016x}"), time(nth)))
    };
    let text = || "The parcel was delivered yesterday, but the lamp is broken. ".repeat(4);
    let mut user = UserDocument::new(token);
    user.conversations = of("cnv", CONVERSATIONS)
        .map(|(id, time)| Conversation {
            id,
            agent_id: "agent_1".to_owned(),
            title: Some("A broken lamp".to_owned()),
            created_at: time,
            updated_at: time,
            last_activity_at: time,
            message_count: 2,
            ..Conversation::default()
        })
        .collect();
    let conversation = user.conversations[0].id.clone();
    user.feedback = of("fbk", FEEDBACK)
        .map(|(id, time)| Feedback {
            message_id: format!("msg_of_{id}"),
            id,
            agent_id: "agent_1".to_owned(),
            vote: 1,
            notes: Some(text()),
            created_at: time,
            updated_at: time,
            ..Feedback::default()
        })
        .collect();
    user.memories = of("mem", MEMORIES)
        .map(|(id, time)| Memory {
            object_id: Some(id),
            text: text(),
            raw_extract: text(),
            keywords: vec!["lamp".to_owned(), "parcel".to_owned()],
            user_id: token.to_owned(),
            created_at: time,
            updated_at: time,
            ..Memory::default()
        })
        .collect();
    user.uploads = of("upl", UPLOADS)
        .map(|(id, created_at)| Upload {
            id,
            file_name: "receipt.txt".to_owned(),
            content_type: "text/plain".to_owned(),
            size_bytes: 1_000,
            status: "ready".to_owned(),
            created_at,
            ..Upload::default()
        })
        .collect();
    user.assistants = of("ast", ASSISTANTS)
        .map(|(id, time)| Assistant {
            name: format!("helper {id}"),
            id,
            status: "active".to_owned(),
            created_at: time,
            updated_at: time,
            ..Assistant::default()
        })
        .collect();
    user.sessions = of("ses", SESSIONS)
        .map(|(id, created_at)| Session {
            id,
            ip_address: "192.0.2.1".to_owned(),
            user_agent: "Mozilla/5.0".to_owned(),
            device: "phone".to_owned(),
            created_at,
            last_active_at: created_at,
        })
        .collect();
    user.compaction_cache = of("cpt", COMPACTION_CACHE)
        .map(|(id, created_at)| CompactionCacheEntry { id, conversation_id: conversation.clone(), text: text(), created_at })
        .collect();
    let upload_embeddings = user
        .uploads
        .iter()
        .map(|upload| UploadEmbedding { upload_id: upload.id.clone(), chunk_index: 0, model: "small".to_owned(), vector: vec![0.5; 256] })
        .collect();
    let embeddings = ImportUserDataRequest { user_token: token.to_owned(), upload_embeddings, ..ImportUserDataRequest::default() };
    user.into_requests().chain([embeddings]).collect()
}

fn time(nth: u32) -> Option<Timestamp> {
    Some(Timestamp { seconds: OPENED + i64::from(nth) * 3_600, nanos: 0 })
}
