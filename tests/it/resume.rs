//! Exports that break off, and continue; and exports that an erasure ends.

use prost::Message as _;
use prost_types::Timestamp;
use tonic::{
    Code, Status,
    service::interceptor::InterceptedService,
    transport::{Channel, Endpoint},
};
use tonic_types::StatusExt;
use userdata::{
    cli::sample,
    domain::limits::{CONTENT_PIECE_BYTES, FRAME_TARGET_BYTES, MAX_FRAME_BYTES, MAX_RECORD_BYTES},
    grpc::{
        client::Credential,
        document::UserDocument,
        proto::{
            Category, CompactionCacheEntry, Conversation, DeleteUserMessagesRequest, ExportUserDataRequest, ExportUserDataResponse,
            Feedback, ImportUserDataRequest, Memory, Message, MessagePart, Role, ScopedDeleteRequest, TextPart, Upload, UploadContent,
            message_part::Part, user_data_service_client::UserDataServiceClient,
        },
    },
};

use crate::{
    exported::{Exported, with_content},
    on_both_engines_and_walled,
    population::resident,
    rpc::assert_reason,
    world::{ACME, Client, OTHER, World},
};

on_both_engines_and_walled!(
    resuming_from_any_frame_gives_exactly_the_rest,
    resuming_after_any_kind_of_record_gives_exactly_the_rest,
    a_token_of_anything_else_is_refused,
    an_erasure_ends_the_exports_it_overlaps,
    content_that_is_replaced_or_vanishes_ends_the_exports_of_it,
    a_user_never_seen_has_an_empty_summary,
    the_largest_records_pass_in_frames_of_less_than_1_mib,
);

/// A user of some thousand messages, several MiB, with a file among the uploads that is larger than a frame.
fn large_user() -> UserDocument {
    let mut user = sample::documents(9, 1, Some(2_400)).next().unwrap();
    for (index, message) in user.conversations.iter_mut().flat_map(|conversation| &mut conversation.messages).enumerate() {
        let text = format!("{index} {}", "wörter ".repeat(index % 300));
        message.parts.push(MessagePart { part: Some(Part::Text(TextPart { text })) });
    }
    let content: Vec<u8> = (0..1_100_000_u32).flat_map(|number| (number % 251).to_le_bytes()).step_by(4).collect();
    let created_at = Some(Timestamp { seconds: 1, nanos: 0 });
    let size_bytes = content.len() as i64;
    user.uploads.insert(0, Upload { id: "large".to_owned(), size_bytes, status: "ready".to_owned(), created_at, ..Default::default() });
    user.contents.insert("large".to_owned(), content);
    user
}

async fn import(client: &mut Client, document: UserDocument) {
    let outcome = client.import_again(document.into_requests().collect()).await.unwrap();
    assert_eq!(outcome.rejected, 0, "{:?}", outcome.rejections);
}

async fn resuming_from_any_frame_gives_exactly_the_rest(world: World) {
    let user = large_user();
    let user_token = user.user_token.clone();
    let mut client = world.client().await;
    import(&mut client, user).await;
    let whole = Exported::fetch(&mut client, with_content(&user_token)).await;
    let frames = &whole.0;
    assert!(frames.len() >= 10, "{} frames", frames.len());
    for frame in &frames[..frames.len() - 1] {
        // Full, and by no more than one item too full: a piece of a file, or a message of this user's.
        let largest = if frame.upload_contents.is_empty() { 4 * 1024 } else { CONTENT_PIECE_BYTES + 4 * 1024 };
        let bytes = frame.encoded_len();
        assert!((FRAME_TARGET_BYTES..FRAME_TARGET_BYTES + largest).contains(&bytes), "a frame of {bytes} bytes");
    }
    let in_file = frames.iter().filter(|frame| frame.upload_contents.last().is_some_and(|piece| piece.upload_id == "large")).count();
    assert!(in_file >= 3, "no frame ended within the file");

    for (index, frame) in frames.iter().enumerate() {
        let request = ExportUserDataRequest { resume_token: frame.resume_token.clone(), ..with_content(&user_token) };
        let rest = Exported(client.export_responses(request).await.unwrap());
        rest.check_frames();
        let mut joined = Exported(frames[..=index].to_vec());
        for response in &mut joined.0 {
            response.summary = None;
        }
        joined.0.extend(rest.0.clone());
        assert!(joined.items() == whole.items(), "from frame {index} came something else");
        assert_eq!(rest.summary(), whole.summary(), "from frame {index}");
        if index + 1 < frames.len() {
            assert!(rest.0 == frames[index + 1..], "from frame {index} came other frames");
        }
    }
}

