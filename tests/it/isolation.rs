//! Who may do what to whom: applications see nothing of each other, users nothing of other users, and a key does only what it permits.

use std::collections::BTreeMap;

use serde_json::Value;
use tonic::{Code, metadata::MetadataMap};
use userdata::{
    cli::sample,
    domain::principal::{Permission, Permissions},
    grpc::{
        client::Credential,
        document::{UserDocument, items},
        proto::{
            Conversation, DeleteUserMessagesRequest, ExportUserDataRequest, ExportUserDataResponse, ImportUserDataRequest,
            ScopedDeleteRequest, UploadContent, UploadEmbedding,
        },
    },
};

use crate::{
    client_commands::in_the_fixed_order,
    credentials::{claims, hs256, hs256_issuer, key_headers},
    on_both_engines_and_walled,
    rpc::{Rpc, assert_reason, fields, nothing_erased},
    world::{ACME, Client, OTHER, World, channel_to},
};

on_both_engines_and_walled!(
    the_same_user_token_in_two_applications_is_two_users,
    a_user_of_another_application_is_one_nobody_has_ever_seen,
    a_user_exports_and_erases_itself_and_nobody_else,
    a_key_does_exactly_what_it_permits,
    calls_that_need_admin_are_answered_only_at_their_own_listener_where_there_is_one,
);

/// An invented user with every category.
fn document(seed: u64, user_token: &str) -> UserDocument {
    let mut document = sample::documents(seed, 1, Some(12)).next().unwrap();
    document.user_token = user_token.to_owned();
    document
}

/// Imports an invented user with something in every table, and an object in the store; gives its document as JSON.
async fn fill(client: &mut Client, seed: u64, user_token: &str) -> Value {
    let expected = in_the_fixed_order(serde_json::to_value(document(seed, user_token)).unwrap());
    let mut requests: Vec<ImportUserDataRequest> = document(seed, user_token).into_requests().collect();
    let upload = requests.iter().flat_map(|request| &request.uploads).next().unwrap().clone();
    requests.push(ImportUserDataRequest {
        user_token: user_token.to_owned(),
        upload_embeddings: vec![UploadEmbedding { upload_id: upload.id, chunk_index: 0, model: "m".into(), vector: vec![1.0] }],
        ..Default::default()
    });
    let outcome = client.import(requests).await.unwrap();
    assert_eq!(outcome.rejected, 0, "{:?}", outcome.rejections);
    expected
}

async fn exported(client: &mut Client, user_token: &str) -> Value {
    let request = ExportUserDataRequest { user_token: user_token.to_owned(), include_upload_content: true, ..Default::default() };
    let mut document = UserDocument::new(user_token);
    for item in client.export_responses(request).await.unwrap().into_iter().flat_map(items) {
        document.push(item).unwrap();
    }
    serde_json::to_value(document).unwrap()
}

/// Every erasure notes in a subject's row that it happened.
async fn rows_but_subjects(world: &World) -> BTreeMap<&'static str, Vec<String>> {
    let mut tables = world.all_rows().await;
    tables.remove("subjects").unwrap();
    tables
}

pub(crate) fn everything(user_token: &str) -> ScopedDeleteRequest {
    ScopedDeleteRequest {
        user_token: user_token.to_owned(),
        dialogues: true,
        vault: true,
        memory: true,
        assistants: true,
        feedback: true,
        sessions: true,
        ..Default::default()
    }
}

