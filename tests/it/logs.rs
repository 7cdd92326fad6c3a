//! The log of the real program, at its most talkative: one line per call, and nothing of whom it is about.

use std::collections::BTreeSet;

use serde_json::Value;
use tonic::{Code, metadata::MetadataMap};
use userdata::{
    domain::principal::{Permission, Permissions},
    grpc::proto::{
        Conversation, DeleteUserMessagesRequest, ExportUserDataRequest, ImportUserDataRequest, Memory, Message, MessagePart, Role,
        ScopedDeleteRequest, TextPart, Upload, UploadContent, import_service_client::ImportServiceClient, message_part::Part,
        user_data_service_client::UserDataServiceClient,
    },
};

use crate::{
    credentials::{claims, hs256, hs256_secret, key_headers},
    on_both_engines,
    program::Program,
    rpc::with,
    world::{ACME, World, eventually},
};

on_both_engines!(a_log_that_tells_everything_tells_nothing_of_users_and_credentials);

const USER: &str = "planted-user-token";
const TEXT: &str = "planted message text";
const FILE: &str = "planted-file-name";
const CONTENT: &str = "planted content of a file";
const METHODS: &str = "/userdata.v1.";

fn planted_records() -> Vec<ImportUserDataRequest> {
    let at = Some(prost_types::Timestamp { seconds: 1_700_000_000, nanos: 0 });
    let message = Message {
        id: "m".into(),
        conversation_id: "planted-conversation".into(),
        created_at: at,
        updated_at: at,
        role: Role::User.into(),
        parts: vec![MessagePart { part: Some(Part::Text(TextPart { text: TEXT.into() })) }],
        ..Default::default()
    };
    let conversation = Conversation {
        id: "planted-conversation".into(),
        agent_id: "agent".into(),
        title: Some(TEXT.into()),
        created_at: at,
        updated_at: at,
        messages: vec![message],
        ..Default::default()
    };
    let memory =
        Memory { object_id: Some("planted-memory".into()), text: TEXT.into(), created_at: at, updated_at: at, ..Default::default() };
    let upload = Upload {
        id: "planted-upload".into(),
        file_name: FILE.into(),
        content_type: "text/plain".into(),
        size_bytes: CONTENT.len() as i64,
        status: "ready".into(),
        created_at: at,
        ..Default::default()
    };
    let content = UploadContent { upload_id: upload.id.clone(), data: CONTENT.into(), ..Default::default() };
    let bad = Memory { object_id: Some("planted-bad".into()), text: format!("{TEXT}\0"), ..Default::default() };
    vec![
        ImportUserDataRequest {
            user_token: USER.into(),
            conversations: vec![conversation],
            memories: vec![memory, bad],
            uploads: vec![upload],
            ..Default::default()
        },
        ImportUserDataRequest { user_token: USER.into(), upload_contents: vec![content], ..Default::default() },
    ]
}