async fn resuming_after_any_kind_of_record_gives_exactly_the_rest(world: World) {
    // Each record has a frame to itself, but for conversations: only the last has, so that one reading finds several.
    let fill = |text: &mut String| text.push_str(&"x".repeat(FRAME_TARGET_BYTES));
    let mut user = resident("anna");
    for conversation in &mut user.conversations {
        if conversation.id == "c-uncounted" {
            fill(conversation.title.get_or_insert_default());
        }
        conversation.messages.iter_mut().for_each(|message| fill(message.model.get_or_insert_default()));
        conversation.feedback.iter_mut().for_each(|feedback| fill(feedback.notes.get_or_insert_default()));
    }
    user.feedback.iter_mut().for_each(|feedback| fill(feedback.notes.get_or_insert_default()));
    user.memories.iter_mut().for_each(|memory| fill(&mut memory.text));
    user.uploads.iter_mut().for_each(|upload| fill(&mut upload.file_name));
    user.assistants.iter_mut().for_each(|assistant| fill(assistant.instructions.get_or_insert_default()));
    user.sessions.iter_mut().for_each(|session| fill(&mut session.device));
    user.compaction_cache.iter_mut().for_each(|entry| fill(&mut entry.text));
    let mut client = world.client().await;
    import(&mut client, user).await;

    let everything = with_content("anna");
    let only = |category: Category| ExportUserDataRequest { categories: vec![category.into()], ..everything.clone() };
    let administrators = ExportUserDataRequest { include_deleted: true, include_upload_content: false, ..everything.clone() };
    for request in [only(Category::Messages), only(Category::Feedback), administrators, everything] {
        let frames = Exported::fetch(&mut client, request.clone()).await.0;
        for (index, frame) in frames.iter().enumerate() {
            let resumed = ExportUserDataRequest { resume_token: frame.resume_token.clone(), ..request.clone() };
            let rest = client.export_responses(resumed).await.unwrap();
            let expected = &frames[(index + 1).min(frames.len() - 1)..];
            if index + 1 < frames.len() {
                assert!(rest == expected, "from frame {index} came something else");
            } else {
                // Nothing but the summary again.
                let only_the_summary = ExportUserDataResponse {
                    resume_token: frame.resume_token.clone(),
                    summary: frame.summary.clone(),
                    ..Default::default()
                };
                assert_eq!(rest, [only_the_summary]);
            }
        }
    }
}

fn assert_refused(refused: Result<Vec<impl Sized>, Status>, which: &str) {
    let Err(status) = refused else { panic!("accepted: {which}") };
    assert_eq!(status.code(), Code::InvalidArgument, "{which}");
    let details = status.get_error_details();
    let violations = &details.bad_request().unwrap().field_violations;
    assert_eq!(violations.iter().map(|violation| violation.field.as_str()).collect::<Vec<_>>(), ["resume_token"], "{which}");
    assert_eq!(details.error_info().unwrap().reason, "ERROR_REASON_INVALID_REQUEST", "{which}");
}

