//! An erasure is accepted, and then settled when its files are gone: what its caller is told if that takes long, or cannot be done.

use sea_orm::{ConnectionTrait, TransactionTrait};
use tonic::{Code, Status};
use userdata::{
    grpc::proto::{ImportUserDataRequest, ScopedDeleteRequest, ScopedDeleteResponse},
    repository::Engine,
};

use crate::{
    credentials::key_headers,
    faults::set_read_only,
    rpc::{Rpc, assert_reason},
    slow_store::{Held, REMOVAL, SlowStore, import_uploads},
    world::{ACME, Client, World, eventually},
};

const REQUEST_ID: &str = "6f1c9b52-8a2c-4b17-9d4e-3a5c7e8f9012";

async fn erase_vault(mut client: Client) -> Result<ScopedDeleteResponse, Status> {
    let request = ScopedDeleteRequest { user_token: "anna".into(), vault: true, request_id: REQUEST_ID.into(), ..Default::default() };
    client.users.scoped_delete(request).await.map(tonic::Response::into_inner)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_accepted_erasure_is_settled_however_long_its_application_uses_its_connections() {
    let mut world = World::start(Engine::Postgres).await;
    // Two connections write, and each application may use one.
    let mut store = SlowStore::start_with(&mut world, &["--database-max-connections", "4"]).await;
    let (mut client, channel, key) = (world.client().await, world.channel().await, key_headers(ACME, world.key(ACME)));
    import_uploads(&mut client, 1).await;
    let berta = ImportUserDataRequest { user_token: "berta".into(), ..Default::default() };
    client.import(vec![berta.clone()]).await.unwrap();

    store.hold(Held::Answers(REMOVAL));
    let erasure = tokio::spawn(erase_vault(client.clone()));
    store.holds(1).await;
    let in_the_way = world.database.begin().await.unwrap();
    in_the_way.execute_unprepared("UPDATE subjects SET epoch = epoch WHERE user_token = 'berta'").await.unwrap();
    let uses_it = tokio::spawn(async move { client.import(vec![berta]).await });
    let waits = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    eventually("the connection is in use", async || !world.query(waits).await.is_empty()).await;

    store.hold(Held::Nothing);
    // Two calls, one after the other: when the second gives up, the erasure has waited for longer than a call does.
    for _ in 0..2 {
        let refused = Rpc::DeleteMessages.call(&channel, &key, "carla").await.unwrap_err();
        assert_reason(&refused, Code::Unavailable, "ERROR_REASON_DATABASE_UNAVAILABLE");
    }
    in_the_way.rollback().await.unwrap();
    uses_it.await.unwrap().unwrap();
    let report = erasure.await.unwrap().unwrap();
    assert_eq!((report.uploads_deleted, report.uploads_failed.len()), (1, 0));
}

/// What keeps an erasure from being settled.
#[derive(Clone, Copy, PartialEq)]
enum Obstacle {
    ReadOnly,
    Locked,
}

#[tokio::test(flavor = "multi_thread")]
async fn who_erased_what_cannot_be_settled_is_told_that_it_has_happened_and_gets_the_response_later() {
    for obstacle in [Obstacle::ReadOnly, Obstacle::Locked] {
        let mut world = World::start(Engine::Postgres).await;
        world.database_url.push_str("?options=-c%20lock_timeout%3D50ms");
        let mut store = SlowStore::start_with(&mut world, &[]).await;
        let mut client = world.client().await;
        import_uploads(&mut client, 1).await;
        store.hold(Held::Answers(REMOVAL));
        let erasure = tokio::spawn(erase_vault(client.clone()));
        store.holds(1).await;
        let in_the_way = world.database.begin().await.unwrap();
        match obstacle {
            Obstacle::ReadOnly => set_read_only(&world, true).await,
            Obstacle::Locked => drop(in_the_way.execute_unprepared("UPDATE subjects SET epoch = epoch").await.unwrap()),
        }

        store.hold(Held::Nothing);
        let told = erasure.await.unwrap().unwrap_err();
        assert_reason(&told, Code::Unavailable, "ERROR_REASON_DATABASE_UNAVAILABLE");
        assert!(told.message().starts_with("the erasure has happened"), "{told:?}");

        // Where the database was made read-only, its connection is gone.
        let _ = in_the_way.rollback().await;
        if obstacle == Obstacle::ReadOnly {
            set_read_only(&world, false).await;
        }
        let mut response = None;
        eventually("it is answered", async || {
            response = erase_vault(client.clone()).await.ok();
            response.is_some()
        })
        .await;
        let report = response.unwrap();
        assert_eq!((report.uploads_deleted, report.uploads_failed.len()), (1, 0));
    }
}