async fn the_same_user_token_in_two_applications_is_two_users(world: World) {
    let (mut acme, mut other) = (world.client().await, world.client_of(OTHER).await);
    let theirs = fill(&mut other, 2, "anna").await;
    let (their_id, their_objects) = (world.subject_id(OTHER, "anna").await, world.all_objects());
    let their_rows = world.rows_of(their_id).await;
    assert!(their_rows.iter().all(|(table, rows)| !rows.is_empty() || *table == "compaction_cache"), "the sample lacks a table");
    assert!(!their_objects.is_empty());
    let epoch = async || world.query(&format!("SELECT epoch FROM subjects WHERE id = {their_id}")).await;
    let their_epoch = epoch().await;
    let assert_untouched = async |what: &str| {
        assert!(world.rows_of(their_id).await == their_rows, "{what} changed rows of the other application");
        assert_eq!(epoch().await, their_epoch, "{what} touched the subject of the other application");
        let objects = world.all_objects();
        assert!(their_objects.iter().all(|(path, bytes)| objects.get(path) == Some(bytes)), "{what} changed an object of the other");
    };

    let ours = fill(&mut acme, 1, "anna").await;
    assert_untouched("an import").await;
    assert_eq!(exported(&mut acme, "anna").await, ours);
    assert_eq!(exported(&mut other, "anna").await, theirs);
    assert_untouched("an export").await;

    // What is the other's cannot be named either: not by a resume token, not by ids.
    let responses = other.export("anna").await;
    let resume = ExportUserDataRequest {
        user_token: "anna".into(),
        resume_token: responses.last().unwrap().resume_token.clone(),
        ..Default::default()
    };
    let refused = acme.export_responses(resume).await.unwrap_err();
    assert_reason(&refused, Code::InvalidArgument, "ERROR_REASON_INVALID_REQUEST");
    assert_eq!(fields(&refused), ["resume_token"]);
    let their = |pointer: &str| theirs.pointer(pointer).and_then(Value::as_str).unwrap().to_owned();
    let trespass = ImportUserDataRequest {
        user_token: "anna".into(),
        conversations: vec![Conversation { id: their("/conversations/0/id"), ..Default::default() }],
        upload_contents: vec![UploadContent { upload_id: their("/uploads/0/id"), data: b"planted".to_vec(), ..Default::default() }],
        upload_embeddings: vec![UploadEmbedding {
            upload_id: their("/uploads/0/id"),
            chunk_index: 0,
            model: "m".into(),
            vector: vec![2.0],
        }],
        ..Default::default()
    };
    let outcome = acme.import(vec![trespass]).await.unwrap();
    let mut rejected: Vec<_> = outcome.rejections.iter().map(|rejection| rejection.field.as_str()).collect();
    rejected.sort_unstable();
    assert_eq!(
        rejected,
        ["requests[0].conversations[0].id", "requests[0].upload_contents[0].upload_id", "requests[0].upload_embeddings[0].upload_id"]
    );
    assert_untouched("a trespassing import").await;

    // Records of the same ids are two records.
    let outcome = acme.import(document(2, "anna").into_requests().collect()).await.unwrap();
    assert_eq!(outcome.rejected, 0);
    assert_untouched("an import of the same ids").await;

    let our_id = world.subject_id(ACME, "anna").await;
    let held = world.rows_of(our_id).await;
    let deleted = acme
        .users
        .delete_user_messages(DeleteUserMessagesRequest { user_token: "anna".into(), ..Default::default() })
        .await
        .unwrap()
        .into_inner();
    assert_eq!(usize::try_from(deleted.messages_deleted), Ok(held["messages"].len()));
    assert_untouched("a delete of messages").await;
    let erased = acme.users.scoped_delete(everything("anna")).await.unwrap().into_inner();
    assert_eq!(usize::try_from(erased.sessions_deleted), Ok(held["sessions"].len()));
    assert!(erased.uploads_deleted > 0 && erased.uploads_failed.is_empty());
    assert_untouched("a scoped delete").await;
    assert_eq!(exported(&mut other, "anna").await, theirs);
    // Of our own objects, those of institutions are left: as many as an export still shows.
    let left = exported(&mut acme, "anna").await;
    let left = left["uploads"].as_array().unwrap().iter().filter(|upload| upload.get("content").is_some()).count();
    assert_eq!(world.all_objects().keys().filter(|path| !their_objects.contains_key(*path)).count(), left);
}

