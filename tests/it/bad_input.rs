//! Bad input: everything wrong is named by its full path, nothing of it is repeated or kept, and what is good beside it stays.

use prost_types::Timestamp;
use tonic::{Code, Request, Status, transport::Channel};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tonic_types::StatusExt;
use userdata::{
    domain::limits::{MAX_CALL_BYTES, MAX_ELEMENTS, MAX_STRANGERS_BYTES},
    grpc::proto::{
        Assistant, CompactionCacheEntry, Conversation, DeleteUserMessagesRequest, Episode, ExportUserDataRequest, Feedback,
        GetErasureStatusRequest, ImportUserDataRequest, Memory, Message, MessagePart, RawPart, ScopedDeleteRequest, Session, TextPart,
        ToolApprovalRequestPart, ToolCallPart, ToolOutput, ToolOutputType, ToolResultPart, Upload, UploadContent, UploadEmbedding,
        message_part::Part,
    },
};

use crate::{
    credentials::key_headers,
    on_both_engines_and_walled,
    rpc::{assert_reason, fields, with},
    world::{ACME, Client, OTHER, World},
};

on_both_engines_and_walled!(
    every_bad_field_of_a_request_is_named_and_nothing_changes,
    a_damaged_or_foreign_resume_token_is_refused,
    every_bad_record_is_rejected_alone_by_its_path,
    a_record_that_contradicts_what_is_held_is_rejected_alone,
    a_request_that_is_too_large_or_no_message_changes_nothing,
    a_request_of_too_many_elements_ends_its_stream_and_those_before_it_stay,
    what_the_contract_does_not_have_is_refused_with_a_reason,
    hostile_names_come_back_as_they_went_in_and_stay_in_their_folder,
);

/// In everything that is bad, so that a test sees it wherever it is repeated.
const BAD: &str = "hunter2";

/// Whether a message holds a text anywhere.
fn holds(message: &impl prost::Message, text: &str) -> bool {
    message.encode_to_vec().windows(text.len()).any(|bytes| bytes == text.as_bytes())
}

fn assert_silent(status: &Status) {
    let said = format!("{} {} {:?}", status.message(), String::from_utf8_lossy(status.details()), status.metadata());
    assert!(!said.contains(BAD), "{said}");
}

/// Asserts that a call was refused for exactly these fields, and what it says does not repeat them.
fn assert_invalid<T>(answer: Result<T, Status>, expected: &[&str]) {
    let refused = answer.err().unwrap_or_else(|| panic!("accepted: {expected:?}"));
    assert_reason(&refused, Code::InvalidArgument, "ERROR_REASON_INVALID_REQUEST");
    assert_eq!(fields(&refused), expected, "{refused:?}");
    for violation in refused.get_details_bad_request().unwrap().field_violations {
        assert!(!violation.description.is_empty() && refused.message().contains(&violation.field), "{refused:?}");
    }
    assert_silent(&refused);
}

fn at() -> Option<Timestamp> {
    Some(Timestamp { seconds: 1_700_000_000, nanos: 0 })
}

fn conversation(id: &str) -> Conversation {
    Conversation { id: id.into(), agent_id: "agent".into(), created_at: at(), updated_at: at(), ..Default::default() }
}

fn message(id: &str, conversation_id: &str) -> Message {
    Message { id: id.into(), conversation_id: conversation_id.into(), created_at: at(), updated_at: at(), role: 1, ..Default::default() }
}

fn feedback(id: &str) -> Feedback {
    Feedback { id: id.into(), agent_id: "a".into(), message_id: "m".into(), created_at: at(), updated_at: at(), ..Default::default() }
}

fn memory(id: &str) -> Memory {
    Memory { object_id: Some(id.into()), text: "t".into(), created_at: at(), updated_at: at(), ..Default::default() }
}

fn upload(id: &str, size_bytes: i64) -> Upload {
    Upload { id: id.into(), file_name: "f".into(), status: "ready".into(), created_at: at(), size_bytes, ..Default::default() }
}

fn assistant(id: &str, name: &str) -> Assistant {
    Assistant { id: id.into(), name: name.into(), status: "ready".into(), created_at: at(), updated_at: at(), ..Default::default() }
}

fn session(id: &str) -> Session {
    Session { id: id.into(), created_at: at(), ..Default::default() }
}

fn cache(id: &str, conversation_id: &str) -> CompactionCacheEntry {
    CompactionCacheEntry { id: id.into(), conversation_id: conversation_id.into(), text: "t".into(), created_at: at() }
}