async fn a_log_that_tells_everything_tells_nothing_of_users_and_credentials(mut world: World) {
    let everything: Permissions = Permission::ALL.into_iter().collect();
    let (key, weak) = (world.insert_key(ACME, everything).await, world.insert_key(ACME, Permissions::default()).await);
    let token = hs256(&claims("id", USER));
    let issuer = format!(r#"{{issuer="id", application="{ACME}", audience="userdata", algorithm="HS256", secret="{}"}}"#, hs256_secret());
    world.stop_server().await;
    let objects = format!("file://{}", world.objects().display());
    let more = ["--object-store-url", &objects, "--jwt-issuer", &issuer, "--log-filter", "trace"];
    let mut program = Program::serve(&world.folder(), &world.database_url, &more);
    let channel = program.channel().await;

    let wrong_key = format!("{}{}", &key[..21], "0".repeat(64));
    let mut jwt = MetadataMap::new();
    jwt.insert("authorization", format!("Bearer {token}").parse().unwrap());
    let user_token = USER.to_owned();
    let mut users = UserDataServiceClient::new(channel.clone());
    let mut imports = ImportServiceClient::new(channel.clone());
    let mut expected: Vec<(String, &str, &str, String)> = Vec::new();
    let mut named = |headers: &MetadataMap, method: &'static str, code: &'static str, key: &str| {
        let id = format!("call-{}", expected.len());
        let mut headers = headers.clone();
        headers.insert("x-request-id", id.parse().unwrap());
        expected.push((id, method, code, key.to_owned()));
        headers
    };
    let good = key_headers(ACME, &key);
    let key_id = &key[4..20];

    let headers = named(&good, "ImportService/ImportUserData", "OK", key_id);
    let answer = imports.import_user_data(with(&headers, tokio_stream::iter(planted_records()))).await.unwrap();
    assert_eq!(answer.metadata().get("x-request-id").unwrap(), "call-0");
    assert_eq!(answer.get_ref().rejected, 1);

    let export = ExportUserDataRequest { user_token: user_token.clone(), include_upload_content: true, ..Default::default() };
    let mut resume = export.clone();
    for headers in
        [named(&good, "UserDataService/ExportUserData", "OK", key_id), named(&jwt, "UserDataService/ExportUserData", "OK", "jwt")]
    {
        let mut stream = users.export_user_data(with(&headers, export.clone())).await.unwrap().into_inner();
        while let Some(response) = stream.message().await.unwrap() {
            resume.resume_token = response.resume_token;
        }
    }
    let planted_token = resume.resume_token.clone();

    let delete = DeleteUserMessagesRequest { user_token: user_token.clone(), ..Default::default() };
    let headers = named(&key_headers(ACME, &wrong_key), "UserDataService/DeleteUserMessages", "UNAUTHENTICATED", "");
    assert_eq!(users.delete_user_messages(with(&headers, delete.clone())).await.unwrap_err().code(), Code::Unauthenticated);
    let headers = named(&key_headers(ACME, &weak), "UserDataService/DeleteUserMessages", "PERMISSION_DENIED", &weak[4..20]);
    assert_eq!(users.delete_user_messages(with(&headers, delete.clone())).await.unwrap_err().code(), Code::PermissionDenied);
    let headers = named(&jwt, "UserDataService/DeleteUserMessages", "PERMISSION_DENIED", "jwt");
    let another = DeleteUserMessagesRequest { user_token: format!("{USER}-too"), ..Default::default() };
    assert_eq!(users.delete_user_messages(with(&headers, another)).await.unwrap_err().code(), Code::PermissionDenied);
    let headers = named(&good, "UserDataService/DeleteUserMessages", "OK", key_id);
    assert_eq!(users.delete_user_messages(with(&headers, delete)).await.unwrap().get_ref().messages_deleted, 1);

    let headers = named(&good, "UserDataService/ExportUserData", "ABORTED", key_id);
    assert_eq!(users.export_user_data(with(&headers, resume.clone())).await.unwrap_err().code(), Code::Aborted);
    let headers = named(&good, "UserDataService/ExportUserData", "INVALID_ARGUMENT", key_id);
    resume.resume_token.push('A');
    assert_eq!(users.export_user_data(with(&headers, resume)).await.unwrap_err().code(), Code::InvalidArgument);
    let headers = named(&good, "UserDataService/ScopedDelete", "INVALID_ARGUMENT", key_id);
    let nothing = ScopedDeleteRequest { user_token: format!("{USER}\n"), ..Default::default() };
    assert_eq!(users.scoped_delete(with(&headers, nothing)).await.unwrap_err().code(), Code::InvalidArgument);
    let headers = named(&good, "UserDataService/ScopedDelete", "OK", key_id);
    let vault = ScopedDeleteRequest { user_token: user_token.clone(), vault: true, memory: true, dialogues: true, ..Default::default() };
    assert_eq!(users.scoped_delete(with(&headers, vault)).await.unwrap().get_ref().uploads_deleted, 1);
    // What is refused before a handler sees it is told of its caller too.
    let headers = named(&good, "UserDataService/ScopedDelete", "RESOURCE_EXHAUSTED", key_id);
    let large = ScopedDeleteRequest { user_token: USER.repeat(10_000), ..Default::default() };
    assert_eq!(users.scoped_delete(with(&headers, large)).await.unwrap_err().code(), Code::ResourceExhausted);
    // A client that leaves before the end of its import.
    let headers = named(&good, "ImportService/ImportUserData", "CANCELLED", key_id);
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    let import =
        tokio::spawn(async move { imports.import_user_data(with(&headers, tokio_stream::wrappers::ReceiverStream::new(receiver))).await });
    sender.send(planted_records().remove(0)).await.unwrap();
    sender.send(planted_records().remove(0)).await.unwrap();
    import.abort();
    drop(sender);

    eventually("every call is logged", async || calls(&program).len() >= expected.len()).await;
    program.signal("TERM");
    assert_eq!(program.ended().await.0, Some(0));
    let calls = calls(&program);
    assert_eq!(calls.len(), expected.len(), "not one line per call");
    for (id, method, code, key) in &expected {
        let of_this: Vec<_> = calls.iter().filter(|line| line["request_id"] == id.as_str()).collect();
        let [line] = of_this[..] else { panic!("{id} has {} lines", of_this.len()) };
        assert_eq!(line["method"], format!("{METHODS}{method}"));
        assert_eq!((&line["code"], &line["key"]), (&Value::from(*code), &Value::from(key.as_str())), "{line}");
        assert_eq!(line["application"], if key.is_empty() { "" } else { ACME });
        assert!(line["duration_ms"].as_f64().unwrap() > 0.0 && line["level"] == "INFO");
    }
    let counts: BTreeSet<&str> = calls.iter().filter_map(|line| line["counts"].as_str()).collect();
    for said in ["conversations=1 messages=1 memories=1 uploads=1 rejected=1", "messages_deleted=1 conversations_affected=1"] {
        assert!(counts.iter().any(|counts| counts.contains(said)), "{said} is not in {counts:?}");
    }

    let log = program.stderr();
    assert!(log.contains("\"level\":\"DEBUG\""), "the log was not talkative");
    let (secret, weak_secret) = (&key[21..], &weak[21..]);
    let signature = token.rsplit('.').next().unwrap();
    let password = world.database_url.split(['@', ':']).nth(2).filter(|password| !password.starts_with("//"));
    let planted = [USER, TEXT, FILE, CONTENT, "planted", secret, weak_secret, signature, &hs256_secret(), &planted_token];
    for planted in planted.into_iter().chain(password) {
        for line in log.lines() {
            assert!(!line.contains(planted), "a line holds {planted:?}: {line}");
        }
        let hex = hex::encode(planted);
        assert!(!log.contains(&hex), "the log holds {planted:?} in hex");
    }
}

/// The lines about calls of the contract.
fn calls(program: &Program) -> Vec<Value> {
    let of_the_contract = |line: &Value| line["method"].as_str().is_some_and(|method| method.starts_with(METHODS));
    program.log().into_iter().filter(|line| line["message"] == "call" && of_the_contract(line)).collect()
}
