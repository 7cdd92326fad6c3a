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
    population::{conversation, resident},
    world::{Client, World, eventually},
};

const CONVERSATIONS: usize = 10;
const MESSAGES: usize = 500;

async fn import_conversation(client: &mut Client, user_token: &str, id: &str, messages: usize) {
    let mut user = UserDocument::new(user_token);
    user.conversations = vec![conversation(id, messages, 0)];
    client.import(user.into_requests().collect()).await.unwrap();
}

/// Each call, of users who have next to nothing.
async fn call_everything(client: &mut Client, run: usize) {
    let user_token = format!("small {run}");
    client.import(resident(&user_token).into_requests().collect()).await.unwrap();
    client.export(&user_token).await;
    client.erasure_status(&user_token).await;
    for validate_only in [true, false] {
        let delete = DeleteUserMessagesRequest { user_token: user_token.clone(), validate_only, ..Default::default() };
        client.users.delete_user_messages(delete).await.unwrap();
        let scopes = ScopedDeleteRequest { user_token: user_token.clone(), validate_only, ..Default::default() };
        let everything =
            ScopedDeleteRequest { dialogues: true, vault: true, memory: true, assistants: true, feedback: true, sessions: true, ..scopes };
        client.users.scoped_delete(everything).await.unwrap();
    }
}

/// How often each table of users' data was read whole, and how many messages were found by an index: PostgreSQL tells of a connection when
/// it ends.
async fn reads(world: &World) -> (BTreeMap<String, i64>, i64) {
    let tables = "SELECT relname AS name, seq_scan AS scans FROM pg_stat_user_tables WHERE relname NOT IN ('api_keys', 'seaql_migrations')";
    let tables = world.query(tables).await;
    let whole = tables.iter().map(|row| (row["name"].as_str().unwrap().to_owned(), row["scans"].as_i64().unwrap())).collect();
    let messages = "SELECT sum(idx_tup_read)::bigint AS messages FROM pg_stat_user_indexes WHERE relname = 'messages'";
    (whole, world.query(messages).await[0]["messages"].as_i64().unwrap())
}

/// Stops the server, and waits until its connections, begun since, are gone.
async fn stop(world: &mut World, since: &str) {
    world.stop_server().await;
    let connections = format!(
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'userdata' AND backend_start > '{since}'"
    );
    eventually("its connections have ended", async || world.query(&connections).await.is_empty()).await;
}

async fn now(world: &World) -> String {
    world.query("SELECT clock_timestamp()::text AS now").await[0]["now"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn on_postgres_no_call_reads_a_table_whole_or_a_user_again_with_each_request_of_an_import() {
    let mut world = World::start(Engine::Postgres).await;
    let since = now(&world).await;
    world.restart().await;
    // The first server has read the tables to make their indexes.
    let mut before = BTreeMap::new();
    eventually("that is told", async || {
        (before, _) = reads(&world).await;
        before.values().all(|scans| *scans > 0)
    })
    .await;
    let mut client = world.client().await;
    // More than the five times after which PostgreSQL may keep a plan.
    for run in 0..8 {
        call_everything(&mut client, run).await;
    }
    for nth in 0..CONVERSATIONS {
        import_conversation(&mut client, "large", &format!("c{nth}"), MESSAGES).await;
    }
    for run in 8..16 {
        call_everything(&mut client, run).await;
    }
    drop(client);
    stop(&mut world, &since).await;
    let (after, messages) = reads(&world).await;
    assert_eq!(after, before, "a table was read whole");
    assert!(messages < (CONVERSATIONS * MESSAGES / 2) as i64, "{messages} messages were read for users who have few");
}
