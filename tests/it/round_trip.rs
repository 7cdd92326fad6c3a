//! Export, import into an empty application, export: the same bytes.

use std::collections::BTreeMap;

use prost_types::Timestamp;
use userdata::{
    cli::sample,
    grpc::{
        document::{UserDocument, items},
        proto::{
            Assistant, Category, CompactionCacheEntry, Conversation, ConversationMetadata, Episode, ExportUserDataRequest, Feedback,
            ImportUserDataRequest, ImportUserDataResponse, Memory, Message, MessagePart, RawPart, ReasoningPart, Role, ScopedDeleteRequest,
            Session, StartPart, StartStepPart, TextPart, ToolApprovalRequestPart, ToolCallPart, ToolOutput, ToolOutputType, ToolResultPart,
            TurnContext, Upload, UploadContent, message_part::Part,
        },
    },
};

use crate::{
    exported::{Exported, category, with_content},
    on_both_engines_and_walled, records,
    world::{ACME, Client, OTHER, World},
};

on_both_engines_and_walled!(
    what_is_exported_and_imported_elsewhere_is_exported_the_same,
    every_digit_and_every_absence_survives,
    erased_records_keep_their_marks_when_imported_elsewhere,
    every_choice_of_categories_gives_those_and_no_others,
    assistants_of_one_request_may_take_each_others_names,
);

/// Numbers that a float cannot hold, and spellings that it would not keep.
const NUMBERS: &str = r#"{"max":9007199254740993,"min":-9007199254740993,"u64":18446744073709551615,"long":123456789012345678901234567890,"third":0.1000000000000000055511151231257827,"zero":-0.0,"one":1.0,"exp":1e400,"EXP":1E+2}"#;

async fn assistants_of_one_request_may_take_each_others_names(world: World) {
    let client = world.client().await;
    let assistants = async |named: &[(&str, &str)]| {
        let assistants: Vec<_> = named.iter().map(|(id, name)| records::assistant(id, name, 2)).collect();
        let mut outcomes = Vec::new();
        for _ in 0..2 {
            let request = ImportUserDataRequest { user_token: "anna".to_owned(), assistants: assistants.clone(), ..Default::default() };
            let rejections = client.clone().import_again(vec![request]).await.unwrap().rejections;
            let rejected: Vec<_> = rejections.into_iter().map(|rejection| rejection.field).collect();
            let held = world.query("SELECT id, name FROM assistants ORDER BY id").await;
            let held = held.iter().map(|row| format!("{}={}", row["id"].as_str().unwrap(), row["name"].as_str().unwrap()));
            outcomes.push((rejected, held.collect::<Vec<_>>().join(" ")));
        }
        assert_eq!(outcomes[0], outcomes[1], "repeated");
        outcomes.swap_remove(0)
    };
    let all = |held: &str| (Vec::new(), held.to_owned());
    assert_eq!(assistants(&[("a", "x"), ("b", "y"), ("c", "z")]).await, all("a=x b=y c=z"));
    assert_eq!(assistants(&[("a", "y"), ("b", "x")]).await, all("a=y b=x c=z"), "exchanged");
    assert_eq!(assistants(&[("a", "x"), ("b", "w"), ("d", "y")]).await, all("a=x b=w c=z d=y"), "in a chain");
    // One that stays as it is has `z`: so nobody gives up a name.
    let refused = |numbers: &[u8]| numbers.iter().map(|number| format!("requests[0].assistants[{number}].name")).collect::<Vec<_>>();
    let held = "a=x b=w c=z d=y".to_owned();
    assert_eq!(assistants(&[("a", "w"), ("b", "y"), ("d", "z")]).await, (refused(&[0, 1, 2]), held.clone()));
    assert_eq!(assistants(&[("a", "z"), ("c", "z")]).await, (refused(&[0]), held.clone()), "to one that wants its own");
    assert_eq!(assistants(&[("a", "new"), ("b", "new")]).await, (refused(&[1]), "a=new b=w c=z d=y".to_owned()), "to the first");
}

