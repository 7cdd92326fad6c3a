//! What a caller can be certain of: an erasure happens once, does what was previewed, tells what stays, and what it took does not come back.

use prost::Message as _;
use sea_orm::{ConnectionTrait, TransactionTrait};
use tonic::Code;
use userdata::grpc::proto::{
    DeleteUserMessagesRequest, DeleteUserMessagesResponse, Feedback, ImportUserDataRequest, Remaining, ScopedDeleteRequest, Session,
};

use crate::{
    exported::{Exported, with_content},
    on_both_engines_and_walled,
    population::{resident, settle},
    records,
    rpc::{assert_reason, fields},
    world::{ACME, Client, OTHER, World, eventually},
};

on_both_engines_and_walled!(
    a_repeated_request_gets_the_first_response_and_changes_nothing,
    an_id_that_was_used_for_another_request_is_refused,
    sixty_four_repetitions_at_once_have_one_effect,
    repetitions_at_once_are_answered_though_the_first_of_them_fulfils_their_plan,
    a_deletion_bound_to_a_preview_happens_only_if_nothing_has_changed,
    what_is_wrong_with_the_terms_is_told_by_field,
    scrubbing_takes_titles_and_notes_and_they_do_not_come_back,
    a_late_job_does_not_count_deleted_messages_again,
    a_record_made_of_what_was_erased_is_refused_by_its_epoch,
    what_is_newer_than_an_erasure_is_welcome,
    every_personal_row_is_still_there_when_something_would_remain,
);

const FIRST: &str = "6f1c9b52-8a2c-4b17-9d4e-3a5c7e8f9012";
const SECOND: &str = "6f1c9b52-8a2c-4b17-9d4e-3a5c7e8f9013";

fn delete(user_token: &str, request_id: &str) -> DeleteUserMessagesRequest {
    DeleteUserMessagesRequest { user_token: user_token.to_owned(), request_id: request_id.to_owned(), ..Default::default() }
}

/// Erases all scopes.
pub(crate) fn erase(user_token: &str, request_id: &str) -> ScopedDeleteRequest {
    ScopedDeleteRequest {
        user_token: user_token.to_owned(),
        dialogues: true,
        vault: true,
        memory: true,
        assistants: true,
        feedback: true,
        sessions: true,
        request_id: request_id.to_owned(),
        ..Default::default()
    }
}

async fn deleted(client: &mut Client, request: DeleteUserMessagesRequest) -> Vec<u8> {
    client.users.delete_user_messages(request).await.unwrap().into_inner().encode_to_vec()
}

async fn erased(client: &mut Client, request: ScopedDeleteRequest) -> Vec<u8> {
    client.users.scoped_delete(request).await.unwrap().into_inner().encode_to_vec()
}

async fn a_repeated_request_gets_the_first_response_and_changes_nothing(mut world: World) {
    let mut client = world.client().await;
    settle(&mut client, "anna").await;
    let first = (deleted(&mut client, delete("anna", FIRST)).await, erased(&mut client, erase("anna", SECOND)).await);
    assert!(DeleteUserMessagesResponse::decode(&*first.0).unwrap().messages_deleted > 0);
    // Of a user never seen, too.
    let nobody = "6f1c9b52-8a2c-4b17-9d4e-3a5c7e8f9014";
    let nothing = deleted(&mut client, delete("nobody", nobody)).await;
    let again = resident("anna").into_requests().collect();
    assert!(client.import_again(again).await.unwrap().imported.unwrap().messages > 0);
    client.import_again(resident("nobody").into_requests().collect()).await.unwrap();

    let rows = world.all_rows().await;
    for spelling in [FIRST.to_owned(), FIRST.to_uppercase(), FIRST.replace('-', ""), format!("{{{FIRST}}}")] {
        assert_eq!(deleted(&mut client, delete("anna", &spelling)).await, first.0, "{spelling}");
    }
    world.restart().await;
    let mut client = world.client().await;
    assert_eq!(deleted(&mut client, delete("anna", FIRST)).await, first.0);
    assert_eq!(erased(&mut client, erase("anna", SECOND)).await, first.1);
    assert_eq!(deleted(&mut client, delete("nobody", nobody)).await, nothing);
    assert!(world.all_rows().await == rows, "a repetition changed something");
    // Without it, the same calls have their effect.
    assert_ne!(deleted(&mut client, delete("anna", "")).await, deleted(&mut client, delete("anna", "")).await);
}