async fn a_user_of_another_application_is_one_nobody_has_ever_seen(world: World) {
    fill(&mut world.client_of(OTHER).await, 2, "bert").await;
    let before = (rows_but_subjects(&world).await, world.all_objects());
    let mut acme = world.client().await;
    let mut answers = Vec::new();
    for user_token in ["bert", "nobody"] {
        let mut responses: Vec<ExportUserDataResponse> = acme.export(user_token).await;
        assert_eq!(responses.len(), 1);
        let mut response = responses.remove(0);
        // The token and the time are never the same twice; how long the token is says nothing either.
        let summary = response.summary.as_mut().unwrap();
        summary.as_of = None;
        let token_length = std::mem::take(&mut response.resume_token).len();
        let messages = acme
            .users
            .delete_user_messages(DeleteUserMessagesRequest { user_token: user_token.into(), ..Default::default() })
            .await
            .unwrap();
        let scopes = acme.users.scoped_delete(everything(user_token)).await.unwrap();
        assert_eq!(*scopes.get_ref(), nothing_erased());
        answers.push((response, token_length, messages.into_inner(), scopes.into_inner()));
    }
    assert_eq!(answers[0], answers[1]);
    assert!((rows_but_subjects(&world).await, world.all_objects()) == before, "asking left a trace");
    // Of the erasures one's own application has a note, and the other's user has none.
    assert_eq!((acme.epoch("bert").await, world.client_of(OTHER).await.epoch("bert").await), (2, 0));
}

