//! DeleteUserMessages: exactly the rows it names, and no other.

use serde_json::Value;
use userdata::{
    grpc::{
        document::UserDocument,
        proto::{DeleteUserMessagesRequest, DeleteUserMessagesResponse, Remaining, Residue},
    },
    repository::Engine,
};

use crate::{
    exported::{Exported, with_content},
    on_both_engines_and_walled,
    population::{Tables, conversation, resident, settle, sorted, tables},
    world::{ACME, Client, OTHER, World, eventually},
};

on_both_engines_and_walled!(
    all_messages_of_one_user_go_and_nothing_else,
    deleting_the_messages_of_a_user_never_seen_gives_zeros_and_is_remembered,
);

async fn delete(client: &mut Client, user_token: &str) -> DeleteUserMessagesResponse {
    let request = DeleteUserMessagesRequest { user_token: user_token.to_owned(), ..Default::default() };
    client.users.delete_user_messages(request).await.unwrap().into_inner()
}

/// What the rows of a subject should become, and what should be counted.
fn expect(mut tables: Tables, subject: i64) -> (Tables, DeleteUserMessagesResponse) {
    let own = |row: &Value| row["subject_id"] == subject;
    let mut counts = DeleteUserMessagesResponse::default();
    let talked: Vec<Value> = tables["messages"].iter().filter(|row| own(row)).map(|row| row["conversation_id"].clone()).collect();
    for row in tables.get_mut("conversations").unwrap().iter_mut().filter(|row| own(row)) {
        counts.conversations_affected += i32::from(row["message_count"] != 0 || talked.contains(&row["id"]));
        row["message_count"] = 0.into();
    }
    for (table, count) in [("messages", &mut counts.messages_deleted), ("compaction_cache", &mut counts.compaction_cache_purged)] {
        let rows = tables.get_mut(table).unwrap();
        let before = rows.len();
        rows.retain(|row| !own(row));
        *count = (before - rows.len()) as i32;
    }
    let held = |table: &str, column: &str| tables[table].iter().filter(|row| own(row) && !row[column].is_null()).count() as i32;
    counts.remaining = Some(Remaining::default());
    counts.residue = Some(Residue {
        titles: held("conversations", "title"),
        feedback_notes: held("feedback", "notes"),
        memories: held("memories", "id"),
        uploads: held("uploads", "id"),
        assistants: held("assistants", "id"),
        sessions: held("sessions", "id"),
    });
    (sorted(tables), counts)
}

async fn all_messages_of_one_user_go_and_nothing_else(world: World) {
    let (mut client, mut other) = (world.client().await, world.client_of(OTHER).await);
    for user_token in ["one", "two", "three"] {
        settle(&mut client, user_token).await;
        settle(&mut other, user_token).await;
    }
    for (conversation, time) in [("c-institution", i64::MAX), ("c-forgotten", i64::MIN)] {
        world.execute(&format!("UPDATE conversations SET created_at = {time} WHERE id = '{conversation}'")).await;
        for table in ["messages", "feedback"] {
            let moved = format!("UPDATE {table} SET conversation_created_at = {time} WHERE conversation_id = '{conversation}'");
            world.execute(&moved).await;
        }
    }
    let (expected, counts) = expect(tables(&world).await, world.subject_id(ACME, "two").await);
    assert_eq!((counts.messages_deleted, counts.conversations_affected, counts.compaction_cache_purged), (8, 5, 3));
    let untouched = Exported::fetch(&mut other, with_content("two")).await;

    assert_eq!(delete(&mut client, "two").await, counts);
    assert_eq!(sorted(tables(&world).await), expected);
    let DeleteUserMessagesResponse { remaining, residue, .. } = counts;
    assert_eq!(delete(&mut client, "two").await, DeleteUserMessagesResponse { remaining, residue, ..Default::default() });
    assert_eq!(sorted(tables(&world).await), expected);

    let exported = Exported::fetch(&mut client, with_content("two")).await;
    let left = exported.summary().counts.unwrap();
    assert_eq!((left.conversations, left.messages, left.feedback, left.memories, left.compaction_cache), (5, 0, 4, 3, 0));
    let conversation = exported.0.iter().flat_map(|response| &response.conversations).find(|found| found.id == "c-live").unwrap();
    assert_eq!((conversation.message_count, conversation.total_tokens, conversation.title.as_deref()), (0, 33, Some("title of c-live")));
    assert!(Exported::fetch(&mut other, with_content("two")).await.bytes() == untouched.bytes());
}

#[tokio::test]
async fn postgres_counts_and_deletes_messages_in_the_order_of_their_rows() {
    const MESSAGES: i64 = 300;
    let world = World::start(Engine::Postgres).await;
    let mut client = world.client().await;
    let mut user = UserDocument::new("talkative");
    user.conversations = vec![conversation("c", MESSAGES as usize, MESSAGES as i32)];
    client.import(user.into_requests().collect()).await.unwrap();
    assert_eq!(i64::from(delete(&mut client, "talkative").await.messages_deleted), MESSAGES);
    let read = async |index: &str| {
        let read = format!("SELECT idx_tup_read AS entries FROM pg_stat_user_indexes WHERE indexrelname = '{index}'");
        world.query(&read).await[0]["entries"].as_i64().unwrap()
    };
    eventually("the key was gone through twice", async || read("messages_pkey").await >= 2 * MESSAGES).await;
    assert!(read("messages_subject_id_id").await < MESSAGES);
}

async fn deleting_the_messages_of_a_user_never_seen_gives_zeros_and_is_remembered(world: World) {
    let mut client = world.client().await;
    settle(&mut world.client_of(OTHER).await, "nobody").await;
    let mut before = world.all_rows().await;
    let (remaining, residue) = (Some(Remaining::default()), Some(Residue::default()));
    assert_eq!(delete(&mut client, "nobody").await, DeleteUserMessagesResponse { remaining, residue, ..Default::default() });
    let mut after = world.all_rows().await;
    assert_eq!(client.epoch("nobody").await, 1);
    let subjects = [&mut before, &mut after].map(|tables| tables.remove("subjects").unwrap().len());
    assert!((subjects, after) == ([1, 2], before));
    // A late job does not bring in what was erased before it came.
    let late = client.import(resident("nobody").into_requests().collect()).await.unwrap();
    assert_eq!(late.imported.unwrap_or_default().messages, 0);
}