/// A good user, so that there is something that could change.
async fn fill(client: &mut Client) {
    let request = ImportUserDataRequest {
        user_token: "anna".into(),
        conversations: vec![Conversation { messages: vec![message("held-message", "held")], ..conversation("held") }],
        memories: vec![memory("held")],
        uploads: vec![upload("held", 3)],
        upload_contents: vec![UploadContent { upload_id: "held".into(), data: b"abc".to_vec(), ..Default::default() }],
        assistants: vec![assistant("held", "Held")],
        sessions: vec![session("held")],
        ..Default::default()
    };
    assert_eq!(client.import(vec![request]).await.unwrap().rejections, []);
}

async fn every_bad_field_of_a_request_is_named_and_nothing_changes(world: World) {
    let mut client = world.client().await;
    fill(&mut client).await;
    let before = (world.all_rows().await, world.all_objects());
    let bad_tokens = [
        String::new(),
        format!("{BAD}{}", "x".repeat(250)),
        format!("{BAD}{}", "x".repeat(60 * 1024)),
        format!("{BAD}\0"),
        format!("{BAD}\n"),
        format!("{BAD}\u{7f}"),
        format!("{BAD}\u{85}"),
    ];
    for bad in bad_tokens {
        let export = ExportUserDataRequest { user_token: bad.clone(), categories: vec![1, 0, 99, -1], ..Default::default() };
        assert_invalid(client.export_responses(export).await, &["user_token", "categories[1]", "categories[2]", "categories[3]"]);
        assert_invalid(
            client.users.delete_user_messages(DeleteUserMessagesRequest { user_token: bad.clone(), ..Default::default() }).await,
            &["user_token"],
        );
        let nothing = ScopedDeleteRequest { user_token: bad.clone(), ..Default::default() };
        assert_invalid(client.users.scoped_delete(nothing).await, &["user_token", "dialogues"]);
        let everything = ScopedDeleteRequest { user_token: bad.clone(), dialogues: true, vault: true, ..Default::default() };
        assert_invalid(client.users.scoped_delete(everything).await, &["user_token"]);
        let first = ImportUserDataRequest { user_token: bad.clone(), memories: vec![memory("new")], ..Default::default() };
        assert_invalid(client.import(vec![first]).await, &["requests[0].user_token"]);
    }
    assert_invalid(
        client.users.scoped_delete(ScopedDeleteRequest { user_token: "anna".into(), ..Default::default() }).await,
        &["dialogues"],
    );

    // More violations than any client would take in one answer are still one answer.
    let many = ExportUserDataRequest { user_token: "anna".into(), categories: vec![99; 10_000], ..Default::default() };
    let refused = client.export_responses(many).await.unwrap_err();
    assert_reason(&refused, Code::InvalidArgument, "ERROR_REASON_INVALID_REQUEST");
    assert_eq!((fields(&refused)[0].as_str(), fields(&refused).len()), ("categories[0]", 16));
    assert!(refused.message().ends_with("and 9984 more"), "{refused:?}");
    assert!(world.all_rows().await == before.0 && world.all_objects() == before.1, "a bad request changed something");

    // A bad request ends the stream; what came before it stays.
    let second = [memory_of("anna", "first"), memory_of("", "second"), memory_of("anna", "third")];
    assert_invalid(client.import(second.to_vec()).await, &["requests[1].user_token"]);
    let memories = world.query("SELECT object_id FROM memories ORDER BY object_id").await;
    assert_eq!(memories.iter().map(|row| row["object_id"].as_str().unwrap()).collect::<Vec<_>>(), ["first", "held"]);
}

fn memory_of(user_token: &str, id: &str) -> ImportUserDataRequest {
    ImportUserDataRequest { user_token: user_token.into(), memories: vec![memory(id)], ..Default::default() }
}

async fn a_damaged_or_foreign_resume_token_is_refused(world: World) {
    let mut client = world.client().await;
    fill(&mut client).await;
    let begin = ExportUserDataRequest { user_token: "anna".into(), ..Default::default() };
    let token = client.export_responses(begin.clone()).await.unwrap().remove(0).resume_token;
    let resume = |resume_token: String| ExportUserDataRequest { resume_token, ..begin.clone() };
    assert_eq!(client.export_responses(resume(token.clone())).await.unwrap().len(), 1, "the good one is not good");

    for place in [0, 1, token.len() / 2, token.len() - 1] {
        let other = if token.as_bytes()[place] == b'A' { "B" } else { "A" };
        let damaged = format!("{}{other}{}", &token[..place], &token[place + 1..]);
        assert_invalid(client.export_responses(resume(damaged)).await, &["resume_token"]);
    }
    for damaged in [BAD.to_owned(), token[..token.len() - 1].to_owned(), format!("{token}A"), " ".into(), "x".repeat(60 * 1024)] {
        assert_invalid(client.export_responses(resume(damaged)).await, &["resume_token"]);
    }
    for foreign in [
        ExportUserDataRequest { user_token: "bert".into(), ..resume(token.clone()) },
        ExportUserDataRequest { categories: vec![2], ..resume(token.clone()) },
        ExportUserDataRequest { include_deleted: true, ..resume(token.clone()) },
        ExportUserDataRequest { include_upload_content: true, ..resume(token.clone()) },
    ] {
        assert_invalid(client.export_responses(foreign).await, &["resume_token"]);
    }
    assert_invalid(world.client_of(OTHER).await.export_responses(resume(token)).await, &["resume_token"]);
}

