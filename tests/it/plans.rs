//! PostgreSQL's plans are kept, and may be made while it knows nothing of tables that will grow: rows are found by an index then too, and
//! those that nobody asked for are not read.

use std::collections::BTreeMap;

use userdata::{
    grpc::{
        document::UserDocument,
        proto::{DeleteUserMessagesRequest, ScopedDeleteRequest},
    },
    repository::Engine,
};

use crate::{
    certain::erase,
    population::conversation,
    records,
    row_security::every_call,
    world::{Client, World, eventually},
};

const CONVERSATIONS: usize = 200;
const MESSAGES: usize = 50;

/// How often each row may be found: by a count, by its deletion, by a look at what is left.
const READS: i64 = 8;
/// And those of small users again and again, by all their calls.
const OF_SMALL_USERS: i64 = 5_000;

/// Imports a user of many conversations, with a compaction cache of each, and erases all; a few conversations with each request.
async fn come_and_go(client: &mut Client) {
    for first in (0..CONVERSATIONS).step_by(5) {
        let mut user = UserDocument::new("large");
        for id in (first..first + 5).map(|nth| format!("c{nth}")) {
            user.conversations.push(conversation(&id, MESSAGES, 0));
            user.compaction_cache.push(records::compaction_cache(&format!("of {id}"), &id, 0));
        }
        assert_eq!(client.import(user.into_requests().collect()).await.unwrap().rejected, 0);
    }
    let (compaction_cache, messages) = erase_all_of(client, "large").await;
    assert_eq!((compaction_cache as usize, messages as usize), (CONVERSATIONS, CONVERSATIONS * MESSAGES));
}

/// Previews it, and does it; gives how many compaction cache entries and messages were deleted.
async fn erase_all_of(client: &mut Client, user_token: &str) -> (i32, i32) {
    let preview = ScopedDeleteRequest { validate_only: true, ..erase(user_token, "") };
    client.users.scoped_delete(preview).await.unwrap();
    let scopes = client.users.scoped_delete(erase(user_token, "")).await.unwrap().into_inner();
    let delete = DeleteUserMessagesRequest { user_token: user_token.to_owned(), ..Default::default() };
    client.users.delete_user_messages(DeleteUserMessagesRequest { validate_only: true, ..delete.clone() }).await.unwrap();
    let messages = client.users.delete_user_messages(delete).await.unwrap().into_inner();
    (scopes.compaction_cache_purged, messages.messages_deleted)
}

/// How often each table of users' data was read whole, and how many rows were inserted into it and found in it by an index. PostgreSQL tells
/// of a connection when it ends, or has rested for a while.
async fn counts(world: &World) -> BTreeMap<String, [i64; 3]> {
    let tables = "SELECT relname AS name, seq_scan AS whole, n_tup_ins AS inserted,
        (SELECT sum(idx_tup_read)::bigint FROM pg_stat_user_indexes AS indexes WHERE indexes.relid = tables.relid) AS found
        FROM pg_stat_user_tables AS tables WHERE relname NOT IN ('api_keys', 'seaql_migrations')";
    let of = |row: &serde_json::Value| ["whole", "inserted", "found"].map(|column| row[column].as_i64().unwrap());
    world.query(tables).await.iter().map(|row| (row["name"].as_str().unwrap().to_owned(), of(row))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn on_postgres_rows_are_found_by_an_index_where_a_plan_was_made_before_anything_was_known() {
    rows_are_found_by_an_index(World::start(Engine::Postgres).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_postgres_rows_are_found_by_an_index_where_a_plan_was_made_while_tables_were_known_to_be_empty() {
    let world = World::start(Engine::Postgres).await;
    world.execute("ANALYZE").await;
    rows_are_found_by_an_index(world).await;
}

async fn rows_are_found_by_an_index(mut world: World) {
    let since = world.query("SELECT clock_timestamp()::text AS now").await[0]["now"].as_str().unwrap().to_owned();
    world.restart().await;
    // Whoever migrated it has read the tables to make their indexes.
    let mut before = BTreeMap::new();
    eventually("that is told", async || {
        before = counts(&world).await;
        before.values().all(|[whole, ..]| *whole > 0)
    })
    .await;
    let mut client = world.client().await;
    for _ in 0..4 {
        erase_all_of(&mut client, "nobody").await;
    }
    // More than the five times after which PostgreSQL may keep a plan.
    for round in 0..8 {
        every_call(&mut client, round).await;
    }
    come_and_go(&mut client).await;
    for round in 8..12 {
        every_call(&mut client, round).await;
    }
    drop(client);
    world.stop_server().await;
    let connections = format!(
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'userdata' AND backend_start > '{since}'"
    );
    eventually("its connections have ended", async || world.query(&connections).await.is_empty()).await;

    for (table, [whole, inserted, found]) in counts(&world).await {
        assert_eq!(whole, before[&table][0], "{table} was read whole");
        assert!(found <= READS * inserted + OF_SMALL_USERS, "{found} rows of {table} were found, which was given {inserted}");
    }
    let key = "SELECT idx_scan AS scans FROM pg_stat_user_indexes WHERE indexrelname = 'messages_pkey'";
    let scans = world.query(key).await[0]["scans"].as_i64().unwrap();
    assert!(scans < (CONVERSATIONS * MESSAGES / 2) as i64, "each message was looked for by the key, of which its id is the last part");
}
