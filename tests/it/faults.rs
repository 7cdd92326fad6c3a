//! Stores that take no more: each call gets the documented status, nothing is half done, and the service goes on by itself when they do
//! again. A database that is away is in `lifecycle`, an object store that is slow or away in `slow_store` and `vault`.

use std::{collections::BTreeSet, process::Command};

use sea_orm::ConnectionTrait;
use tokio::time::Instant;
use tonic::{Code, Status, metadata::MetadataMap, transport::Channel};
use userdata::{
    grpc::proto::{
        DeleteUserMessagesRequest, ImportUserDataRequest, ScopedDeleteRequest, import_service_client::ImportServiceClient,
        user_data_service_client::UserDataServiceClient,
    },
    repository::Engine,
};

use crate::{
    credentials::key_headers,
    database_faults::GOES_ON_WITHIN,
    lifecycle::five_megabytes,
    program::Program,
    records,
    rpc::{Rpc, assert_reason, with},
    world::{ACME, World, eventually},
};

const AWAY: (Code, &str) = (Code::Unavailable, "ERROR_REASON_DATABASE_UNAVAILABLE");

#[tokio::test]
async fn on_postgres_a_read_only_database_answers_exports_and_takes_changes_again_when_it_may() {
    let world = World::start(Engine::Postgres).await;
    let (channel, key) = (world.channel().await, key_headers(ACME, world.key(ACME)));
    Rpc::Import.call(&channel, &key, "anna").await.unwrap();

    set_read_only(&world, true).await;
    for rpc in [Rpc::DeleteMessages, Rpc::ScopedDelete, Rpc::Import] {
        let refused = rpc.call(&channel, &key, "anna").await.expect_err("the database is read-only");
        assert_reason(&refused, AWAY.0, AWAY.1);
    }
    eventually("exports are answered", async || Rpc::Export.call(&channel, &key, "anna").await.is_ok()).await;

    set_read_only(&world, false).await;
    let ended = Instant::now();
    eventually("changes are made again", async || Rpc::ScopedDelete.call(&channel, &key, "anna").await.is_ok()).await;
    assert!(ended.elapsed() < GOES_ON_WITHIN, "it went on only after {:?}", ended.elapsed());
}

/// As a failover leaves it: new connections only read, and the old ones are gone.
pub(crate) async fn set_read_only(world: &World, is_read_only: bool) {
    let change = if is_read_only { "SET default_transaction_read_only = on" } else { "RESET default_transaction_read_only" };
    for statement in [
        format!("BEGIN READ WRITE; DO $$ BEGIN EXECUTE format('ALTER DATABASE %I {change}', current_database()); END $$; COMMIT"),
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()".to_owned(),
    ] {
        world.database.execute_unprepared(&statement).await.unwrap();
    }
}

#[tokio::test]
async fn on_sqlite_a_disk_that_is_full_refuses_what_does_not_fit_and_takes_it_when_there_is_room() {
    let small = Small::start().await;
    let refused = small.import().await.expect_err("it does not fit");
    assert_reason(&refused, AWAY.0, AWAY.1);
    assert!(small.messages().await == 0, "something was half done");
    Rpc::Export.call(&small.channel, &small.key, "anna").await.unwrap();

    small.make_room();
    let ended = Instant::now();
    eventually("it fits", async || small.import().await.is_ok()).await;
    assert!(ended.elapsed() < GOES_ON_WITHIN, "it went on only after {:?}", ended.elapsed());
    assert_eq!(small.messages().await, 10);
}

#[tokio::test]
async fn on_sqlite_what_is_acknowledged_after_a_disk_was_full_is_done() {
    let small = Small::start().await;
    small.import().await.expect_err("it does not fit");
    // Is undone as well, but by the service.
    let plan_digest = "0".repeat(64);
    let planned = DeleteUserMessagesRequest { user_token: "anna".into(), plan_digest, ..Default::default() };
    let void = UserDataServiceClient::new(small.channel.clone()).delete_user_messages(with(&small.key, planned)).await;
    assert_eq!(void.unwrap_err().code(), Code::Aborted);

    small.make_room();
    eventually("it fits", async || small.import().await.is_ok()).await;
    assert_eq!(small.messages().await, 10);
}