async fn an_id_that_was_used_for_another_request_is_refused(world: World) {
    let (mut client, mut other) = (world.client().await, world.client_of(OTHER).await);
    for user_token in ["anna", "boris"] {
        settle(&mut client, user_token).await;
    }
    settle(&mut other, "anna").await;
    deleted(&mut client, delete("anna", FIRST)).await;
    let rows = world.all_rows().await;
    let scrub = DeleteUserMessagesRequest { scrub_residue: true, ..delete("anna", FIRST) };
    let planned = DeleteUserMessagesRequest { plan_digest: "0".repeat(64), ..delete("anna", FIRST) };
    let of_nobody = DeleteUserMessagesRequest { plan_digest: "0".repeat(64), ..delete("nobody", FIRST) };
    for request in [delete("boris", FIRST), scrub, planned, of_nobody] {
        let refused = client.users.delete_user_messages(request).await.unwrap_err();
        assert_reason(&refused, Code::FailedPrecondition, "ERROR_REASON_REQUEST_ID_REUSED");
    }
    for request in [erase("anna", FIRST), ScopedDeleteRequest { vault: false, ..erase("boris", FIRST) }] {
        let refused = client.users.scoped_delete(request).await.unwrap_err();
        assert_reason(&refused, Code::FailedPrecondition, "ERROR_REASON_REQUEST_ID_REUSED");
    }
    assert!(world.all_rows().await == rows);
    // Another application's ids are its own.
    assert!(DeleteUserMessagesResponse::decode(&*deleted(&mut other, delete("anna", FIRST)).await).unwrap().messages_deleted > 0);
}

async fn sixty_four_repetitions_at_once_have_one_effect(world: World) {
    let mut client = world.client().await;
    for (nth, user_token) in ["anna", "nobody"].into_iter().enumerate() {
        if nth == 0 {
            settle(&mut client, user_token).await;
        }
        let ids = [format!("00000000-0000-4000-8000-00000000000{nth}"), format!("00000000-0000-4000-9000-00000000000{nth}")];
        let calls = (0..64).map(|call| {
            let (mut client, id) = (client.clone(), ids[call % 2].clone());
            tokio::spawn(async move {
                if call % 2 == 0 {
                    deleted(&mut client, delete(user_token, &id)).await
                } else {
                    erased(&mut client, erase(user_token, &id)).await
                }
            })
        });
        let answers = futures::future::join_all(calls.collect::<Vec<_>>()).await;
        let answers: Vec<Vec<u8>> = answers.into_iter().map(|answer| answer.unwrap()).collect();
        for (call, answer) in answers.iter().enumerate() {
            assert_eq!(*answer, answers[call % 2], "call {call}");
        }
    }
    let kept = world.query("SELECT request_id FROM accepted_requests").await;
    assert_eq!(kept.len(), 4);
}

async fn repetitions_at_once_are_answered_though_the_first_of_them_fulfils_their_plan(mut world: World) {
    // So many that they wait for the user's lock, and not for a connection.
    world.config.storage.database_max_connections = 16;
    world.restart().await;
    let mut client = world.client().await;
    settle(&mut client, "anna").await;
    let preview = ScopedDeleteRequest { validate_only: true, ..erase("anna", "") };
    let plan_digest = client.users.scoped_delete(preview).await.unwrap().into_inner().plan_digest;
    let calls = (0..8).map(|_| {
        let (mut client, plan_digest) = (client.clone(), plan_digest.clone());
        tokio::spawn(async move { erased(&mut client, ScopedDeleteRequest { plan_digest, ..erase("anna", FIRST) }).await })
    });
    let answers = futures::future::join_all(calls.collect::<Vec<_>>()).await;
    let answers: Vec<Vec<u8>> = answers.into_iter().map(|answer| answer.unwrap()).collect();
    assert!(answers.iter().all(|answer| *answer == answers[0]));
}