async fn a_token_of_anything_else_is_refused(world: World) {
    let document = sample::documents(2, 1, None).next().unwrap();
    let user_token = document.user_token.clone();
    let (mut client, mut other) = (world.client().await, world.client_of(OTHER).await);
    import(&mut client, UserDocument { user_token: "neighbour".to_owned(), ..document.clone() }).await;
    import(&mut client, document.clone()).await;
    import(&mut other, document).await;
    let good = Exported::fetch(&mut client, with_content(&user_token)).await.0[0].resume_token.clone();
    let request = |resume_token: &str| ExportUserDataRequest { resume_token: resume_token.to_owned(), ..with_content(&user_token) };
    client.export_responses(request(&good)).await.unwrap();

    let of = |user_token: &str| ExportUserDataRequest { user_token: user_token.to_owned(), ..request(&good) };
    assert_refused(client.export_responses(of("neighbour")).await, "of another user");
    assert_refused(client.export_responses(of("never seen")).await, "of another user, never seen");
    assert_refused(other.export_responses(request(&good)).await, "of another application");
    for (changed, which) in [
        (ExportUserDataRequest { categories: vec![Category::Messages.into()], ..request(&good) }, "of other categories"),
        (ExportUserDataRequest { include_deleted: true, ..request(&good) }, "of an export without what was deleted"),
        (ExportUserDataRequest { include_upload_content: false, ..request(&good) }, "of an export with content"),
    ] {
        assert_refused(client.export_responses(changed).await, which);
    }
    for index in 0..good.len() {
        let mut damaged = good.clone().into_bytes();
        damaged[index] = if damaged[index] == b'A' { b'B' } else { b'A' };
        let damaged = String::from_utf8(damaged).unwrap();
        assert_refused(client.export_responses(request(&damaged)).await, &format!("damaged at {index}"));
    }
    for length in (1..good.len()).step_by(7).chain([good.len() - 1]) {
        assert_refused(client.export_responses(request(&good[..length])).await, &format!("cut at {length}"));
    }
    for (damaged, which) in [(format!("{good}A"), "longer by one"), (format!("{good}{good}"), "doubled"), ("%".repeat(10_000), "very long")]
    {
        assert_refused(client.export_responses(request(&damaged)).await, which);
    }
    client.export_responses(request(&good)).await.unwrap();
}

fn assert_erased_meanwhile(status: &Status) {
    assert_eq!(status.code(), Code::Aborted);
    let details = status.get_error_details();
    let info = details.error_info().unwrap();
    assert_eq!((info.reason.as_str(), info.domain.as_str()), ("ERROR_REASON_ERASED_MEANWHILE", "userdata"));
}

/// A client that takes little at a time, so that the server has to wait for it.
pub(crate) async fn slow_client(world: &World) -> UserDataServiceClient<InterceptedService<Channel, Credential>> {
    let endpoint = Endpoint::from_shared(format!("http://{}", world.address)).unwrap();
    let channel = endpoint.initial_stream_window_size(65_535).initial_connection_window_size(65_535).connect().await.unwrap();
    UserDataServiceClient::with_interceptor(channel, Credential::api_key(ACME, world.key(ACME)).unwrap())
}

async fn an_erasure_ends_the_exports_it_overlaps(world: World) {
    let user = large_user();
    let user_token = user.user_token.clone();
    let mut client = world.client().await;
    import(&mut client, user.clone()).await;
    import(&mut client, UserDocument { user_token: "neighbour".to_owned(), ..sample::documents(2, 1, None).next().unwrap() }).await;
    import(&mut world.client_of(OTHER).await, user).await;

    let mut slow = slow_client(&world).await;
    let erasures = [
        None,
        Some(ScopedDeleteRequest { user_token: user_token.clone(), sessions: true, ..Default::default() }),
        Some(ScopedDeleteRequest { user_token: user_token.clone(), vault: true, ..Default::default() }),
        Some(ScopedDeleteRequest { user_token: user_token.clone(), dialogues: true, ..Default::default() }),
    ];
    for scopes in erasures {
        let request =
            ExportUserDataRequest { categories: vec![Category::Messages.into(), Category::Uploads.into()], ..with_content(&user_token) };
        let before = Exported::fetch(&mut client, request.clone()).await;
        let mut stream = slow.export_user_data(request.clone()).await.unwrap().into_inner();
        let mut came = vec![stream.message().await.unwrap().unwrap()];
        // Erasures of others do not disturb it.
        let others = DeleteUserMessagesRequest { user_token: "neighbour".to_owned(), ..Default::default() };
        client.users.delete_user_messages(others).await.unwrap();
        let same_name = DeleteUserMessagesRequest { user_token: user_token.clone(), ..Default::default() };
        world.client_of(OTHER).await.users.delete_user_messages(same_name).await.unwrap();
        came.push(stream.message().await.unwrap().unwrap());

        match scopes.clone() {
            None => drop(
                client
                    .users
                    .delete_user_messages(DeleteUserMessagesRequest { user_token: user_token.clone(), ..Default::default() })
                    .await
                    .unwrap(),
            ),
            Some(scopes) => drop(client.users.scoped_delete(scopes).await.unwrap()),
        }
        let status = loop {
            match stream.message().await {
                Ok(Some(response)) => came.push(response),
                Ok(None) => panic!("the export ended as if nothing had been erased"),
                Err(status) => break status,
            }
        };
        assert_erased_meanwhile(&status);
        assert!(matches!(stream.message().await, Ok(None)), "a frame came after the end");
        let frames = Exported(came).bytes();
        assert!(frames.len() < before.0.len() && frames == before.bytes()[..frames.len()], "a mixture came");

        for frame in [&before.0[0], before.0.last().unwrap()] {
            let resumed = ExportUserDataRequest { resume_token: frame.resume_token.clone(), ..request.clone() };
            assert_erased_meanwhile(&client.export_responses(resumed).await.unwrap_err());
        }
        if scopes.is_none() {
            import(&mut client, large_user()).await;
        }
    }
}