async fn import_whole(client: &mut Client, requests: Vec<ImportUserDataRequest>) -> ImportUserDataResponse {
    let outcome = client.import_again(requests).await.unwrap();
    assert_eq!(outcome.rejected, 0, "{:?}", outcome.rejections);
    outcome
}

/// All rows but the subjects, which have a time of their own.
async fn record_rows(world: &World) -> BTreeMap<&'static str, Vec<String>> {
    let mut rows = world.all_rows().await;
    rows.remove("subjects");
    rows
}

async fn what_is_exported_and_imported_elsewhere_is_exported_the_same(world: World) {
    // Many users, and one with a conversation that continues over several responses.
    let mut large = sample::documents(4, 1, Some(2_500)).next().unwrap();
    large.compaction_cache.clear();
    let others = large.conversations.split_off(1);
    let one = &mut large.conversations[0];
    for mut message in others.into_iter().flat_map(|other| other.messages) {
        message.conversation_id.clone_from(&one.id);
        one.messages.push(message);
    }
    let documents: Vec<UserDocument> = sample::documents(3, 24, None).chain([large]).collect();
    let elsewhere = World::start(world.engine).await;
    let mut here = world.client().await;
    let mut there = [world.client_of(OTHER).await, elsewhere.client().await];
    let (mut continued, mut with_files) = (0, 0);
    for document in documents {
        let user_token = document.user_token.clone();
        import_whole(&mut here, document.into_requests().collect()).await;
        let first = Exported::fetch(&mut here, with_content(&user_token)).await;
        let elements = first.0.iter().flat_map(|response| &response.conversations);
        continued += elements.filter(|element| element.created_at.is_none()).count();
        with_files += first.0.iter().flat_map(|response| &response.upload_contents).filter(|piece| !piece.data.is_empty()).count();
        for other in &mut there {
            let outcome = import_whole(other, first.to_requests(&user_token)).await;
            assert_eq!(outcome.imported, first.summary().counts);
            let again = Exported::fetch(other, with_content(&user_token)).await;
            assert!(again.bytes() == first.bytes(), "another export came out");
            assert_eq!(
                (&again.summary().sha256, again.summary().bytes, again.summary().counts),
                (&first.summary().sha256, first.summary().bytes, first.summary().counts)
            );
        }
        if user_token.ends_with("0003") {
            let before = world.all_rows().await;
            import_whole(&mut here, first.to_requests(&user_token)).await;
            assert!(world.all_rows().await == before, "a repeated import changed rows");
        }
    }
    assert!(continued >= 2, "only {continued} continuations");
    assert!(with_files >= 10, "only {with_files} pieces of content");

    // Not only the exports are the same: so is every row.
    let copied: BTreeMap<_, _> = record_rows(&world).await.into_iter().map(|(table, rows)| (table, rows.len())).collect();
    let rows = record_rows(&elsewhere).await;
    assert!(rows["messages"].len() > 2_500);
    for (table, rows) in rows {
        assert_eq!(copied[table], 2 * rows.len(), "{table}");
    }
}

fn at(seconds: i64, nanos: i32) -> Option<Timestamp> {
    Some(Timestamp { seconds, nanos })
}

fn message(id: &str, role: Role, part: Part) -> Message {
    Message {
        id: id.to_owned(),
        conversation_id: "c-full".to_owned(),
        created_at: at(10, 1),
        role: role.into(),
        parts: vec![MessagePart { part: Some(part) }],
        updated_at: at(11, 0),
        ..Message::default()
    }
}

