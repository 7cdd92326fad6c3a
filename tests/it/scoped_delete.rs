//! ScopedDelete: each scope, and each combination of scopes, changes exactly the rows it names.

use std::time::{SystemTime, UNIX_EPOCH};

use prost_types::Timestamp;
use serde_json::Value;
use userdata::grpc::proto::{Assistant, ExportUserDataRequest, ImportUserDataRequest, ScopedDeleteRequest, ScopedDeleteResponse};

use crate::{
    exported::{Exported, with_content},
    on_both_engines_and_walled,
    population::{Tables, resident, settle, sorted, tables},
    rpc::nothing_erased,
    world::{ACME, Client, OTHER, World},
};

on_both_engines_and_walled!(
    every_combination_of_scopes_changes_exactly_its_rows,
    what_was_erased_is_hidden_stays_erased_and_frees_its_names,
    an_import_neither_erases_nor_takes_a_name_that_is_held,
    erasing_a_user_never_seen_gives_zeros_and_is_remembered,
);

/// The scopes of a number from 1 to 63: a bit for each.
fn scopes(bits: u32, user_token: &str) -> ScopedDeleteRequest {
    ScopedDeleteRequest {
        user_token: user_token.to_owned(),
        dialogues: bits & 1 != 0,
        vault: bits & 2 != 0,
        memory: bits & 4 != 0,
        assistants: bits & 8 != 0,
        feedback: bits & 16 != 0,
        sessions: bits & 32 != 0,
        ..Default::default()
    }
}

const EVERYTHING: u32 = 63;

async fn erase(client: &mut Client, bits: u32, user_token: &str) -> ScopedDeleteResponse {
    client.users.scoped_delete(scopes(bits, user_token)).await.unwrap().into_inner()
}

/// What stands for a time after the test began.
const NOW: &str = "now";

/// What the rows of a subject should become, by the words of the contract, and what should be counted.
fn expect(tables: &mut Tables, subject: i64, scopes: &ScopedDeleteRequest) -> ScopedDeleteResponse {
    let own = |row: &Value| row["subject_id"] == subject;
    let personal = |row: &Value| own(row) && row["institution_id"].is_null();
    let mut counts = nothing_erased();
    let mut remove = |table: &str, which: &dyn Fn(&Value) -> bool| {
        let rows = tables.get_mut(table).unwrap();
        let before = rows.len();
        rows.retain(|row| !which(row));
        (before - rows.len()) as i32
    };
    if scopes.memory {
        counts.memory_deleted = remove("memories", &personal);
    }
    if scopes.sessions {
        counts.sessions_deleted = remove("sessions", &own);
    }
    if scopes.dialogues {
        // By the names that the population gives.
        counts.compaction_cache_purged = remove("compaction_cache", &|row| own(row) && row["conversation_id"] != "c-institution");
    }
    if scopes.vault {
        remove("upload_embeddings", &|row| own(row) && row["upload_id"] != "u-institution");
    }
    let mut mark = |table: &str, column: &str, which: &dyn Fn(&Value) -> bool, status: bool| {
        let rows = tables.get_mut(table).unwrap().iter_mut().filter(|row| which(row) && row[column].is_null());
        rows.fold((0, 0), |(count, bytes), row| {
            row[column] = NOW.into();
            if table == "uploads" {
                row["has_content"] = false.into();
            }
            if status {
                row["status"] = "deleted".into();
            }
            (count + 1, bytes + row["size_bytes"].as_i64().unwrap_or_default())
        })
    };
    if scopes.dialogues {
        (counts.dialogues_forgotten, _) = mark("conversations", "forgotten_at", &personal, false);
    }
    if scopes.vault {
        (counts.uploads_deleted, counts.bytes_freed) = mark("uploads", "deleted_at", &personal, true);
    }
    if scopes.assistants {
        (counts.assistants_deleted, _) = mark("assistants", "deleted_at", &personal, true);
    }
    if scopes.feedback {
        (counts.feedback_deleted, _) = mark("feedback", "deleted_at", &own, false);
    }
    counts
}

/// The rows, with [`NOW`] for every mark made since `began`.
async fn rows_now(world: &World, began: i64) -> Tables {
    let mut tables = tables(world).await;
    for row in tables.values_mut().flatten() {
        for column in ["forgotten_at", "deleted_at"] {
            if row[column].as_i64().is_some_and(|mark| mark >= began) {
                row[column] = NOW.into();
            }
        }
    }
    sorted(tables)
}

fn nanoseconds() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as i64
}