async fn a_deletion_bound_to_a_preview_happens_only_if_nothing_has_changed(world: World) {
    let mut client = world.client().await;
    settle(&mut client, "anna").await;
    settle(&mut client, "boris").await;
    let (rows, objects) = (world.all_rows().await, world.all_objects());
    let preview = ScopedDeleteRequest { validate_only: true, ..erase("anna", "") };
    let previewed = client.users.scoped_delete(preview.clone()).await.unwrap().into_inner();
    assert!(world.all_rows().await == rows && world.all_objects() == objects, "a preview changed something");
    assert!(previewed.remaining.is_none() && previewed.uploads_deleted > 0 && previewed.bytes_freed > 0);
    let messages = DeleteUserMessagesRequest { validate_only: true, ..delete("anna", "") };
    let messages = client.users.delete_user_messages(messages).await.unwrap().into_inner();
    assert!(messages.messages_deleted > 0 && world.all_rows().await == rows, "a preview changed something");

    // The plan of other scopes, of another user, and of what was there before an import, even one that changes no count.
    let others = [
        ScopedDeleteRequest { sessions: false, plan_digest: previewed.plan_digest.clone(), ..erase("anna", "") },
        ScopedDeleteRequest { plan_digest: previewed.plan_digest.clone(), ..erase("boris", FIRST) },
        ScopedDeleteRequest { plan_digest: previewed.plan_digest.clone(), ..erase("nobody", FIRST) },
    ];
    for request in others {
        let refused = client.users.scoped_delete(request).await.unwrap_err();
        assert_reason(&refused, Code::Aborted, "ERROR_REASON_PLAN_CHANGED");
    }
    let request =
        ImportUserDataRequest { user_token: "anna".to_owned(), memories: vec![resident("anna").memories[0].clone()], ..Default::default() };
    assert_eq!(client.import(vec![request]).await.unwrap().rejected, 0);
    let (rows, objects) = (world.all_rows().await, world.all_objects());
    let bound = ScopedDeleteRequest { plan_digest: previewed.plan_digest.clone(), ..erase("anna", FIRST) };
    let refused = client.users.scoped_delete(bound).await.unwrap_err();
    assert_reason(&refused, Code::Aborted, "ERROR_REASON_PLAN_CHANGED");
    let bound = DeleteUserMessagesRequest { plan_digest: messages.plan_digest, ..delete("anna", "") };
    let refused = client.users.delete_user_messages(bound).await.unwrap_err();
    assert_reason(&refused, Code::Aborted, "ERROR_REASON_PLAN_CHANGED");
    assert!(world.all_rows().await == rows && world.all_objects() == objects, "what was refused changed something");
    assert_eq!(client.epoch("anna").await, 0);

    // What erases others of its data does not matter.
    deleted(&mut client, delete("anna", SECOND)).await;
    let previewed = client.users.scoped_delete(preview).await.unwrap().into_inner();
    let bound = ScopedDeleteRequest { plan_digest: previewed.plan_digest.clone(), ..erase("anna", FIRST) };
    let first = client.users.scoped_delete(bound.clone()).await.unwrap().into_inner();
    assert_eq!(
        (first.uploads_deleted, first.bytes_freed, first.remaining),
        (previewed.uploads_deleted, previewed.bytes_freed, Some(Remaining::default()))
    );
    // A repetition is answered, though its plan is fulfilled.
    assert_eq!(client.users.scoped_delete(bound).await.unwrap().into_inner(), first);
    let gone = ScopedDeleteRequest { plan_digest: previewed.plan_digest, ..erase("anna", "") };
    assert_reason(&client.users.scoped_delete(gone).await.unwrap_err(), Code::Aborted, "ERROR_REASON_PLAN_CHANGED");
}