/// Messages that hold every kind of part, with everything optional absent, and with everything present and empty.
fn odd_messages() -> Vec<Message> {
    let mut parts = vec![
        Part::Text(TextPart { text: String::new() }),
        Part::Text(TextPart { text: "line\r\n\u{2028}\u{feff}\u{1f469}\u{200d}\u{1f680}\u{7f}".to_owned() }),
        Part::Reasoning(ReasoningPart { text: "é e\u{301}".to_owned() }),
        Part::Start(StartPart {}),
        Part::StartStep(StartStepPart {}),
        Part::Raw(RawPart {
            r#type: "tool-call".to_owned(),
            json: r#"{ "type": "tool-call", "toolCallId": "x", "new": 9007199254740993 }"#.to_owned(),
        }),
        Part::ToolResult(ToolResultPart {
            tool_call_id: String::new(),
            tool_name: String::new(),
            output: Some(ToolOutput { r#type: ToolOutputType::Text.into(), value: r#""""#.to_owned() }),
            provider_options: None,
        }),
    ];
    for present in [None, Some("")] {
        let options = present.map(|_| NUMBERS.to_owned());
        parts.push(Part::ToolCall(ToolCallPart {
            tool_call_id: "call".to_owned(),
            tool_name: "tool".to_owned(),
            args: NUMBERS.to_owned(),
            requires_approval: present.map(|_| false),
            provider_options: options.clone(),
        }));
        parts.push(Part::ToolResult(ToolResultPart {
            tool_call_id: "call".to_owned(),
            tool_name: "tool".to_owned(),
            output: Some(ToolOutput { r#type: ToolOutputType::Json.into(), value: NUMBERS.to_owned() }),
            provider_options: options.clone(),
        }));
        parts.push(Part::ToolApprovalRequest(ToolApprovalRequestPart {
            tool_call_id: "call".to_owned(),
            tool_name: "tool".to_owned(),
            args: format!("[{NUMBERS},  9007199254740993 ]"),
            description: present.map(str::to_owned),
            provider_options: options,
            args_hash: present.map(str::to_owned),
            app_id: present.map(str::to_owned),
        }));
    }
    for (kind, value) in [
        (ToolOutputType::ErrorText, r#""\ud83d\ude80 9007199254740993""#),
        (ToolOutputType::ErrorJson, "18446744073709551616"),
        (ToolOutputType::Content, "[9007199254740993]"),
    ] {
        let output = Some(ToolOutput { r#type: kind.into(), value: value.to_owned() });
        let call = ToolResultPart { tool_call_id: "call".to_owned(), tool_name: "tool".to_owned(), output, provider_options: None };
        parts.push(Part::ToolResult(call));
    }
    let mut messages: Vec<Message> = parts
        .into_iter()
        .enumerate()
        .map(|(index, part)| message(&format!("m{index:02}"), if index % 2 == 0 { Role::User } else { Role::Assistant }, part))
        .collect();
    messages[0].parts.clear();
    messages[1].turn_context = Some(TurnContext::default());
    messages[2].turn_context =
        Some(TurnContext { values: BTreeMap::from([(String::new(), String::new()), ("b".to_owned(), "a".to_owned())]) });
    messages[3] = Message {
        model: Some(String::new()),
        input_tokens: Some(0),
        output_tokens: Some(i32::MAX),
        turn_context: None,
        ..messages[3].clone()
    };
    messages
}

/// Each record once with everything optional absent, and once with everything present and empty.
fn odd_user() -> UserDocument {
    let mut user = UserDocument::new("odd user \u{1f469}");
    let bare = Conversation { agent_id: "agent".to_owned(), created_at: at(-1, 999_999_999), updated_at: at(0, 0), ..Default::default() };
    let feedback = Feedback {
        id: "f-bare".to_owned(),
        agent_id: "agent".to_owned(),
        message_id: "gone".to_owned(),
        vote: -7,
        created_at: at(5, 0),
        updated_at: at(5, 1),
        ..Default::default()
    };
    let full_feedback = Feedback {
        id: "f-full".to_owned(),
        tags: vec![String::new(), "b".to_owned(), "a".to_owned(), "b".to_owned()],
        notes: Some(String::new()),
        model: Some(String::new()),
        ..feedback.clone()
    };
    user.conversations = vec![
        Conversation { id: "c-bare".to_owned(), feedback: vec![feedback.clone()], ..bare.clone() },
        Conversation { id: "c-metadata".to_owned(), conversation_metadata: Some(ConversationMetadata { cached_at: None }), ..bare.clone() },
        Conversation {
            id: "c-full".to_owned(),
            title: Some(String::new()),
            created_at: at(1, 1),
            last_activity_at: at(0, 0),
            is_from_dashboard: true,
            message_count: i32::MAX,
            total_input_tokens: i32::MAX,
            total_output_tokens: i32::MAX,
            total_tokens: i32::MAX,
            conversation_metadata: Some(ConversationMetadata { cached_at: at(1, 2) }),
            institution_id: Some("institution".to_owned()),
            messages: odd_messages(),
            feedback: vec![full_feedback.clone()],
            ..bare
        },
    ];
    user.feedback = vec![Feedback { id: "g-bare".to_owned(), ..feedback }, Feedback { id: "g-full".to_owned(), ..full_feedback }];
    let memory = Memory { text: "a".to_owned(), created_at: at(1, 0), updated_at: at(1, 0), ..Default::default() };
    user.memories = vec![
        Memory {
            object_id: Some("m-full".to_owned()),
            memory_type: Some(1),
            episode: Some(Episode::default()),
            keywords: vec![String::new()],
            institution_id: Some("institution".to_owned()),
            created_at: at(0, 5),
            ..memory.clone()
        },
        memory,
    ];
    let upload = Upload { id: "u-empty".to_owned(), status: "ready".to_owned(), created_at: at(1, 0), ..Default::default() };
    user.uploads = vec![
        upload.clone(),
        Upload { id: "u-full".to_owned(), size_bytes: 600_000, institution_id: Some("institution".to_owned()), ..upload.clone() },
        Upload { id: "u-lost".to_owned(), size_bytes: 3, ..upload },
    ];
    user.contents = BTreeMap::from([
        ("u-empty".to_owned(), Vec::new()),
        ("u-full".to_owned(), (0..600_000_u32).map(|number| number.to_le_bytes()[number as usize % 3]).collect()),
    ]);
    let assistant = Assistant {
        id: "a1".to_owned(),
        name: "bare".to_owned(),
        status: "draft".to_owned(),
        created_at: at(1, 0),
        updated_at: at(1, 0),
        ..Default::default()
    };
    user.assistants = vec![
        assistant.clone(),
        Assistant {
            id: "a2".to_owned(),
            name: "full".to_owned(),
            description: Some(String::new()),
            instructions: Some(String::new()),
            institution_id: Some("institution".to_owned()),
            ..assistant
        },
    ];
    let session = Session { id: "s1".to_owned(), created_at: at(1, 0), ..Default::default() };
    user.sessions = vec![session.clone(), Session { id: "s2".to_owned(), last_active_at: at(0, 0), ..session }];
    user.compaction_cache =
        vec![CompactionCacheEntry { id: "cc".to_owned(), conversation_id: "c-full".to_owned(), text: String::new(), created_at: at(1, 0) }];
    user
}

/// What was exported, as a document.
fn document(user_token: &str, exported: &Exported) -> UserDocument {
    let mut document = UserDocument::new(user_token);
    for item in exported.0.iter().cloned().flat_map(items) {
        document.push(item).unwrap();
    }
    document
}

async fn every_digit_and_every_absence_survives(world: World) {
    let user = odd_user();
    let mut client = world.client().await;
    import_whole(&mut client, user.clone().into_requests().collect()).await;
    let exported = Exported::fetch(&mut client, with_content(&user.user_token)).await;
    let found = document(&user.user_token, &exported);
    for (found, expected) in found.conversations.iter().zip(&user.conversations) {
        assert_eq!(found, expected);
    }
    assert!(found == user, "another user came out than went in");
    let missing: Vec<UploadContent> =
        exported.0.iter().flat_map(|response| &response.upload_contents).filter(|piece| piece.missing).cloned().collect();
    assert_eq!(missing, [UploadContent { upload_id: "u-lost".to_owned(), missing: true, ..Default::default() }]);

    // The same by JSON: the text of the numbers is kept, not their value.
    let json = serde_json::to_string(&found).unwrap();
    assert!(json.contains(&format!(r#""args":{NUMBERS}"#)) && json.contains(&format!(r#""value":{NUMBERS}"#)), "digits were lost");
    let mut other = world.client_of(OTHER).await;
    import_whole(&mut other, UserDocument::parse(json.as_bytes()).unwrap().into_requests().collect()).await;
    let again = Exported::fetch(&mut other, with_content(&user.user_token)).await;
    assert!(again.bytes() == exported.bytes(), "another export came out");
}

async fn erased_records_keep_their_marks_when_imported_elsewhere(world: World) {
    let user_token = "erased";
    let mut client = world.client().await;
    let import = |seed: u64| {
        let document = UserDocument { user_token: user_token.to_owned(), ..sample::documents(seed, 1, None).next().unwrap() };
        document.into_requests().collect::<Vec<_>>()
    };
    import_whole(&mut client, import(21)).await;
    let scopes = ScopedDeleteRequest {
        user_token: user_token.to_owned(),
        dialogues: true,
        vault: true,
        assistants: true,
        feedback: true,
        ..Default::default()
    };
    let erased = client.users.scoped_delete(scopes).await.unwrap().into_inner();
    assert!(erased.dialogues_forgotten > 0 && erased.uploads_deleted > 0 && erased.assistants_deleted > 0 && erased.feedback_deleted > 0);
    // Other records beside the erased ones; among them assistants of the same names.
    import_whole(&mut client, import(22)).await;

    let everything = ExportUserDataRequest { include_deleted: true, ..with_content(user_token) };
    let first = Exported::fetch(&mut client, everything.clone()).await;
    let plain = Exported::fetch(&mut client, with_content(user_token)).await;
    let forgotten = first.0.iter().flat_map(|response| &response.conversations).filter(|element| element.forgotten_at.is_some());
    assert_eq!(forgotten.filter(|element| element.created_at.is_some()).count() as i32, erased.dialogues_forgotten);
    let deleted = first.0.iter().flat_map(|response| &response.uploads).filter(|upload| upload.deleted_at.is_some());
    assert_eq!(deleted.count() as i32, erased.uploads_deleted);

    let elsewhere = World::start(world.engine).await;
    let mut there = elsewhere.client().await;
    let outcome = import_whole(&mut there, first.to_requests(user_token)).await;
    assert_eq!(outcome.imported, first.summary().counts);
    assert!(Exported::fetch(&mut there, everything).await.bytes() == first.bytes(), "marks were lost");
    assert!(Exported::fetch(&mut there, with_content(user_token)).await.bytes() == plain.bytes(), "what was erased came back");
    assert!(record_rows(&elsewhere).await == record_rows(&world).await);

    let before = world.all_rows().await;
    import_whole(&mut client, first.to_requests(user_token)).await;
    assert!(world.all_rows().await == before, "a repeated import changed rows");
    assert_eq!(world.subject_id(ACME, user_token).await, elsewhere.subject_id(ACME, user_token).await);
}

async fn every_choice_of_categories_gives_those_and_no_others(world: World) {
    let document = sample::documents(5, 1, None).next().unwrap();
    let user_token = document.user_token.clone();
    let mut client = world.client().await;
    import_whole(&mut client, document.into_requests().collect()).await;
    let everything = Exported::fetch(&mut client, with_content(&user_token)).await.items();
    let known: Vec<Category> = (1..=8).map(|number| Category::try_from(number).unwrap()).collect();
    for bits in 1_u32..256 {
        let chosen: Vec<Category> =
            known.iter().copied().enumerate().filter(|(place, _)| bits & (1 << place) != 0).map(|(_, one)| one).collect();
        // Their order, and naming one twice, changes nothing.
        let categories = chosen.iter().rev().chain(&chosen[..1]).map(|category| (*category).into()).collect();
        let request = ExportUserDataRequest { categories, ..with_content(&user_token) };
        let exported = Exported::fetch(&mut client, request).await;
        let expected: Vec<_> = everything.iter().filter(|item| chosen.contains(&category(item))).cloned().collect();
        assert!(exported.items() == expected, "of {chosen:?} came something else");
        if !chosen.contains(&Category::Conversations) {
            for element in exported.0.iter().flat_map(|response| &response.conversations) {
                let bare = Conversation { messages: Vec::new(), feedback: Vec::new(), ..element.clone() };
                assert_eq!(bare, Conversation { id: element.id.clone(), ..Default::default() });
                assert!(!element.messages.is_empty() || !element.feedback.is_empty(), "an element that holds nothing");
            }
        }
    }
}