#[tokio::test]
async fn on_sqlite_what_was_acknowledged_is_done_however_often_the_disk_fails() {
    let small = Small::start().await;
    let mut imports = ImportServiceClient::new(small.channel.clone());
    let mut users = UserDataServiceClient::new(small.channel.clone());
    // Whether a user's session is there; `None` where the answer was an error.
    let mut told: Vec<Option<bool>> = Vec::new();
    let user_of = |round: usize| format!("user {round}");
    let mut failed = 0;
    for round in 0..60 {
        small.limit(if round % 3 == 0 { "1" } else { "unlimited" });
        let request = ImportUserDataRequest { user_token: user_of(round), sessions: vec![records::session("s", 0)], ..Default::default() };
        told.push(imports.import_user_data(with(&small.key, tokio_stream::iter([request]))).await.is_ok().then_some(true));
        failed += usize::from(told[round].is_none());
        let Some(before) = round.checked_sub(2) else { continue };
        let plan_digest = if round % 5 == 0 { "0".repeat(64) } else { String::new() };
        let is_void = !plan_digest.is_empty();
        let request_id = format!("6f1c9b52-8a2c-4b17-9d4e-{round:012}");
        let erase = ScopedDeleteRequest { user_token: user_of(before), sessions: true, request_id, plan_digest, ..Default::default() };
        match users.scoped_delete(with(&small.key, erase)).await {
            Ok(_) => told[before] = Some(false),
            Err(status) if is_void && status.code() == Code::Aborted => {}
            Err(_) => told[before] = None,
        }
    }
    assert!((10..=20).contains(&failed), "{failed} of 60 imports failed");

    let Small { world, program, .. } = small;
    // As kill -9 does.
    drop(program);
    let there = world.query("SELECT user_token FROM sessions JOIN subjects ON subjects.id = sessions.subject_id").await;
    let there: BTreeSet<&str> = there.iter().map(|row| row["user_token"].as_str().unwrap()).collect();
    for (round, told) in told.into_iter().enumerate() {
        assert!(told.is_none_or(|told| told == there.contains(&*user_of(round))), "round {round}: {told:?} was told, and is not so");
    }
}

/// A program on SQLite whose disk is small: no file may grow beyond 1 MiB.
struct Small {
    world: World,
    program: Program,
    channel: Channel,
    key: MetadataMap,
}

impl Small {
    async fn start() -> Self {
        let mut world = World::start(Engine::Sqlite).await;
        let key = key_headers(ACME, world.key(ACME));
        world.stop_server().await;
        // To try is an error, as on a full disk, and not a signal.
        let program = Program::serve_limited(&world.folder(), "-S -f 2048; trap '' XFSZ", &world.database_url);
        let channel = program.channel().await;
        Rpc::Import.call(&channel, &key, "anna").await.unwrap();
        Self { world, program, channel, key }
    }

    fn make_room(&self) {
        self.limit("unlimited");
    }

    /// How large files may grow from now on.
    fn limit(&self, bytes: &str) {
        let pid = self.program.id().to_string();
        assert!(Command::new("prlimit").args([&format!("--fsize={bytes}:"), "--pid", &pid]).status().unwrap().success());
    }

    /// Imports more than fits.
    async fn import(&self) -> Result<(), Status> {
        let requests = tokio_stream::iter([five_megabytes(0)]);
        ImportServiceClient::new(self.channel.clone()).import_user_data(with(&self.key, requests)).await.map(drop)
    }

    /// How many messages there are for whoever looks.
    async fn messages(&self) -> usize {
        self.world.query("SELECT id FROM messages").await.len()
    }
}
