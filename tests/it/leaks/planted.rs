//! Records, every text of which holds the planted word. Written out in full: a new field does not compile until something is planted in it.

use std::collections::BTreeMap;

use userdata::grpc::proto::{
    Assistant, CompactionCacheEntry, Conversation, ConversationMetadata, Episode, Feedback, ImportUserDataRequest, Memory, MemoryType,
    Message, MessagePart, RawPart, ReasoningPart, Role, Session, StartPart, StartStepPart, TextPart, ToolApprovalRequestPart, ToolCallPart,
    ToolOutput, ToolOutputType, ToolResultPart, TurnContext, Upload, UploadContent, UploadEmbedding, message_part::Part,
};

use crate::records::at;

/// In everything that is planted, and nowhere else.
pub(super) const WORD: &str = "zanzibar";

/// A planted text.
pub(super) fn plant(what: &str, nth: usize) -> String {
    format!("{WORD}-{what}-{nth}")
}

/// A planted user token.
pub(super) fn user(nth: usize) -> String {
    plant("user", nth)
}

fn json(what: &str) -> String {
    format!(r#"{{"{WORD}":"{WORD}-{what}"}}"#)
}

fn parts() -> Vec<MessagePart> {
    let text = |what| plant(what, 0);
    let output = |r#type: ToolOutputType, value| Some(ToolOutput { r#type: r#type.into(), value });
    let result = |output| {
        Part::ToolResult(ToolResultPart {
            tool_call_id: text("call"),
            tool_name: text("tool"),
            output,
            provider_options: Some(json("options")),
        })
    };
    let parts = [
        Part::Text(TextPart { text: text("text") }),
        Part::Reasoning(ReasoningPart { text: text("reasoning") }),
        Part::Start(StartPart {}),
        Part::StartStep(StartStepPart {}),
        Part::ToolCall(ToolCallPart {
            tool_call_id: text("call"),
            tool_name: text("tool"),
            args: json("args"),
            requires_approval: Some(true),
            provider_options: Some(json("options")),
        }),
        result(output(ToolOutputType::Text, text("output"))),
        result(output(ToolOutputType::Json, json("output"))),
        result(output(ToolOutputType::ErrorText, text("output"))),
        result(output(ToolOutputType::ErrorJson, json("output"))),
        Part::ToolApprovalRequest(ToolApprovalRequestPart {
            tool_call_id: text("call"),
            tool_name: text("tool"),
            args: json("args"),
            description: Some(text("description")),
            provider_options: Some(json("options")),
            args_hash: Some(text("hash")),
            app_id: Some(text("app")),
        }),
        Part::Raw(RawPart { r#type: text("type"), json: format!(r#"{{"type":"{}","{WORD}":1}}"#, text("type")) }),
    ];
    parts.into_iter().map(|part| MessagePart { part: Some(part) }).collect()
}

/// A message whose texts are planted.
pub(super) fn message(nth: usize) -> Message {
    Message {
        id: plant("message", nth),
        conversation_id: plant("conversation", nth),
        created_at: at(0),
        role: Role::User.into(),
        parts: parts(),
        updated_at: at(1),
        model: Some(plant("model", nth)),
        input_tokens: Some(1),
        output_tokens: Some(1),
        turn_context: Some(TurnContext { values: BTreeMap::from([(plant("key", nth), plant("value", nth))]) }),
    }
}

fn feedback(what: &str, nth: usize) -> Feedback {
    Feedback {
        id: plant(what, nth),
        agent_id: plant("agent", nth),
        message_id: plant("message", nth),
        vote: 1,
        tags: vec![plant("tag", nth)],
        notes: Some(plant(if nth % 3 == 1 { "refused" } else { "notes" }, nth)),
        model: Some(plant("model", nth)),
        created_at: at(0),
        updated_at: at(1),
        deleted_at: None,
    }
}

/// A memory whose texts are planted.
pub(super) fn memory(nth: usize) -> Memory {
    let text = |what| plant(what, nth);
    Memory {
        object_id: Some(text("memory")),
        text: text(if nth.is_multiple_of(2) { "refused" } else { "taken" }),
        raw_extract: text("extract"),
        memory_type: Some(MemoryType::Episodic.into()),
        episode: Some(Episode {
            observation: text("observation"),
            thoughts: text("thoughts"),
            action: text("action"),
            result: text("result"),
        }),
        keywords: vec![text("keyword")],
        topics: vec![text("topic")],
        tags: vec![text("tag")],
        recall_triggers: vec![text("trigger")],
        agent_ids: vec![text("agent")],
        app_id: text("app"),
        user_id: text("user"),
        institution_id: None,
        created_at: at(0),
        updated_at: at(1),
    }
}

/// A request with a record of each kind.
pub(super) fn request(user_token: &str, nth: usize) -> ImportUserDataRequest {
    let text = |what| plant(what, nth);
    let conversation = Conversation {
        id: text("conversation"),
        agent_id: text("agent"),
        title: Some(text("title")),
        created_at: at(0),
        updated_at: at(1),
        last_activity_at: at(1),
        is_from_dashboard: true,
        message_count: 1,
        total_input_tokens: 1,
        total_output_tokens: 1,
        total_tokens: 2,
        conversation_metadata: Some(ConversationMetadata { cached_at: at(1) }),
        institution_id: (nth.is_multiple_of(3)).then(|| text("institution")),
        forgotten_at: None,
        messages: vec![message(nth)],
        feedback: vec![feedback("nested", nth)],
    };
    let content = text("content of a file");
    let upload = Upload {
        id: text("upload"),
        file_name: text("file"),
        content_type: text("content/type"),
        size_bytes: content.len() as i64,
        status: text("status"),
        institution_id: None,
        created_at: at(0),
        deleted_at: None,
    };
    let assistant = Assistant {
        id: text("assistant"),
        name: text("assistant"),
        description: Some(text("description")),
        instructions: Some(text("instructions")),
        status: text("status"),
        institution_id: None,
        created_at: at(0),
        updated_at: at(1),
        deleted_at: None,
    };
    let session = Session {
        id: text("session"),
        ip_address: text("192.0.2.1"),
        user_agent: text("browser"),
        device: format!("{}{}", text("device"), "-".repeat(if nth.is_multiple_of(5) { 60 } else { 0 })),
        created_at: at(0),
        last_active_at: at(1),
    };
    let cache = CompactionCacheEntry {
        id: text("cache"),
        conversation_id: text("conversation"),
        text: text("summary of what was said"),
        created_at: at(0),
    };
    ImportUserDataRequest {
        user_token: user_token.to_owned(),
        conversations: vec![conversation],
        feedback: vec![feedback("feedback", nth)],
        memories: vec![memory(nth)],
        uploads: vec![upload],
        upload_contents: vec![UploadContent { upload_id: text("upload"), offset: 0, data: content.into_bytes(), missing: false }],
        assistants: vec![assistant],
        sessions: vec![session],
        compaction_cache: vec![cache],
        upload_embeddings: vec![UploadEmbedding { upload_id: text("upload"), chunk_index: 0, model: text("model"), vector: vec![0.5] }],
        observed_epoch: None,
    }
}

/// A request each record of which is wrong somewhere, with a planted text there.
pub(super) fn bad_request(user_token: &str, nth: usize) -> ImportUserDataRequest {
    let mut request = request(user_token, nth);
    let long = WORD.repeat(40);
    let with_null = |text: &mut String| text.push('\0');
    with_null(&mut request.memories[0].text);
    with_null(&mut request.sessions[0].device);
    with_null(&mut request.compaction_cache[0].text);
    request.feedback[0].id = long.clone();
    request.uploads[0].id.push('\n');
    request.assistants[0].name.clone_from(&long);
    request.upload_contents[0].upload_id.clone_from(&long);
    request.upload_embeddings[0].upload_id = plant("no upload", nth);
    request.conversations[0].messages[0]
        .parts
        .push(MessagePart { part: Some(Part::ToolCall(ToolCallPart { args: format!("{{\"{WORD}\": {WORD}"), ..Default::default() })) });
    request.conversations[0].messages[0]
        .parts
        .push(MessagePart { part: Some(Part::Raw(RawPart { r#type: plant("type", nth), json: format!("[\"{WORD}\"]") })) });
    request
}