async fn every_combination_of_scopes_changes_exactly_its_rows(world: World) {
    let (mut client, mut other) = (world.client().await, world.client_of(OTHER).await);
    let name = |bits: u32| format!("user {bits:06b}");
    // User 0 has nothing erased; nor has anybody of the other application.
    for bits in 0..=EVERYTHING {
        settle(&mut client, &name(bits)).await;
    }
    for bits in [1, EVERYTHING] {
        settle(&mut other, &name(bits)).await;
    }
    let began = nanoseconds();
    let mut expected = tables(&world).await;
    for bits in 1..=EVERYTHING {
        let counts = expect(&mut expected, world.subject_id(ACME, &name(bits)).await, &scopes(bits, ""));
        assert_eq!(erase(&mut client, bits, &name(bits)).await, counts, "{bits:06b}");
    }
    let all = ScopedDeleteResponse {
        dialogues_forgotten: 4,
        uploads_deleted: 3,
        bytes_freed: 112,
        memory_deleted: 2,
        assistants_deleted: 2,
        feedback_deleted: 4,
        sessions_deleted: 2,
        compaction_cache_purged: 2,
        ..nothing_erased()
    };
    let mut again = expected.clone();
    assert_eq!(expect(&mut again, world.subject_id(ACME, &name(0)).await, &scopes(EVERYTHING, "")), all);
    let expected = sorted(expected);
    for (table, rows) in rows_now(&world, began).await {
        assert_eq!(rows, expected[table], "{table}");
    }

    for bits in 1..=EVERYTHING {
        assert_eq!(erase(&mut client, bits, &name(bits)).await, nothing_erased(), "{bits:06b}");
    }
    assert!(rows_now(&world, began).await == expected, "the second calls changed rows");
}

async fn what_was_erased_is_hidden_stays_erased_and_frees_its_names(world: World) {
    let mut client = world.client().await;
    settle(&mut client, "anna").await;
    let include_deleted = ExportUserDataRequest { include_deleted: true, ..with_content("anna") };
    erase(&mut client, EVERYTHING, "anna").await;
    let erased = world.all_rows().await;

    // Hidden: what is left is the institution's, and the feedback's author has no feedback.
    let exported = Exported::fetch(&mut client, with_content("anna")).await;
    let ids = |exported: &Exported| {
        let mut ids = Vec::new();
        for response in &exported.0 {
            ids.extend(response.conversations.iter().map(|found| found.id.clone()));
            ids.extend(
                response.conversations.iter().flat_map(|found| &found.feedback).chain(&response.feedback).map(|found| found.id.clone()),
            );
            ids.extend(response.memories.iter().map(|found| found.object_id().to_owned()));
            ids.extend(response.uploads.iter().map(|found| found.id.clone()));
            ids.extend(response.assistants.iter().map(|found| found.id.clone()));
            ids.extend(response.sessions.iter().map(|found| found.id.clone()));
            ids.extend(response.compaction_cache.iter().map(|found| found.id.clone()));
        }
        ids
    };
    assert_eq!(ids(&exported), ["c-institution", "m-institution", "u-institution", "a-institution", "cc-institution"]);

    // Shown, marked, to an administrator.
    let marked = Exported::fetch(&mut client, include_deleted).await;
    let mut unmarked: Vec<String> = Vec::new();
    for response in &marked.0 {
        unmarked.extend(response.conversations.iter().filter(|found| found.forgotten_at.is_none()).map(|found| found.id.clone()));
        let feedback = response.conversations.iter().flat_map(|found| &found.feedback).chain(&response.feedback);
        unmarked.extend(feedback.filter(|found| found.deleted_at.is_none()).map(|found| found.id.clone()));
        unmarked.extend(response.uploads.iter().filter(|found| found.deleted_at.is_none()).map(|found| found.id.clone()));
        unmarked.extend(response.assistants.iter().filter(|found| found.deleted_at.is_none()).map(|found| found.id.clone()));
    }
    assert_eq!(unmarked, ["c-institution", "u-institution", "a-institution"]);
    assert_eq!(ids(&marked).len(), 6 + 6 + 1 + 5 + 4 + 1);
    for content in marked.0.iter().flat_map(|response| &response.upload_contents) {
        assert_eq!(content.upload_id, "u-institution");
    }

    // An import of the same records does not bring them back.
    let mut again = resident("anna");
    again.conversations.retain(|found| found.forgotten_at.is_none());
    again.feedback.retain(|found| found.deleted_at.is_none());
    again.uploads.retain(|found| found.deleted_at.is_none());
    again.assistants.retain(|found| found.deleted_at.is_none());
    for conversation in &mut again.conversations {
        conversation.feedback.retain(|found| found.deleted_at.is_none());
    }
    let outcome = client.import(again.into_requests().collect()).await.unwrap();
    let taken = outcome.imported.unwrap();
    assert_eq!((taken.conversations, taken.messages, taken.feedback), (1, 2, 0));
    assert_eq!((taken.uploads, taken.assistants, taken.compaction_cache), (1, 1, 1));
    let mut refused: Vec<&str> = outcome.rejections.iter().map(|rejection| rejection.field.as_str()).collect();
    refused.sort_unstable();
    assert_eq!(
        refused,
        [
            "requests[0].assistants[0].id",
            "requests[0].assistants[1].id",
            "requests[0].compaction_cache[0].conversation_id",
            "requests[0].compaction_cache[1].conversation_id",
            "requests[0].conversations[0].id",
            "requests[0].conversations[1].id",
            "requests[0].conversations[2].id",
            "requests[0].conversations[3].id",
            "requests[0].conversations[4].feedback[0].id",
            "requests[0].feedback[0].id",
            "requests[0].memories[0].created_at",
            "requests[0].memories[1].created_at",
            "requests[0].sessions[0].created_at",
            "requests[0].sessions[1].created_at",
            "requests[0].upload_contents[0].upload_id",
            "requests[0].upload_contents[1].upload_id",
            "requests[0].uploads[0].id",
            "requests[0].uploads[1].id",
            "requests[0].uploads[2].id",
        ]
    );
    // Four conversations with four messages and one feedback, and fifteen others.
    assert_eq!(outcome.rejected, 4 + 4 + 1 + 15);
    assert!(world.all_rows().await == erased, "what was erased came back");

    // The names of deleted assistants are free; those of others are not.
    let assistant = |id: &str, name: &str| Assistant {
        id: id.to_owned(),
        name: name.to_owned(),
        status: "active".to_owned(),
        created_at: Some(Timestamp::default()),
        updated_at: Some(Timestamp::default()),
        ..Default::default()
    };
    let assistants = vec![assistant("new-1", "first"), assistant("new-2", "third"), assistant("new-3", "first")];
    let request = ImportUserDataRequest { user_token: "anna".to_owned(), assistants, ..Default::default() };
    let outcome = client.import_again(vec![request]).await.unwrap();
    assert_eq!(outcome.imported.unwrap().assistants, 1);
    let refused: Vec<&str> = outcome.rejections.iter().map(|rejection| rejection.field.as_str()).collect();
    assert_eq!(refused, ["requests[0].assistants[1].name", "requests[0].assistants[2].name"]);
    assert_eq!(erase(&mut client, EVERYTHING, "anna").await, ScopedDeleteResponse { assistants_deleted: 1, ..nothing_erased() });
}