async fn a_user_exports_and_erases_itself_and_nobody_else(mut world: World) {
    world.config.auth.issuers = vec![hs256_issuer("https://id.example", ACME)];
    world.restart().await;
    let mut admin = world.client().await;
    fill(&mut admin, 1, "anna").await;
    fill(&mut admin, 2, "bert").await;
    fill(&mut world.client_of(OTHER).await, 3, "anna").await;
    let before = (world.all_rows().await, world.all_objects());

    let token = hs256(&claims("https://id.example", "anna"));
    let mut headers = MetadataMap::new();
    headers.insert("x-access-token", token.parse().unwrap());
    let channel = world.channel().await;
    for rpc in [Rpc::Export, Rpc::DeleteMessages, Rpc::ScopedDelete, Rpc::Import, Rpc::ExportDeleted] {
        let mut statuses = Vec::new();
        for other in ["bert", "nobody"] {
            let refused = rpc.call(&channel, &headers, other).await.unwrap_err();
            assert_reason(&refused, Code::PermissionDenied, "ERROR_REASON_NOT_PERMITTED");
            statuses.push((refused.message().to_owned(), refused.details().to_vec()));
        }
        assert_eq!(statuses[0], statuses[1], "{rpc:?} tells users that exist from those that do not");
    }
    for rpc in [Rpc::Import, Rpc::ExportDeleted] {
        let refused = rpc.call(&channel, &headers, "anna").await.unwrap_err();
        assert_reason(&refused, Code::PermissionDenied, "ERROR_REASON_NOT_PERMITTED");
    }
    assert!((world.all_rows().await, world.all_objects()) == before, "a refused call changed something");

    let mut anna = world.client_with(Credential::access_token(&token).unwrap()).await;
    assert_eq!(exported(&mut anna, "anna").await, exported(&mut admin, "anna").await);
    let id = world.subject_id(ACME, "anna").await;
    let others = async || {
        let mut rows = BTreeMap::new();
        for (application, user_token) in [(ACME, "bert"), (OTHER, "anna")] {
            rows.insert((application, user_token), world.rows_of(world.subject_id(application, user_token).await).await);
        }
        rows
    };
    let untouched = others().await;
    let deleted =
        anna.users.delete_user_messages(DeleteUserMessagesRequest { user_token: "anna".into(), ..Default::default() }).await.unwrap();
    assert_eq!(deleted.get_ref().messages_deleted, 12);
    let erased = anna.users.scoped_delete(everything("anna")).await.unwrap().into_inner();
    assert!(erased.dialogues_forgotten > 0 && erased.uploads_deleted > 0 && erased.memory_deleted > 0);
    let left = world.rows_of(id).await;
    assert!(left["messages"].is_empty() && left["sessions"].is_empty());
    assert!(left["memories"].iter().all(|row| !row.contains(r#""institution_id":null"#)), "a personal memory is left");
    assert!(others().await == untouched, "erasing oneself changed another user");
}

async fn a_key_does_exactly_what_it_permits(mut world: World) {
    let mut sets: Vec<(Permissions, String)> = Vec::new();
    for bits in 0..1_u8 << Permission::ALL.len() {
        let chosen = |permission: &Permission| bits & (1 << *permission as u8) != 0;
        let permissions: Permissions = Permission::ALL.into_iter().filter(chosen).collect();
        sets.push((permissions, world.insert_key(ACME, permissions).await));
    }
    let logs: Permissions = "logs".parse().unwrap();
    assert_eq!(logs.to_string(), "export,delete-messages");
    // A new server knows all keys at once.
    world.restart().await;

    let before = rows_but_subjects(&world).await;
    let channel = world.channel().await;
    let mut allowed = 0;
    for (permissions, key) in &sets {
        let headers = key_headers(ACME, key);
        for (rpc, needed) in [
            (Rpc::Export, &[Permission::Export][..]),
            (Rpc::ExportDeleted, &[Permission::Export, Permission::Admin]),
            (Rpc::DeleteMessages, &[Permission::DeleteMessages]),
            (Rpc::ScopedDelete, &[Permission::ScopedDelete]),
        ] {
            match rpc.call(&channel, &headers, "nobody").await {
                Ok(()) => {
                    assert!(needed.iter().all(|permission| permissions.contains(*permission)), "{permissions} permitted {rpc:?}");
                    allowed += 1;
                }
                Err(refused) => {
                    assert_reason(&refused, Code::PermissionDenied, "ERROR_REASON_NOT_PERMITTED");
                    let missing = needed.iter().find(|permission| !permissions.contains(**permission)).unwrap();
                    assert!(refused.message().contains(&format!("`{}`", missing.name())), "{rpc:?}: {}", refused.message());
                }
            }
        }
        if !permissions.contains(Permission::Import) {
            let refused = Rpc::Import.call(&channel, &headers, "nobody").await.unwrap_err();
            assert_reason(&refused, Code::PermissionDenied, "ERROR_REASON_NOT_PERMITTED");
        }
    }
    assert_eq!(allowed, 16 + 8 + 16 + 16);
    assert!(rows_but_subjects(&world).await == before, "a call without the permission to import left rows");
    assert_eq!(world.all_rows().await["subjects"].len(), 1, "of nobody's erasures there is a note, and of nothing else");
    for (permissions, key) in sets.iter().filter(|(permissions, _)| permissions.contains(Permission::Import)) {
        let outcome = Rpc::Import.call(&channel, &key_headers(ACME, key), "somebody").await;
        assert!(outcome.is_ok(), "{permissions} did not permit an import");
    }
}

async fn calls_that_need_admin_are_answered_only_at_their_own_listener_where_there_is_one(mut world: World) {
    let headers = key_headers(ACME, world.key(ACME));
    assert_eq!(world.admin_address, None);
    Rpc::ExportDeleted.call(&world.channel().await, &headers, "anna").await.unwrap();

    world.config.listen.admin_listen = Some("127.0.0.1:0".parse().unwrap());
    world.restart().await;
    let (main, admin) = (world.channel().await, channel_to(world.admin_address.unwrap()).await);
    let refused = Rpc::ExportDeleted.call(&main, &headers, "anna").await.unwrap_err();
    assert_reason(&refused, Code::PermissionDenied, "ERROR_REASON_NOT_PERMITTED");
    assert!(refused.message().contains("another address"), "{}", refused.message());
    Rpc::ExportDeleted.call(&admin, &headers, "anna").await.unwrap();
    for rpc in Rpc::ALL {
        for channel in [&main, &admin] {
            rpc.call(channel, &headers, "anna").await.unwrap();
        }
    }
    // The other listener takes no credential that this one does not.
    let refused = Rpc::ExportDeleted.call(&admin, &MetadataMap::new(), "anna").await.unwrap_err();
    assert_reason(&refused, Code::Unauthenticated, "ERROR_REASON_CREDENTIAL_NOT_ACCEPTED");
    let unpermitted = world.insert_key(ACME, Permissions::default().with(Permission::Export)).await;
    world.restart().await;
    let admin = channel_to(world.admin_address.unwrap()).await;
    let refused = Rpc::ExportDeleted.call(&admin, &key_headers(ACME, &unpermitted), "anna").await.unwrap_err();
    assert_reason(&refused, Code::PermissionDenied, "ERROR_REASON_NOT_PERMITTED");
}