/// A bad record in a request of its own, and the fields it is rejected for.
type Case = (ImportUserDataRequest, Vec<&'static str>);

/// A bad message beside a good one.
fn bad_message(field: &'static str, change: impl FnOnce(&mut Message)) -> Case {
    let mut bad = message("bad", "c");
    change(&mut bad);
    let conversations = vec![Conversation { messages: vec![message("good", "c"), bad], ..conversation("c") }];
    (ImportUserDataRequest { conversations, ..Default::default() }, vec![field])
}

/// A message whose second part is bad.
fn bad_part(field: &'static str, part: Option<Part>) -> Case {
    let good = MessagePart { part: Some(Part::Text(TextPart { text: "good".into() })) };
    bad_message(field, |message| message.parts = vec![good, MessagePart { part }])
}

fn bad_conversation(field: &'static str, change: impl FnOnce(&mut Conversation)) -> Case {
    let mut bad = conversation("bad");
    change(&mut bad);
    (ImportUserDataRequest { conversations: vec![conversation("good"), bad], ..Default::default() }, vec![field])
}

fn bad_feedback(field: &'static str, change: impl FnOnce(&mut Feedback)) -> Case {
    let mut bad = feedback("bad");
    change(&mut bad);
    (ImportUserDataRequest { feedback: vec![feedback("good"), bad], ..Default::default() }, vec![field])
}

fn bad_memory(field: &'static str, change: impl FnOnce(&mut Memory)) -> Case {
    let mut bad = memory("bad");
    change(&mut bad);
    (ImportUserDataRequest { memories: vec![memory("good"), bad], ..Default::default() }, vec![field])
}

fn bad_upload(field: &'static str, change: impl FnOnce(&mut Upload)) -> Case {
    let mut bad = upload("bad", 3);
    change(&mut bad);
    (ImportUserDataRequest { uploads: vec![upload("good", 3), bad], ..Default::default() }, vec![field])
}

fn bad_assistant(field: &'static str, change: impl FnOnce(&mut Assistant)) -> Case {
    let mut bad = assistant("bad", "Bad");
    change(&mut bad);
    (ImportUserDataRequest { assistants: vec![assistant("good", "Good"), bad], ..Default::default() }, vec![field])
}

fn bad_session(field: &'static str, change: impl FnOnce(&mut Session)) -> Case {
    let mut bad = session("bad");
    change(&mut bad);
    (ImportUserDataRequest { sessions: vec![session("good"), bad], ..Default::default() }, vec![field])
}

fn bad_cache(field: &'static str, change: impl FnOnce(&mut CompactionCacheEntry)) -> Case {
    let mut bad = cache("bad", "c");
    change(&mut bad);
    let conversations = vec![conversation("c")];
    (ImportUserDataRequest { conversations, compaction_cache: vec![cache("good", "c"), bad], ..Default::default() }, vec![field])
}

fn bad_content(field: &'static str, change: impl FnOnce(&mut UploadContent)) -> Case {
    let mut bad = UploadContent { upload_id: "u".into(), data: b"abc".to_vec(), ..Default::default() };
    change(&mut bad);
    (ImportUserDataRequest { uploads: vec![upload("u", 3)], upload_contents: vec![bad], ..Default::default() }, vec![field])
}

fn bad_embedding(field: &'static str, change: impl FnOnce(&mut UploadEmbedding)) -> Case {
    let mut bad = UploadEmbedding { upload_id: "u".into(), chunk_index: 1, model: "m".into(), vector: vec![1.0] };
    change(&mut bad);
    let good = UploadEmbedding { upload_id: "u".into(), chunk_index: 0, model: "m".into(), vector: vec![1.0] };
    (ImportUserDataRequest { uploads: vec![upload("u", 3)], upload_embeddings: vec![good, bad], ..Default::default() }, vec![field])
}

fn nested(depth: usize) -> String {
    format!("{}\"{BAD}\"{}", "[".repeat(depth), "]".repeat(depth))
}

fn call(args: String, provider_options: Option<String>) -> Option<Part> {
    Some(Part::ToolCall(ToolCallPart { tool_call_id: "i".into(), tool_name: "n".into(), args, provider_options, ..Default::default() }))
}

fn result(output: Option<ToolOutput>, provider_options: Option<String>) -> Option<Part> {
    Some(Part::ToolResult(ToolResultPart { tool_call_id: "i".into(), tool_name: "n".into(), output, provider_options }))
}

fn approval(args: String, provider_options: Option<String>) -> Option<Part> {
    Some(Part::ToolApprovalRequest(ToolApprovalRequestPart { args, provider_options, ..Default::default() }))
}

fn raw(kind: &str, json: String) -> Option<Part> {
    Some(Part::Raw(RawPart { r#type: kind.into(), json }))
}

fn bad_messages() -> Vec<Case> {
    let long = || format!("{BAD}{}", "x".repeat(250));
    let broken = || format!("{{\"{BAD}\": ");
    let json = |value: String| Some(ToolOutput { r#type: 2, value });
    let of_type = |r#type: ToolOutputType, value: &str| Some(ToolOutput { r#type: r#type.into(), value: value.into() });
    vec![
        bad_message("conversations[0].messages[1].id", |m| m.id.clear()),
        bad_message("conversations[0].messages[1].id", |m| m.id = long()),
        bad_message("conversations[0].messages[1].id", |m| m.id = format!("{BAD}\0")),
        bad_message("conversations[0].messages[1].conversation_id", |m| m.conversation_id = BAD.into()),
        bad_message("conversations[0].messages[1].conversation_id", |m| m.conversation_id.clear()),
        bad_message("conversations[0].messages[1].role", |m| m.role = 0),
        bad_message("conversations[0].messages[1].role", |m| m.role = 99),
        bad_message("conversations[0].messages[1].created_at", |m| m.created_at = None),
        bad_message("conversations[0].messages[1].created_at", |m| m.created_at = Some(Timestamp { seconds: i64::MAX, nanos: 0 })),
        bad_message("conversations[0].messages[1].updated_at", |m| m.updated_at = None),
        bad_message("conversations[0].messages[1].updated_at", |m| m.updated_at = Some(Timestamp { seconds: 1, nanos: -1 })),
        bad_message("conversations[0].messages[1].input_tokens", |m| m.input_tokens = Some(-1)),
        bad_message("conversations[0].messages[1].output_tokens", |m| m.output_tokens = Some(i32::MIN)),
        bad_part("conversations[0].messages[1].parts[1]", Some(Part::Text(TextPart { text: BAD.repeat(5 * 1024 * 1024 / BAD.len()) }))),
        bad_part("conversations[0].messages[1].parts[1].part", None),
        bad_part("conversations[0].messages[1].parts[1].tool_call.args", call(broken(), None)),
        bad_part("conversations[0].messages[1].parts[1].tool_call.args", call(String::new(), None)),
        bad_part("conversations[0].messages[1].parts[1].tool_call.args", call(nested(200), None)),
        bad_part("conversations[0].messages[1].parts[1].tool_call.args", call(nested(100_000), None)),
        bad_part("conversations[0].messages[1].parts[1].tool_call.args", call(format!("\"{BAD}\u{1}\""), None)),
        bad_part("conversations[0].messages[1].parts[1].tool_call.args", call(format!("{{}} {BAD}"), None)),
        bad_part("conversations[0].messages[1].parts[1].tool_call.provider_options", call("{}".into(), Some(broken()))),
        bad_part("conversations[0].messages[1].parts[1].tool_result.output", result(None, None)),
        bad_part("conversations[0].messages[1].parts[1].tool_result.output.value", result(json(BAD.into()), None)),
        bad_part("conversations[0].messages[1].parts[1].tool_result.output.value", result(json(nested(200)), None)),
        bad_part("conversations[0].messages[1].parts[1].tool_result.output.value", result(of_type(ToolOutputType::Text, "1"), None)),
        bad_part("conversations[0].messages[1].parts[1].tool_result.output.value", result(of_type(ToolOutputType::ErrorText, "{}"), None)),
        bad_part("conversations[0].messages[1].parts[1].tool_result.output.value", result(of_type(ToolOutputType::Content, "{}"), None)),
        bad_part(
            "conversations[0].messages[1].parts[1].tool_result.output.type",
            result(Some(ToolOutput { r#type: 0, value: "1".into() }), None),
        ),
        bad_part(
            "conversations[0].messages[1].parts[1].tool_result.output.type",
            result(Some(ToolOutput { r#type: 9, value: "1".into() }), None),
        ),
        bad_part("conversations[0].messages[1].parts[1].tool_result.provider_options", result(json("1".into()), Some(BAD.into()))),
        bad_part("conversations[0].messages[1].parts[1].tool_approval_request.args", approval(BAD.into(), None)),
        bad_part("conversations[0].messages[1].parts[1].tool_approval_request.provider_options", approval("{}".into(), Some(BAD.into()))),
        bad_part("conversations[0].messages[1].parts[1].raw.json", raw("x", broken())),
        bad_part("conversations[0].messages[1].parts[1].raw.json", raw("x", format!("[\"{BAD}\"]"))),
        bad_part("conversations[0].messages[1].parts[1].raw.json", raw("x", format!("{{\"type\": \"x\", \"v\": {}}}", nested(200)))),
        bad_part("conversations[0].messages[1].parts[1].raw.type", raw("", "{\"type\": \"\"}".into())),
        bad_part("conversations[0].messages[1].parts[1].raw.type", raw("x", format!("{{\"type\": \"{BAD}\"}}"))),
        bad_part("conversations[0].messages[1].parts[1].raw.type", raw("x", "{}".into())),
        bad_part("conversations[0].messages[1].parts[1].raw.type", raw("1", "{\"type\": 1}".into())),
        bad_part("conversations[0].messages[1].parts[1].raw.type", raw("x", "{\"type\": \"x\", \"type\": \"x\"}".into())),
    ]
}

fn bad_records() -> Vec<Case> {
    let long = || format!("{BAD}{}", "x".repeat(250));
    let far = Some(Timestamp { seconds: 10_000_000_000, nanos: 0 });
    let large = || BAD.repeat(5 * 1024 * 1024 / BAD.len());
    vec![
        bad_conversation("conversations[1].id", |c| c.id.clear()),
        bad_conversation("conversations[1].id", |c| c.id = long()),
        bad_conversation("conversations[1].agent_id", |c| c.agent_id.clear()),
        bad_conversation("conversations[1].created_at", |c| c.created_at = None),
        bad_conversation("conversations[1].created_at", |c| c.created_at = far),
        bad_conversation("conversations[1].updated_at", |c| c.updated_at = None),
        bad_conversation("conversations[1].last_activity_at", |c| c.last_activity_at = far),
        bad_conversation("conversations[1].title", |c| c.title = Some(format!("{BAD}\0"))),
        bad_conversation("conversations[1].title", |c| c.title = Some(large())),
        bad_conversation("conversations[1].message_count", |c| c.message_count = -1),
        bad_conversation("conversations[1].total_input_tokens", |c| c.total_input_tokens = -1),
        bad_conversation("conversations[1].total_output_tokens", |c| c.total_output_tokens = -1),
        bad_conversation("conversations[1].total_tokens", |c| c.total_tokens = -1),
        bad_conversation("conversations[1].institution_id", |c| c.institution_id = Some(String::new())),
        bad_conversation("conversations[1].forgotten_at", |c| c.forgotten_at = far),
        bad_feedback("feedback[1].id", |f| f.id.clear()),
        bad_feedback("feedback[1].agent_id", |f| f.agent_id.clear()),
        bad_feedback("feedback[1].message_id", |f| f.message_id = long()),
        bad_feedback("feedback[1].created_at", |f| f.created_at = None),
        bad_feedback("feedback[1].updated_at", |f| f.updated_at = None),
        bad_feedback("feedback[1].notes", |f| f.notes = Some(format!("{BAD}\0"))),
        bad_feedback("feedback[1].tags[1]", |f| f.tags = vec!["good".into(), format!("{BAD}\0")]),
        bad_memory("memories[1].object_id", |m| m.object_id = Some(String::new())),
        bad_memory("memories[1].object_id", |m| m.object_id = Some(format!("{BAD}\u{8}"))),
        bad_memory("memories[1].created_at", |m| m.created_at = None),
        bad_memory("memories[1].updated_at", |m| m.updated_at = None),
        bad_memory("memories[1].memory_type", |m| m.memory_type = Some(0)),
        bad_memory("memories[1].memory_type", |m| m.memory_type = Some(7)),
        bad_memory("memories[1].text", |m| m.text = format!("{BAD}\0")),
        bad_memory("memories[1].text", |m| m.text = large()),
        bad_memory("memories[1].episode.action", |m| m.episode = Some(Episode { action: format!("{BAD}\0"), ..Default::default() })),
        bad_memory("memories[1].agent_ids[0]", |m| m.agent_ids = vec![format!("{BAD}\0")]),
        bad_upload("uploads[1].id", |u| u.id.clear()),
        bad_upload("uploads[1].size_bytes", |u| u.size_bytes = -1),
        bad_upload("uploads[1].status", |u| u.status = "deleted".into()),
        bad_upload("uploads[1].status", |u| u.deleted_at = at()),
        bad_upload("uploads[1].status", |u| u.status.clear()),
        bad_upload("uploads[1].created_at", |u| u.created_at = None),
        bad_upload("uploads[1].file_name", |u| u.file_name = format!("{BAD}\0")),
        bad_content("upload_contents[0].upload_id", |c| c.upload_id.clear()),
        bad_content("upload_contents[0].upload_id", |c| c.upload_id = BAD.into()),
        bad_content("upload_contents[0].offset", |c| c.offset = -1),
        bad_content("upload_contents[0].offset", |c| c.offset = 1),
        bad_content("upload_contents[0].data", |c| c.data = BAD.into()),
        bad_content("upload_contents[0].data", |c| c.data = large().into()),
        bad_content("upload_contents[0].data", |c| c.data.truncate(2)),
        bad_embedding("upload_embeddings[1].upload_id", |e| e.upload_id = BAD.into()),
        bad_embedding("upload_embeddings[1].chunk_index", |e| e.chunk_index = -1),
        bad_embedding("upload_embeddings[1].model", |e| e.model.clear()),
        bad_embedding("upload_embeddings[1].vector", |e| e.vector.clear()),
        bad_assistant("assistants[1].id", |a| a.id.clear()),
        bad_assistant("assistants[1].name", |a| a.name.clear()),
        bad_assistant("assistants[1].name", |a| a.name = "Good".into()),
        bad_assistant("assistants[1].status", |a| a.status = "deleted".into()),
        bad_assistant("assistants[1].created_at", |a| a.created_at = None),
        bad_assistant("assistants[1].updated_at", |a| a.updated_at = None),
        bad_assistant("assistants[1].instructions", |a| a.instructions = Some(format!("{BAD}\0"))),
        bad_session("sessions[1].id", |s| s.id.clear()),
        bad_session("sessions[1].created_at", |s| s.created_at = None),
        bad_session("sessions[1].last_active_at", |s| s.last_active_at = far),
        bad_session("sessions[1].ip_address", |s| s.ip_address = format!("{BAD}\0")),
        bad_cache("compaction_cache[1].id", |c| c.id.clear()),
        bad_cache("compaction_cache[1].conversation_id", |c| c.conversation_id.clear()),
        bad_cache("compaction_cache[1].conversation_id", |c| c.conversation_id = BAD.into()),
        bad_cache("compaction_cache[1].created_at", |c| c.created_at = None),
        bad_cache("compaction_cache[1].text", |c| c.text = format!("{BAD}\0")),
    ]
}

async fn every_bad_record_is_rejected_alone_by_its_path(world: World) {
    let mut client = world.client().await;
    let mut cases = bad_messages();
    cases.extend(bad_records());
    // Several things wrong with one record are all told, and the messages of a conversation that nobody can name are rejected with it.
    let (mut all, _) = bad_message("", |message| *message = Message { conversation_id: BAD.into(), ..Default::default() });
    all.conversations.push(Conversation { messages: vec![message("lost", "")], agent_id: BAD.into(), ..Default::default() });
    let expected = [
        "conversations[0].messages[1].id",
        "conversations[0].messages[1].conversation_id",
        "conversations[0].messages[1].created_at",
        "conversations[0].messages[1].updated_at",
        "conversations[0].messages[1].role",
        "conversations[1].id",
        "conversations[1].messages[0]",
    ];
    cases.push((all, expected.to_vec()));
    let cases_in_all = cases.len();

    for (number, (mut request, expected)) in cases.into_iter().enumerate() {
        // One user per case, and beside the bad record a good one of another kind.
        request.user_token = format!("user {number}");
        request.sessions.push(session("good session"));
        let good = memory_of(&request.user_token, "good memory");
        let outcome = client.import(vec![good, request]).await.unwrap_or_else(|status| panic!("{expected:?}: {status:?}"));
        let found: Vec<&str> = outcome.rejections.iter().map(|rejection| rejection.field.as_str()).collect();
        let expected: Vec<String> = expected.into_iter().map(|field| format!("requests[1].{field}")).collect();
        assert_eq!(found, expected);
        assert!(outcome.rejected >= 1);
        assert!(outcome.rejections.iter().all(|rejection| !rejection.description.is_empty()));
        assert!(!holds(&outcome, BAD), "{expected:?}");
        assert_eq!(outcome.imported.unwrap().memories, 1 + i32::from(expected[0].contains("memories")), "{expected:?}");
    }

    let rows = world.all_rows().await;
    assert_eq!(rows["subjects"].len(), cases_in_all);
    assert!(rows.values().flatten().all(|row| !row.contains(BAD)), "something bad was kept");
    let of = |table: &str| rows[table].iter().filter(|row| row.contains(r#""good"#)).count();
    assert_eq!(of("sessions"), cases_in_all + bad_records().iter().filter(|(_, fields)| fields[0].starts_with("sessions")).count());
    assert_eq!(of("messages"), bad_messages().len() + 1, "a good message beside a bad one was lost");
    for (table, prefix) in [
        ("feedback", "feedback"),
        ("uploads", "uploads"),
        ("assistants", "assistants"),
        ("compaction_cache", "compaction_cache"),
        ("conversations", "conversations"),
    ] {
        assert_eq!(of(table), bad_records().iter().filter(|(_, fields)| fields[0].starts_with(prefix)).count(), "{table}");
    }
    assert!(rows.values().flatten().all(|row| !row.contains(r#""bad""#)), "a record that was rejected is there");
    assert!(world.all_objects().is_empty(), "content that was rejected is there");
}

async fn a_record_that_contradicts_what_is_held_is_rejected_alone(world: World) {
    let mut client = world.client().await;
    fill(&mut client).await;
    let mut other = world.client_of(OTHER).await;
    fill(&mut other).await;
    let id = world.subject_id(ACME, "anna").await;
    let before = world.rows_of(id).await;
    let bad = ImportUserDataRequest {
        user_token: "anna".into(),
        conversations: vec![
            Conversation { messages: vec![message("held-message", "new")], ..conversation("new") },
            Conversation { id: format!("{BAD} unknown"), messages: vec![message("lost", &format!("{BAD} unknown"))], ..Default::default() },
        ],
        assistants: vec![assistant("another", "Held")],
        ..Default::default()
    };
    let outcome = client.import(vec![bad]).await.unwrap();
    let mut found: Vec<&str> = outcome.rejections.iter().map(|rejection| rejection.field.as_str()).collect();
    found.sort_unstable();
    assert_eq!(found, ["requests[0].assistants[0].name", "requests[0].conversations[0].messages[0].id", "requests[0].conversations[1].id"]);
    assert_eq!(outcome.rejected, 3);
    assert!(!holds(&outcome, BAD));
    let after = world.rows_of(id).await;
    for (table, rows) in &before {
        let grown = usize::from(*table == "conversations");
        assert_eq!(after[table].len(), rows.len() + grown, "{table}");
        assert!(rows.iter().all(|row| after[table].contains(row)), "{table}: a row changed");
    }
}

/// Calls a method of the package with these bytes in field 1; it has to fail.
async fn call_raw(channel: &Channel, method: &str, request: Request<Vec<u8>>) -> Status {
    let mut raw = tonic::client::Grpc::new(channel.clone());
    raw.ready().await.unwrap();
    let path = format!("/userdata.v1.{method}").parse().unwrap();
    raw.unary(request, path, tonic_prost::ProstCodec::<Vec<u8>, Vec<u8>>::default()).await.unwrap_err()
}

async fn a_request_that_is_too_large_or_no_message_changes_nothing(world: World) {
    let mut client = world.client().await;
    fill(&mut client).await;
    let before = world.all_rows().await;
    let nine_megabytes = format!("{BAD}{}", "x".repeat(9 * 1024 * 1024));
    let assert_too_large = |refused: Status| {
        assert_reason(&refused, Code::ResourceExhausted, "ERROR_REASON_LIMIT_EXCEEDED");
        assert_silent(&refused);
    };
    let text = Memory { text: nine_megabytes.clone(), ..memory("large") };
    let import = ImportUserDataRequest { user_token: "anna".into(), memories: vec![text], ..Default::default() };
    assert_too_large(client.import(vec![import]).await.unwrap_err());
    let export = ExportUserDataRequest { user_token: nine_megabytes.clone(), ..Default::default() };
    assert_too_large(client.export_responses(export).await.unwrap_err());
    let delete = DeleteUserMessagesRequest { user_token: nine_megabytes.clone(), ..Default::default() };
    assert_too_large(client.users.delete_user_messages(delete).await.unwrap_err());
    let scoped = ScopedDeleteRequest { user_token: nine_megabytes, sessions: true, ..Default::default() };
    assert_too_large(client.users.scoped_delete(scoped).await.unwrap_err());
    let longer = format!("{BAD}{}", "x".repeat(MAX_CALL_BYTES));
    assert_too_large(client.users.get_erasure_status(GetErasureStatusRequest { user_token: longer }).await.unwrap_err());
    let service = format!("{BAD}{}", "x".repeat(MAX_STRANGERS_BYTES));
    assert_too_large(HealthClient::new(world.channel().await).check(HealthCheckRequest { service }).await.unwrap_err());

    // Field 1 is a text everywhere; these bytes are none.
    let (channel, key) = (world.channel().await, key_headers(ACME, world.key(ACME)));
    for path in [
        "UserDataService/ExportUserData",
        "UserDataService/DeleteUserMessages",
        "UserDataService/ScopedDelete",
        "ImportService/ImportUserData",
    ] {
        let bytes = [&b"\xff"[..], BAD.as_bytes()].concat();
        let refused = call_raw(&channel, path, with(&key, bytes)).await;
        assert_reason(&refused, Code::InvalidArgument, "ERROR_REASON_INVALID_REQUEST");
        assert_silent(&refused);
    }
    assert!(world.all_rows().await == before);
}

async fn a_request_of_too_many_elements_ends_its_stream_and_those_before_it_stay(world: World) {
    let mut client = world.client().await;
    let good = ImportUserDataRequest { user_token: "anna".into(), memories: vec![memory("good")], ..Default::default() };
    let many = ImportUserDataRequest { memories: vec![memory(BAD); MAX_ELEMENTS + 1], ..good.clone() };
    assert_invalid(client.import(vec![good, many]).await, &["requests[1]"]);
    assert_eq!(client.export("anna").await.iter().flat_map(|frame| &frame.memories).count(), 1);
}

async fn what_the_contract_does_not_have_is_refused_with_a_reason(world: World) {
    let (channel, key) = (world.channel().await, key_headers(ACME, world.key(ACME)));
    let mut compressed = key.clone();
    compressed.insert("grpc-encoding", "gzip".parse().unwrap());
    for (method, headers) in
        [("UserDataService/hunter2", &key), ("hunter2/ExportUserData", &key), ("UserDataService/DeleteUserMessages", &compressed)]
    {
        let refused = call_raw(&channel, method, with(headers, b"anna".to_vec())).await;
        assert_reason(&refused, Code::Unimplemented, "ERROR_REASON_NOT_SUPPORTED");
        assert_silent(&refused);
    }
}

async fn hostile_names_come_back_as_they_went_in_and_stay_in_their_folder(world: World) {
    let mut client = world.client().await;
    let hostile = [
        "../../etc/passwd",
        "/etc/passwd",
        "..",
        ".",
        "%2e%2e%2fetc",
        "\\..\\windows",
        "'; DROP TABLE messages; --",
        "\" OR \"\"=\"",
        "$1 ? :name",
        "%_*",
        "🦀👩‍👩‍👧 ﷺ \u{202e}txt",
        "CON",
        " ",
        "é",
        "e\u{301}",
        &"x".repeat(256),
        &"🦀".repeat(64),
    ];
    for (number, name) in hostile.iter().enumerate() {
        let content = format!("content {number}").into_bytes();
        let request = ImportUserDataRequest {
            user_token: (*name).into(),
            conversations: vec![Conversation { messages: vec![message(name, name)], title: Some((*name).into()), ..conversation(name) }],
            memories: vec![memory(name)],
            uploads: vec![upload(name, content.len() as i64)],
            upload_contents: vec![UploadContent { upload_id: (*name).into(), data: content.clone(), ..Default::default() }],
            assistants: vec![assistant(name, name)],
            sessions: vec![session(name)],
            ..Default::default()
        };
        let outcome = client.import(vec![request.clone()]).await.unwrap();
        assert_eq!((outcome.rejected, outcome.rejections), (0, vec![]));
    }
    let objects = world.all_objects();
    assert_eq!(objects.len(), hostile.len());
    for path in objects.keys() {
        let relative = path.strip_prefix(world.objects()).unwrap().to_str().unwrap();
        assert!(relative.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f' | b'/')), "{relative}");
    }
    let beside: Vec<_> = std::fs::read_dir(world.folder()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(beside.iter().all(|name| name == "objects" || name.to_string_lossy().starts_with("userdata.db")), "{beside:?}");

    for (number, name) in hostile.iter().enumerate() {
        let request = ExportUserDataRequest { user_token: (*name).into(), include_upload_content: true, ..Default::default() };
        let response = client.export_responses(request).await.unwrap().remove(0);
        let conversation = &response.conversations[0];
        assert_eq!((conversation.id.as_str(), conversation.title.as_deref()), (*name, Some(*name)));
        assert_eq!((conversation.messages[0].id.as_str(), conversation.messages[0].conversation_id.as_str()), (*name, *name));
        assert_eq!(response.upload_contents[0].data, format!("content {number}").into_bytes());
        assert_eq!((response.memories[0].object_id.as_deref(), response.assistants[0].name.as_str()), (Some(*name), *name));
        let vault = ScopedDeleteRequest { user_token: (*name).into(), vault: true, ..Default::default() };
        assert_eq!(client.users.scoped_delete(vault).await.unwrap().get_ref().uploads_deleted, 1);
        assert_eq!(world.all_objects().len(), hostile.len() - number - 1);
    }
}