async fn what_is_wrong_with_the_terms_is_told_by_field(world: World) {
    let mut client = world.client().await;
    settle(&mut client, "anna").await;
    let rows = world.all_rows().await;
    let long = "0".repeat(65);
    let cases: [(&str, &str, bool, &[&str]); 6] = [
        ("not a uuid", "", false, &["request_id"]),
        ("", "zz", false, &["plan_digest"]),
        ("6f1c9b52-8a2c-4b17-9d4e-3a5c7e8f901", &long, false, &["request_id", "plan_digest"]),
        ("\0", "\u{1F4A9}", false, &["request_id", "plan_digest"]),
        (FIRST, "", true, &["request_id"]),
        (FIRST, &long[..64], true, &["request_id", "plan_digest"]),
    ];
    for (request_id, plan_digest, validate_only, wrong) in cases {
        let plan_digest = plan_digest.to_owned();
        let request = DeleteUserMessagesRequest { plan_digest: plan_digest.clone(), validate_only, ..delete("anna", request_id) };
        let refused = client.users.delete_user_messages(request).await.unwrap_err();
        assert_reason(&refused, Code::InvalidArgument, "ERROR_REASON_INVALID_REQUEST");
        assert_eq!(fields(&refused), wrong);
        let request = ScopedDeleteRequest { plan_digest, validate_only, ..erase("anna", request_id) };
        assert_eq!(fields(&client.users.scoped_delete(request).await.unwrap_err()), wrong);
    }
    assert!(world.all_rows().await == rows);
}

async fn scrubbing_takes_titles_and_notes_and_they_do_not_come_back(world: World) {
    let mut client = world.client().await;
    settle(&mut client, "anna").await;
    let noted = Feedback { notes: Some("he said so".to_owned()), ..records::feedback("noted", 0) };
    let noted = ImportUserDataRequest { user_token: "anna".to_owned(), feedback: vec![noted], ..Default::default() };
    assert_eq!(client.import(vec![noted.clone()]).await.unwrap().rejected, 0);
    let left = client.users.delete_user_messages(delete("anna", "")).await.unwrap().into_inner().residue.unwrap();
    assert!(left.titles > 0 && left.feedback_notes > 0 && left.memories > 0);
    let scrub = DeleteUserMessagesRequest { scrub_residue: true, ..delete("anna", "") };
    let scrubbed = client.users.delete_user_messages(scrub).await.unwrap().into_inner();
    assert_eq!((scrubbed.titles_scrubbed, scrubbed.notes_scrubbed), (left.titles, left.feedback_notes));
    let residue = scrubbed.residue.unwrap();
    assert_eq!((residue.titles, residue.feedback_notes, residue.memories), (0, 0, left.memories));
    assert!(world.query("SELECT 1 FROM conversations WHERE title IS NOT NULL").await.is_empty());
    assert!(world.query("SELECT 1 FROM feedback WHERE notes IS NOT NULL").await.is_empty());

    let texts = "SELECT title AS t FROM conversations WHERE title IS NOT NULL UNION ALL SELECT notes FROM feedback WHERE notes IS NOT NULL";
    client.import(resident("anna").into_requests().chain([noted]).collect()).await.unwrap();
    assert!(world.query(texts).await.is_empty(), "a text came back");
    // Without it, the record may be corrected.
    let mut conversation = resident("anna").conversations[0].clone();
    (conversation.title, conversation.agent_id) = (None, "another".to_owned());
    conversation.messages.clear();
    conversation.feedback.clear();
    let request = ImportUserDataRequest { user_token: "anna".to_owned(), conversations: vec![conversation], ..Default::default() };
    assert_eq!(client.import(vec![request]).await.unwrap().rejected, 0);
}