async fn content_that_is_replaced_or_vanishes_ends_the_exports_of_it(world: World) {
    const SIZE: usize = 4 * 1024 * 1024;
    let mut user = UserDocument::new("anna");
    let created_at = Some(Timestamp { seconds: 1, nanos: 0 });
    let upload =
        |id: &str, size| Upload { id: id.to_owned(), size_bytes: size as i64, status: "s".to_owned(), created_at, ..Default::default() };
    user.uploads = vec![upload("large", SIZE), upload("small", 1)];
    user.contents = [("large".to_owned(), vec![1; SIZE]), ("small".to_owned(), vec![1])].into();
    let mut client = world.client().await;
    import(&mut client, user.clone()).await;
    let before = Exported::fetch(&mut client, with_content("anna")).await;
    let ends_within = |piece: &UploadContent| piece.upload_id == "large" && piece.offset as usize + piece.data.len() < SIZE;
    let within = |frame: &&ExportUserDataResponse| frame.upload_contents.last().is_some_and(ends_within);
    let tokens: Vec<String> = before.0.iter().filter(within).map(|frame| frame.resume_token.clone()).collect();
    assert!(tokens.len() > 10);
    let mut slow = slow_client(&world).await;
    let mut stream = slow.export_user_data(with_content("anna")).await.unwrap().into_inner();
    let mut came = vec![stream.message().await.unwrap().unwrap()];

    user.contents.insert("large".to_owned(), vec![2; SIZE]);
    import(&mut client, user).await;
    let status = loop {
        match stream.message().await {
            Ok(response) => came.push(response.expect("the export ended as if nothing had been replaced")),
            Err(status) => break status,
        }
    };
    assert_reason(&status, Code::Aborted, "ERROR_REASON_CONTENT_REPLACED");
    assert!(came.iter().flat_map(|frame| &frame.upload_contents).all(|piece| piece.data.iter().all(|byte| *byte == 1)), "a mixture came");
    for resume_token in tokens {
        let resumed = client.export_responses(ExportUserDataRequest { resume_token, ..with_content("anna") }).await;
        assert_reason(&resumed.unwrap_err(), Code::Aborted, "ERROR_REASON_CONTENT_REPLACED");
    }
    // What comes after it is as it was.
    let resume_token = before.0.iter().rfind(|frame| frame.summary.is_none()).unwrap().resume_token.clone();
    assert!(client.export_responses(ExportUserDataRequest { resume_token, ..with_content("anna") }).await.is_ok());
    let after = Exported::fetch(&mut client, with_content("anna")).await;
    let large = after.0.iter().flat_map(|frame| &frame.upload_contents).filter(|piece| piece.upload_id == "large");
    assert!(large.flat_map(|piece| &piece.data).all(|byte| *byte == 2));

    // Content that vanishes behind its first pieces is not told as content that never was.
    std::fs::remove_dir_all(world.objects()).unwrap();
    let resume_token = after.0.iter().find(within).unwrap().resume_token.clone();
    let resumed = client.export_responses(ExportUserDataRequest { resume_token, ..with_content("anna") }).await;
    assert_reason(&resumed.unwrap_err(), Code::Aborted, "ERROR_REASON_CONTENT_REPLACED");
}

async fn a_user_never_seen_has_an_empty_summary(world: World) {
    let mut client = world.client().await;
    import(&mut world.client_of(OTHER).await, UserDocument { user_token: "nobody".to_owned(), ..large_user() }).await;
    let exported = Exported::fetch(&mut client, with_content("nobody")).await;
    assert_eq!(exported.0.len(), 1);
    assert_eq!(exported.summary().counts, Some(Default::default()));
    assert!(exported.summary().as_of.is_some());
    let request = ExportUserDataRequest { resume_token: exported.0[0].resume_token.clone(), ..with_content("nobody") };
    let again = Exported::fetch(&mut client, request).await;
    assert_eq!(again.0, exported.0);
    assert_eq!(world.query("SELECT id FROM subjects WHERE application_id = 'ACME'").await.len(), 0, "an export made a subject");
}

