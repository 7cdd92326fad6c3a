use serde_json::{Value, json};

use super::*;
use crate::grpc::proto::{ExportUserDataResponse, MessagePart};

const CONVERSATION: &str = r#"{"id":"c1","agentId":"a","title":null,"createdAt":"2025-01-01T00:00:00Z","updatedAt":"2025-01-01T00:00:00Z","lastActivityAt":null,"userToken":"u","isFromDashboard":false,"messageCount":1,"totalInputTokens":0,"totalOutputTokens":0,"totalTokens":0,"conversationMetadata":null,"feedback":[{"id":"f1","agentId":"a","messageId":"m1","vote":1,"tags":[],"notes":null,"model":null,"createdAt":"2025-01-01T00:00:00Z","updatedAt":"2025-01-01T00:00:00Z"}],"messages":[{"id":"m1","conversationId":"c1","role":"user","parts":[],"createdAt":"2025-01-01T00:00:00.500Z","updatedAt":"2025-01-01T00:00:00.500Z","turnContext":{}}]}"#;

fn document(conversation: &str) -> String {
    format!(r#"{{"userToken":"u","conversations":[{conversation}],"memories":[]}}"#)
}

fn written(document: &UserDocument) -> String {
    serde_json::to_string(document).unwrap()
}

fn problem(json: &str) -> String {
    UserDocument::parse(json.as_bytes()).err().unwrap().to_string()
}

#[test]
fn a_document_comes_back_as_it_was_spelled() {
    let json = document(CONVERSATION);
    assert_eq!(written(&UserDocument::parse(json.as_bytes()).unwrap()), json);
}

#[test]
fn null_and_absence_are_read_alike() {
    let sparse = r#"{"id":"c1","agentId":"a","createdAt":"2025-01-01T00:00:00Z","updatedAt":"2025-01-01T00:00:00Z","messages":[]}"#;
    let read: Value = serde_json::from_str(&written(&UserDocument::parse(document(sparse).as_bytes()).unwrap())).unwrap();
    let conversation = &read["conversations"][0];
    for member in ["title", "lastActivityAt", "conversationMetadata"] {
        assert_eq!(conversation.get(member), Some(&Value::Null), "{member}");
    }
    assert_eq!(conversation.get("institutionId"), None);

    let memory = r#"{"userToken":"u","conversations":[],"memories":[{"objectID":null,"text":"t","rawExtract":"r","memoryType":null,"episode":null,"createdAt":1,"updatedAt":1.5}]}"#;
    let read: Value = serde_json::from_str(&written(&UserDocument::parse(memory.as_bytes()).unwrap())).unwrap();
    assert_eq!(
        read["memories"][0],
        json!({"text":"t","rawExtract":"r","keywords":[],"topics":[],"_tags":[],"recallTriggers":[],"agentIDs":[],"appId":"","userID":"","createdAt":1,"updatedAt":1.5})
    );
}

#[test]
fn mistakes_are_named_by_their_path_and_without_their_content() {
    let changed = |from: &str, to: &str| {
        assert!(CONVERSATION.contains(from));
        problem(&document(&CONVERSATION.replacen(from, to, 1)))
    };
    assert_eq!(changed(r#""role":"user","#, ""), "conversations[0].messages[0].role is missing; set it");
    assert_eq!(
        changed(r#""role":"user""#, r#""role":"secret""#),
        "conversations[0].messages[0].role is not one of the known values; choose `user` or `assistant`"
    );
    assert_eq!(
        changed(r#""vote":1"#, r#""vote":"secret, expected x""#),
        "conversations[0].feedback[0].vote has the wrong type or size; make it i32"
    );
    assert_eq!(changed(r#""vote":1"#, r#""vote":5000000000"#), "conversations[0].feedback[0].vote has the wrong type or size; make it i32");
    assert_eq!(
        changed(r#""vote":1"#, r#""vote":1,"extra":"secret""#),
        "conversations[0].feedback[0].extra is not a member of this record; remove it"
    );
    assert_eq!(changed(r#""vote":1"#, r#""vote":1,"vote":1"#), "conversations[0].feedback[0].vote is there twice; keep one");
    assert_eq!(
        changed(r#""parts":[]"#, r#""parts":[{"text":"secret"}]"#),
        "conversations[0].messages[0].parts[0] has no text as its `type`"
    );
    assert_eq!(
        changed(r#""turnContext":{}"#, r#""turnContext":{"a":1}"#),
        "conversations[0].messages[0].turnContext.a has the wrong type or size; make it a string"
    );
    assert_eq!(
        changed(r#""createdAt":"2025-01-01T00:00:00.500Z""#, r#""createdAt":"secret""#),
        "conversations[0].messages[0].createdAt is not an RFC 3339 time such as 2025-01-31T12:00:00Z"
    );
    assert_eq!(
        changed(r#""userToken":"u""#, r#""userToken":"secret""#),
        "conversations[0].userToken differs from the document's userToken; one document is about one user"
    );
    assert_eq!(problem(r#"{"conversations":[],"memories":[]}"#), "userToken is missing; set it");
    assert_eq!(problem("7"), "the document has the wrong type or size; make it an object");
    assert_eq!(problem(r#"{"userToken":"#), "is not valid JSON at line 1, column 13");
    assert_eq!(problem(r#"{"userToken":"u","conversations":[],"memories":[]} x"#), "is not valid JSON at line 1, column 52");
    let memory = r#"{"userToken":"u","conversations":[],"memories":[{"text":"t","rawExtract":"r","createdAt":"secret","updatedAt":1}]}"#;
    assert_eq!(problem(memory), "memories[0].createdAt is not a number of seconds since 1970 with at most 9 decimals");
}

#[test]
fn content_travels_in_pieces_behind_its_upload() {
    let mut document = UserDocument::new("u");
    for (id, bytes) in [("a", 0), ("b", 600_000), ("c", 10)] {
        document.uploads.push(Upload {
            id: id.to_owned(),
            size_bytes: bytes,
            created_at: Some(prost_types::Timestamp::default()),
            ..Upload::default()
        });
        document.contents.insert(id.to_owned(), vec![b'x'; usize::try_from(bytes).unwrap()]);
    }
    let requests: Vec<_> = document.clone().into_requests().collect();
    let pieces: Vec<_> = requests
        .iter()
        .flat_map(|request| &request.upload_contents)
        .map(|piece| (piece.upload_id.as_str(), piece.offset, piece.data.len()))
        .collect();
    assert_eq!(pieces, [("a", 0, 0), ("b", 0, 262_144), ("b", 262_144, 262_144), ("b", 524_288, 75_712), ("c", 0, 10)]);

    let order: Vec<_> = document.clone().into_items().map(|item| item.field_number()).collect();
    let all = ExportUserDataResponse {
        uploads: document.uploads.clone(),
        upload_contents: requests.into_iter().flat_map(|request| request.upload_contents).collect(),
        ..Default::default()
    };
    assert_eq!(items(all).map(|item| item.field_number()).collect::<Vec<_>>(), order);
    assert!(UserDocument::parse(written(&document).as_bytes()).unwrap() == document);

    let late = Item::UploadContent(UploadContent { upload_id: "d".to_owned(), offset: 5, ..UploadContent::default() });
    assert_eq!(document.push(late), Err(DocumentError::ContentGap));
    let vanished = Item::UploadContent(UploadContent { upload_id: "c".to_owned(), offset: 10, missing: true, ..UploadContent::default() });
    assert_eq!(document.push(vanished), Err(DocumentError::ContentGap));
}

#[test]
fn records_with_long_lists_are_divided_among_requests_that_the_server_takes() {
    let mut document = UserDocument::parse(document(CONVERSATION).as_bytes()).unwrap();
    document.conversations[0].messages[0].parts = vec![MessagePart::default(); 49_000];
    document.memories = vec![Memory { keywords: vec!["k".to_owned(); 20_000], ..Memory::default() }; 4];
    document.feedback = vec![Feedback { tags: vec!["t".to_owned(); 30_000], ..Feedback::default() }; 2];
    let items = document.clone().into_items().count();
    let requests: Vec<_> = document.into_requests().collect();
    assert!(requests.iter().all(|request| too_large(request).is_none()));
    assert!(requests.len() < items, "each has a request to itself");
    let memory = Memory { topics: vec![String::new(); 60_000], ..Memory::default() };
    let alone: Vec<_> = UserDocument { memories: vec![memory], ..UserDocument::new("u") }.into_requests().collect();
    assert!(alone.iter().any(|request| too_large(request).is_some()));
}

#[test]
fn lines_name_the_kind_of_record() {
    let parsed = UserDocument::parse(document(CONVERSATION).as_bytes()).unwrap();
    let lines: Vec<_> = parsed.into_items().map(|item| serde_json::to_value(Line { user_token: "u", item: &item }).unwrap()).collect();
    assert_eq!(lines[0]["conversation"]["id"], "c1");
    assert_eq!(lines[0]["conversation"].get("messages"), None);
    assert_eq!(lines[1]["message"]["conversationId"], "c1");
    assert_eq!((&lines[2]["feedback"]["id"], &lines[2]["conversationId"]), (&json!("f1"), &json!("c1")));
}

#[test]
fn messages_alone_are_shown_under_their_conversations() {
    let mut parsed = UserDocument::parse(document(CONVERSATION).as_bytes()).unwrap();
    let mut alone = UserDocument::new("u");
    let conversation = std::mem::take(&mut parsed.conversations[0]);
    for message in conversation.messages {
        alone.push(Item::Message { conversation_id: "c1".to_owned(), message }).unwrap();
    }
    let shown: Value = serde_json::from_str(&written(&alone)).unwrap();
    assert_eq!(shown["conversations"][0]["id"], "c1");
    assert_eq!(shown["conversations"][0]["messages"][0]["id"], "m1");
    assert_eq!(shown["conversations"][0].get("title"), None);
}

#[test]
fn paths_that_belong_to_no_list_stay_as_they_are() {
    assert_eq!(Place::default().path("user_token"), "user_token");
    assert_eq!(Place::default().path("compaction_cache[2].text"), "compactionCache[2].text");
}