async fn a_late_job_does_not_count_deleted_messages_again(world: World) {
    let mut client = world.client().await;
    let mut conversation = records::conversation("c", 0);
    conversation.message_count = 12;
    let counted = ImportUserDataRequest { user_token: "anna".to_owned(), conversations: vec![conversation], ..Default::default() };
    assert_eq!(client.import(vec![counted.clone()]).await.unwrap().rejected, 0);
    deleted(&mut client, delete("anna", "")).await;
    let counts = async || world.query("SELECT message_count AS n FROM conversations").await[0]["n"].as_i64();
    assert_eq!(client.import(vec![counted.clone()]).await.unwrap().rejected, 0);
    assert_eq!(counts().await, Some(0));
    // Who has looked since may know of others.
    assert_eq!(client.import_again(vec![counted]).await.unwrap().rejected, 0);
    assert_eq!(counts().await, Some(12));
}

async fn a_record_made_of_what_was_erased_is_refused_by_its_epoch(world: World) {
    let mut client = world.client().await;
    settle(&mut client, "anna").await;
    let observed_epoch = client.epoch("anna").await;
    deleted(&mut client, delete("anna", "")).await;
    // Its time tells nothing: it was written just now, of messages that are gone.
    let mut request: ImportUserDataRequest = resident("anna").into_requests().next().unwrap();
    let now = Some(prost_types::Timestamp { seconds: 4_000_000_000, nanos: 0 });
    request.memories.iter_mut().for_each(|memory| memory.created_at = now);
    request.sessions = vec![Session { created_at: now, ..records::session("late", 1) }];
    request.feedback = vec![Feedback { created_at: now, updated_at: now, ..records::feedback("late", 1) }];
    request.observed_epoch = Some(observed_epoch);
    let rows = world.all_rows().await;
    let refused = client.import(vec![request.clone()]).await.unwrap();
    assert_eq!(refused.imported, Some(Default::default()));
    assert!(world.all_rows().await == rows, "a late record was taken");
    for field in ["memories[0].created_at", "sessions[0].created_at", "feedback[0].created_at", "conversations[0].created_at"] {
        let path = format!("requests[0].{field}");
        assert!(refused.rejections.iter().any(|rejection| rejection.field == path && rejection.description.contains("erased")), "{path}");
    }
    request.observed_epoch = Some(client.epoch("anna").await);
    assert!(client.import(vec![request]).await.unwrap().imported.unwrap().memories > 0);
}

async fn what_is_newer_than_an_erasure_is_welcome(world: World) {
    let mut client = world.client().await;
    settle(&mut client, "anna").await;
    erased(&mut client, erase("anna", "")).await;
    deleted(&mut client, delete("anna", "")).await;
    let now = Some(prost_types::Timestamp::from(std::time::SystemTime::now() + std::time::Duration::from_secs(1)));
    let mut conversation = records::conversation("new", 0);
    (conversation.created_at, conversation.updated_at) = (now, now);
    conversation.messages = vec![records::message("new", "new", 0)];
    conversation.messages[0].created_at = now;
    let mut memory = records::memory(Some("new"), 0);
    let mut upload = records::upload("new", 3);
    (memory.created_at, upload.created_at, upload.institution_id) = (now, now, None);
    let request = ImportUserDataRequest {
        user_token: "anna".to_owned(),
        conversations: vec![conversation],
        memories: vec![memory],
        uploads: vec![upload],
        upload_contents: vec![records::content("new", 0, 3)],
        sessions: vec![Session { created_at: now, ..records::session("new", 0) }],
        ..Default::default()
    };
    let outcome = client.import(vec![request]).await.unwrap();
    assert_eq!(outcome.rejected, 0, "{:?}", outcome.rejections);
    let counts = Exported::fetch(&mut client, with_content("anna")).await.summary().counts.unwrap();
    assert_eq!((counts.messages, counts.sessions), (1, 1));
    assert!(world.all_rows().await["memories"].len() > 1 && world.subject_id(ACME, "anna").await > 0);
}