async fn an_import_neither_erases_nor_takes_a_name_that_is_held(world: World) {
    let mut client = world.client().await;
    settle(&mut client, "anna").await;
    let before = world.all_rows().await;
    let now = Some(Timestamp { seconds: 1_800_000_000, nanos: 0 });
    let mut marked = resident("anna");
    marked.conversations.retain(|found| found.forgotten_at.is_none());
    for conversation in &mut marked.conversations {
        conversation.forgotten_at = now;
        conversation.feedback.iter_mut().for_each(|found| found.deleted_at = now);
    }
    marked.feedback.iter_mut().for_each(|found| found.deleted_at = now);
    for upload in &mut marked.uploads {
        (upload.status, upload.deleted_at) = ("deleted".to_owned(), now);
    }
    for assistant in &mut marked.assistants {
        (assistant.status, assistant.deleted_at) = ("deleted".to_owned(), now);
    }
    marked.contents.clear();
    marked.compaction_cache.clear();
    client.import(marked.clone().into_requests().collect()).await.unwrap();
    assert!(world.all_rows().await == before, "an import erased something");

    // Nor does a mark let a record take what it may not have.
    let renamed = Assistant { name: "second".to_owned(), ..marked.assistants[0].clone() };
    let request = ImportUserDataRequest { user_token: "anna".to_owned(), assistants: vec![renamed], ..Default::default() };
    let outcome = client.import(vec![request]).await.unwrap();
    assert_eq!(outcome.rejections.iter().map(|found| found.field.as_str()).collect::<Vec<_>>(), ["requests[0].assistants[0].id"]);
    assert!(world.all_rows().await == before);
}

async fn erasing_a_user_never_seen_gives_zeros_and_is_remembered(world: World) {
    let mut client = world.client().await;
    settle(&mut world.client_of(OTHER).await, "nobody").await;
    let mut before = world.all_rows().await;
    assert_eq!(erase(&mut client, EVERYTHING, "nobody").await, nothing_erased());
    let mut after = world.all_rows().await;
    assert_eq!(client.epoch("nobody").await, 1);
    let subjects = [&mut before, &mut after].map(|tables| tables.remove("subjects").unwrap().len());
    assert!((subjects, after) == ([1, 2], before));
    // A late job does not bring in what was erased before it came.
    client.import(resident("nobody").into_requests().collect()).await.unwrap();
    assert_eq!(erase(&mut client, EVERYTHING, "nobody").await, nothing_erased());
}
