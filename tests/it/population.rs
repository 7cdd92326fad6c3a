//! Users with every kind of row that an erasure may meet: personal and of an institution, erased before and live.

use prost_types::Timestamp;
use serde_json::Value;
use userdata::grpc::{
    document::UserDocument,
    proto::{
        Assistant, CompactionCacheEntry, Conversation, Feedback, ImportUserDataRequest, Memory, Message, MessagePart, Role, Session,
        TextPart, Upload, UploadEmbedding, message_part::Part,
    },
};

use crate::world::{Client, World};

/// The rows of every personal table.
pub(crate) type Tables = std::collections::BTreeMap<&'static str, Vec<Value>>;

/// Long before any test.
fn earlier(seconds: i64) -> Option<Timestamp> {
    Some(Timestamp { seconds: 1_700_000_000 + seconds, nanos: 0 })
}

fn message(conversation_id: &str, number: usize) -> Message {
    Message {
        id: format!("{conversation_id}-m{number}"),
        conversation_id: conversation_id.to_owned(),
        created_at: earlier(number as i64),
        updated_at: earlier(number as i64),
        role: Role::User.into(),
        parts: vec![MessagePart { part: Some(Part::Text(TextPart { text: "hello".to_owned() })) }],
        ..Default::default()
    }
}

fn feedback(id: &str, deleted: bool) -> Feedback {
    Feedback {
        id: id.to_owned(),
        agent_id: "agent".to_owned(),
        message_id: "c-live-m0".to_owned(),
        created_at: earlier(5),
        updated_at: earlier(5),
        deleted_at: if deleted { earlier(9) } else { None },
        ..Default::default()
    }
}

/// A conversation of so many messages. Counts are the platform's and need not agree.
pub(crate) fn conversation(id: &str, messages: usize, message_count: i32) -> Conversation {
    Conversation {
        id: id.to_owned(),
        agent_id: "agent".to_owned(),
        title: Some(format!("title of {id}")),
        created_at: earlier(0),
        updated_at: earlier(1),
        message_count,
        total_input_tokens: 11,
        total_output_tokens: 22,
        total_tokens: 33,
        messages: (0..messages).map(|number| message(id, number)).collect(),
        ..Default::default()
    }
}

/// A user with two or more of everything.
pub(crate) fn resident(user_token: &str) -> UserDocument {
    let institution = Some("institution".to_owned());
    let mut user = UserDocument::new(user_token);
    user.conversations = vec![
        Conversation { feedback: vec![feedback("f-live", false), feedback("f-deleted", true)], ..conversation("c-live", 3, 3) },
        conversation("c-empty", 0, 0),
        conversation("c-counted", 0, 4),
        conversation("c-uncounted", 1, 0),
        Conversation { forgotten_at: earlier(3), feedback: vec![feedback("f-forgotten", false)], ..conversation("c-forgotten", 2, 2) },
        Conversation {
            institution_id: institution.clone(),
            feedback: vec![feedback("f-institution", false)],
            ..conversation("c-institution", 2, 2)
        },
    ];
    user.feedback = vec![feedback("f-detached", false), feedback("f-detached-deleted", true)];
    let memory = |id: Option<&str>| Memory {
        object_id: id.map(str::to_owned),
        text: "prefers tea".to_owned(),
        created_at: earlier(0),
        updated_at: earlier(0),
        ..Default::default()
    };
    user.memories = vec![memory(Some("m1")), memory(None), Memory { institution_id: institution.clone(), ..memory(Some("m-institution")) }];
    let upload = |id: &str, size_bytes| Upload {
        id: id.to_owned(),
        file_name: "file".to_owned(),
        size_bytes,
        status: "ready".to_owned(),
        created_at: earlier(0),
        ..Default::default()
    };
    user.uploads = vec![
        upload("u1", 5),
        upload("u2", 7),
        upload("u-lost", 100),
        Upload { status: "deleted".to_owned(), deleted_at: earlier(4), ..upload("u-deleted", 1_000) },
        Upload { institution_id: institution.clone(), ..upload("u-institution", 9) },
    ];
    for (id, size) in [("u1", 5), ("u2", 7), ("u-institution", 9)] {
        user.contents.insert(id.to_owned(), format!("{id} of {user_token}, and more").into_bytes()[..size].to_vec());
    }
    let assistant = |id: &str, name: &str| Assistant {
        id: id.to_owned(),
        name: name.to_owned(),
        status: "active".to_owned(),
        created_at: earlier(0),
        updated_at: earlier(0),
        ..Default::default()
    };
    user.assistants = vec![
        assistant("a1", "first"),
        assistant("a2", "second"),
        Assistant { status: "deleted".to_owned(), deleted_at: earlier(4), ..assistant("a-deleted", "first") },
        Assistant { institution_id: institution, ..assistant("a-institution", "third") },
    ];
    let session =
        |id: &str| Session { id: id.to_owned(), ip_address: "192.0.2.1".to_owned(), created_at: earlier(0), ..Default::default() };
    user.sessions = vec![session("s1"), session("s2")];
    let summary = |id: &str, conversation_id: &str| CompactionCacheEntry {
        id: id.to_owned(),
        conversation_id: conversation_id.to_owned(),
        text: "said hello".to_owned(),
        created_at: earlier(0),
    };
    user.compaction_cache = vec![summary("cc1", "c-live"), summary("cc2", "c-empty"), summary("cc-institution", "c-institution")];
    user
}

/// Imports a resident, and embeddings of the uploads that are not deleted.
pub(crate) async fn settle(client: &mut Client, user_token: &str) {
    let mut requests: Vec<_> = resident(user_token).into_requests().collect();
    let embedding = |upload_id: &str, chunk_index| UploadEmbedding {
        upload_id: upload_id.to_owned(),
        chunk_index,
        model: "small".to_owned(),
        vector: vec![0.5, -1.0],
    };
    let upload_embeddings =
        vec![embedding("u1", 0), embedding("u1", 1), embedding("u2", 0), embedding("u-lost", 0), embedding("u-institution", 0)];
    requests.push(ImportUserDataRequest { user_token: user_token.to_owned(), upload_embeddings, ..Default::default() });
    let outcome = client.import(requests).await.unwrap();
    assert_eq!(outcome.rejected, 0, "{:?}", outcome.rejections);
}

/// All rows, as values.
pub(crate) async fn tables(world: &World) -> Tables {
    let parse = |rows: Vec<String>| rows.iter().map(|row| serde_json::from_str(row).unwrap()).collect();
    world.all_rows().await.into_iter().map(|(table, rows)| (table, parse(rows))).collect()
}

/// The same rows in one order, whatever was done to them.
pub(crate) fn sorted(tables: Tables) -> Tables {
    let sort = |mut rows: Vec<Value>| {
        rows.sort_by_cached_key(Value::to_string);
        rows
    };
    tables.into_iter().map(|(table, rows)| (table, sort(rows))).collect()
}