async fn every_personal_row_is_still_there_when_something_would_remain(world: World) {
    let mut client = world.client().await;
    settle(&mut client, "anna").await;
    world.execute("UPDATE feedback SET notes = 'too slow'").await;
    let (rows, objects) = (world.all_rows().await, world.all_objects());
    let of_scopes = ["UPDATE conversations", "UPDATE uploads", "UPDATE assistants", "UPDATE feedback"].into_iter().chain([
        "DELETE compaction_cache",
        "DELETE upload_embeddings",
        "DELETE memories",
        "DELETE sessions",
    ]);
    let of_messages = ["DELETE messages", "DELETE compaction_cache", "UPDATE conversations", "UPDATE feedback"];
    for (kept, is_scoped) in of_scopes.map(|kept| (kept, true)).chain(of_messages.map(|kept| (kept, false))) {
        // The database itself keeps the rows that it says it has changed.
        let (change, table) = kept.split_once(' ').unwrap();
        let (keep, keep_no_more) = match world.database.get_database_backend() {
            sea_orm::DbBackend::Sqlite => {
                (format!("CREATE TRIGGER keep BEFORE {change} ON {table} BEGIN SELECT RAISE(IGNORE); END"), "DROP TRIGGER keep")
            }
            _ => {
                let keep = "CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'";
                let trigger = format!("CREATE TRIGGER keep BEFORE {change} ON {table} FOR EACH ROW EXECUTE FUNCTION keep()");
                (format!("{keep}; {trigger}"), "DROP FUNCTION keep CASCADE")
            }
        };
        world.execute(&keep).await;
        let failed = if is_scoped {
            client.users.scoped_delete(erase("anna", FIRST)).await.map(drop)
        } else {
            let request = DeleteUserMessagesRequest { scrub_residue: true, ..delete("anna", FIRST) };
            client.users.delete_user_messages(request).await.map(drop)
        };
        let failed = failed.expect_err(kept);
        assert_reason(&failed, Code::Internal, "ERROR_REASON_INTERNAL");
        assert!(world.all_rows().await == rows && world.all_objects() == objects, "half an erasure: {kept}");
        assert!(world.query("SELECT 1 FROM accepted_requests").await.is_empty(), "{kept}");
        world.execute(keep_no_more).await;
    }
    client.users.scoped_delete(erase("anna", FIRST)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn on_postgres_an_erasure_that_waited_for_another_does_not_take_back_its_time() {
    let world = World::start(userdata::repository::Engine::Postgres).await;
    let mut client = world.client().await;
    settle(&mut client, "anna").await;
    let lock = world.database.begin().await.unwrap();
    lock.execute_unprepared("SELECT id FROM subjects WHERE user_token = 'anna' FOR UPDATE").await.unwrap();
    let mut waiting = client.clone();
    let waiting = tokio::spawn(async move { deleted(&mut waiting, delete("anna", "")).await });
    let waits = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    eventually("the erasure waits", async || !world.query(waits).await.is_empty()).await;
    // Another replica, whose clock is ahead, has erased meanwhile.
    let ahead = 4_000_000_000_000_000_000_i64;
    lock.execute_unprepared(&format!("UPDATE subjects SET messages_erased_at = {ahead}")).await.unwrap();
    lock.commit().await.unwrap();
    waiting.await.unwrap();
    assert_eq!(world.query("SELECT messages_erased_at AS at FROM subjects").await[0]["at"], ahead);

    // What was imported while it waited is erased, and does not come back either.
    world.execute("UPDATE subjects SET messages_erased_at = NULL").await;
    let lock = world.database.begin().await.unwrap();
    lock.execute_unprepared("SELECT id FROM subjects WHERE user_token = 'anna' FOR UPDATE").await.unwrap();
    let mut waiting = client.clone();
    let waiting = tokio::spawn(async move { deleted(&mut waiting, delete("anna", "")).await });
    eventually("the erasure waits", async || !world.query(waits).await.is_empty()).await;
    let meanwhile = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as i64;
    lock.commit().await.unwrap();
    waiting.await.unwrap();
    assert!(world.query("SELECT messages_erased_at AS at FROM subjects").await[0]["at"].as_i64().unwrap() > meanwhile);
}
