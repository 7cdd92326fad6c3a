//! The schema goes up and down, and up once however many migrate it.

use std::collections::BTreeSet;

use sea_orm::{ConnectionTrait, TransactionTrait};
use userdata::{
    domain::{catalogue::TABLES, timestamp::Clock},
    repository::{Engine, Error, Repository, SchemaState, StorageUrl},
    server::Server,
};

use crate::{
    on_both_engines,
    program::Program,
    world::{World, eventually},
};

on_both_engines!(
    up_down_and_up_again_leaves_the_same_schema,
    eight_replicas_that_migrate_at_once_migrate_once,
    a_schema_that_is_behind_is_migrated_only_where_that_is_asked_for,
    a_schema_that_is_ahead_is_refused,
);

/// Tables, columns, defaults, keys and indexes, as the engine describes them.
async fn schema(world: &World) -> Vec<String> {
    let sql = match world.engine {
        Engine::Sqlite => "SELECT type, name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite_%' ORDER BY type, name",
        Engine::Postgres => {
            "SELECT 'index' AS kind, tablename::text AS t, indexdef AS what, '' AS more FROM pg_indexes WHERE schemaname = 'public'
             UNION ALL SELECT 'column', table_name::text, column_name || ' ' || data_type || ' ' || is_nullable,
                              coalesce(column_default, '') || coalesce(collation_name, '')
             FROM information_schema.columns WHERE table_schema = 'public' ORDER BY 1, 2, 3"
        }
    };
    world.query(sql).await.iter().map(ToString::to_string).collect()
}

async fn tables(world: &World) -> BTreeSet<String> {
    let sql = match world.engine {
        Engine::Sqlite => "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'",
        Engine::Postgres => "SELECT table_name::text AS name FROM information_schema.tables WHERE table_schema = 'public'",
    };
    world.query(sql).await.iter().map(|row| row["name"].as_str().unwrap().to_owned()).collect()
}

async fn up_down_and_up_again_leaves_the_same_schema(mut world: World) {
    world.stop_server().await;
    let migrated = schema(&world).await;
    assert!(migrated.len() > 15, "the schema was not read");
    world.repository().unmigrate().await.unwrap();
    assert_eq!(tables(&world).await, BTreeSet::from(["seaql_migrations".to_owned()]));
    if world.engine == Engine::Postgres {
        let left = "SELECT relname::text FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'S'";
        assert!(world.query(left).await.is_empty(), "a sequence was left");
    }
    assert!(matches!(world.repository().schema_state().await.unwrap(), SchemaState::Behind(_)));
    world.repository().migrate().await.unwrap();
    assert_eq!(schema(&world).await, migrated);
    assert_eq!(tables(&world).await, TABLES.iter().map(|table| table.name.to_owned()).collect());

    // And a schema made so can be used; migrating it once more changes nothing.
    world.repository().migrate().await.unwrap();
    assert_eq!(schema(&world).await, migrated);
}

async fn eight_replicas_that_migrate_at_once_migrate_once(mut world: World) {
    world.stop_server().await;
    let migrated = schema(&world).await;
    let applied = world.query("SELECT version FROM seaql_migrations").await;
    for from in ["nothing", "a migrated schema"] {
        if from == "nothing" {
            world.repository().unmigrate().await.unwrap();
        }
        let mut replicas = Vec::new();
        for _ in 0..8 {
            let replica = Repository::open(&world.config.storage.database, 1, Clock::default()).await.unwrap();
            replicas.push(tokio::spawn(async move { replica.migrate().await }));
        }
        for replica in replicas {
            replica.await.unwrap().unwrap();
        }
        assert_eq!(schema(&world).await, migrated, "from {from}");
        assert_eq!(world.query("SELECT version FROM seaql_migrations").await, applied, "from {from}");
    }
}

async fn a_schema_that_is_behind_is_migrated_only_where_that_is_asked_for(mut world: World) {
    world.stop_server().await;
    world.repository().unmigrate().await.unwrap();
    let built = Server::build(world.config.clone(), false, Clock::default()).await;
    match world.engine {
        Engine::Sqlite => assert!(built.is_ok()),
        Engine::Postgres => {
            let error = built.err().expect("a schema that is behind").to_string();
            assert!(error.contains("userdata migrate"), "{error}");
            assert!(tables(&world).await.len() < 2);
            assert!(Server::build(world.config.clone(), true, Clock::default()).await.is_ok());
        }
    }
    assert_eq!(world.repository().schema_state().await.unwrap(), SchemaState::Current);
}

async fn a_schema_that_is_ahead_is_refused(mut world: World) {
    world.stop_server().await;
    world.execute("INSERT INTO seaql_migrations (version, applied_at) VALUES ('m9999_of_the_future', 0)").await;
    let before = schema(&world).await;
    assert_eq!(world.repository().schema_state().await.unwrap(), SchemaState::Ahead);
    for migrate in [false, true] {
        assert!(matches!(world.repository().require_schema(migrate).await, Err(Error::SchemaAhead)));
        assert!(Server::build(world.config.clone(), migrate, Clock::default()).await.is_err());
    }
    assert_eq!(schema(&world).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn on_postgres_a_replica_waits_for_one_that_migrates_for_as_long_as_it_takes() {
    let mut world = World::start(Engine::Postgres).await;
    world.stop_server().await;
    let other = world.database.begin().await.unwrap();
    other.execute_unprepared("SELECT pg_advisory_xact_lock(7553624)").await.unwrap();
    let impatient: StorageUrl = format!("{}?options=-c%20lock_timeout%3D50ms", world.database_url).parse().unwrap();
    let replica = Repository::open(&impatient, 1, Clock::default()).await.unwrap();
    let migration = tokio::spawn(async move { replica.migrate().await });
    let waits = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'advisory'
        AND clock_timestamp() - query_start > interval '500 ms'";
    eventually("it waits for longer than for others", async || !world.query(waits).await.is_empty()).await;
    other.rollback().await.unwrap();
    migration.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn on_postgres_a_replica_that_waits_for_one_that_migrates_can_be_stopped() {
    let mut world = World::start(Engine::Postgres).await;
    world.stop_server().await;
    world.repository().unmigrate().await.unwrap();
    let other = world.database.begin().await.unwrap();
    other.execute_unprepared("SELECT pg_advisory_xact_lock(7553624)").await.unwrap();
    let mut replica = Program::serve(&world.folder(), &world.database_url, &["--migrate", "--object-store-url", "memory://"]);
    let waits = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'advisory'";
    eventually("it waits", async || !world.query(waits).await.is_empty()).await;
    replica.signal("TERM");
    let (code, took) = replica.ended().await;
    assert_eq!(code, Some(0), "{}", replica.stderr());
    assert!(took.as_secs() < 5, "{took:?}");
    other.rollback().await.unwrap();
}