async fn the_largest_records_pass_in_frames_of_less_than_1_mib(world: World) {
    let at = Some(Timestamp { seconds: 1_700_000_000, nanos: 1 });
    let id = "i".repeat(256);
    let mut message = Message {
        id: id.clone(),
        conversation_id: id.clone(),
        created_at: at,
        updated_at: at,
        role: Role::User.into(),
        model: Some(String::new()),
        ..Default::default()
    };
    // The length of the text takes two bytes more than that of an empty one.
    message.model = Some("x".repeat(MAX_RECORD_BYTES - message.encoded_len() - 2));
    assert_eq!(message.encoded_len(), MAX_RECORD_BYTES);
    let mut user = UserDocument::new("u".repeat(256));
    let mut conversation = Conversation {
        id: id.clone(),
        agent_id: "a".to_owned(),
        created_at: at,
        updated_at: at,
        title: Some(String::new()),
        ..Default::default()
    };
    conversation.title = Some("t".repeat(MAX_RECORD_BYTES - conversation.encoded_len() - 2));
    assert_eq!(conversation.encoded_len(), MAX_RECORD_BYTES);
    let mut feedback = Feedback {
        id: id.clone(),
        agent_id: "a".to_owned(),
        message_id: "m".to_owned(),
        created_at: at,
        updated_at: at,
        notes: Some(String::new()),
        ..Default::default()
    };
    feedback.notes = Some("n".repeat(MAX_RECORD_BYTES - feedback.encoded_len() - 2));
    let mut memory = Memory { object_id: Some(id.clone()), text: "-".to_owned(), created_at: at, updated_at: at, ..Default::default() };
    memory.text = "m".repeat(MAX_RECORD_BYTES - memory.encoded_len() - 1);
    let mut cached = CompactionCacheEntry { id: id.clone(), conversation_id: id.clone(), text: "-".to_owned(), created_at: at };
    cached.text = "c".repeat(MAX_RECORD_BYTES - cached.encoded_len() - 1);
    for length in [feedback.encoded_len(), memory.encoded_len(), cached.encoded_len()] {
        assert_eq!(length, MAX_RECORD_BYTES);
    }
    // Before each of the largest a frame is begun that has no room for it.
    let small = |id: &str| Message { id: id.to_owned(), model: Some("s".repeat(200 * 1024)), ..message.clone() };
    conversation.messages =
        vec![small("h"), message.clone(), small("j"), Message { id: format!("{}k", "j".repeat(255)), ..message.clone() }];
    conversation.feedback = vec![feedback];
    user.conversations = vec![conversation];
    user.memories = vec![memory];
    user.compaction_cache = vec![cached];

    let mut client = world.client().await;
    import(&mut client, user.clone()).await;
    let exported = Exported::fetch(&mut client, with_content(&user.user_token)).await;
    let mut document = UserDocument::new(user.user_token.clone());
    for item in exported.0.iter().cloned().flat_map(userdata::grpc::document::items) {
        document.push(item).unwrap();
    }
    assert!(document == user, "another user came out than went in");
    assert!(exported.0.iter().all(|frame| frame.encoded_len() < MAX_FRAME_BYTES));

    // One byte more is refused, alone, and changes nothing.
    let before = world.all_rows().await;
    let mut larger = Message { id: "larger".repeat(42) + "more", ..message };
    assert_eq!(larger.id.len(), id.len());
    larger.model.as_mut().unwrap().push('x');
    let part = Conversation { id: id.clone(), messages: vec![larger], ..Default::default() };
    let request = ImportUserDataRequest { user_token: user.user_token.clone(), conversations: vec![part], ..Default::default() };
    let outcome = client.import(vec![request]).await.unwrap();
    assert_eq!((outcome.rejected, outcome.imported), (1, Some(Default::default())));
    assert_eq!(outcome.rejections[0].field, "requests[0].conversations[0].messages[0].parts");
    assert!(world.all_rows().await == before);
}
