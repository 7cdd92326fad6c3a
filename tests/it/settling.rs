//! An erasure is accepted, and then settled when its files are gone: what its caller is told if that takes long, or cannot be done.

use sea_orm::{ConnectionTrait, TransactionTrait};
use tonic::{Code, Status};
use userdata::{
    domain::{
        erasure::Terms,
        report::UploadFailure,
        scope::{Chosen, Scopes},
        subject::{ApplicationId, Subject, UserToken},
    },
    grpc::{
        document::UserDocument,
        proto::{ImportUserDataRequest, ScopedDeleteRequest, ScopedDeleteResponse},
    },
    repository::{Accepted, Engine, ErasedScopes, Removals, StoredObjects},
};

use crate::{
    credentials::key_headers,
    exported::with_content,
    faults::set_read_only,
    on_both_engines, records,
    rpc::{Rpc, assert_reason},
    slow_store::{Held, REMOVAL, SlowStore, import_uploads},
    world::{ACME, Client, World, eventually},
};

on_both_engines!(two_erasures_of_one_file_count_it_once_and_no_export_shows_it_beside_what_either_took,);

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

/// Accepts an erasure of the vault and of memories or feedback.
async fn accept(world: &World, subject: &Subject, memory: bool) -> ErasedScopes {
    let scopes = Scopes::new(Chosen { vault: true, memory, feedback: !memory, ..Default::default() }).unwrap();
    let objects = StoredObjects::Of(vec!["u".to_owned()]);
    match world.repository().erase_scopes(subject, scopes, &Terms::default(), &objects).await.unwrap() {
        Accepted::Now(erased) => erased,
        _ => panic!("it was accepted before"),
    }
}

async fn two_erasures_of_one_file_count_it_once_and_no_export_shows_it_beside_what_either_took(world: World) {
    let mut client = world.client().await;
    for case in 0..8 {
        // Which of them is settled first, and whether each could remove the file.
        let [first_is_later, first_removes, last_removes] = [case & 1 != 0, case & 2 != 0, case & 4 != 0];
        let user_token = format!("user {case}");
        let mut document = UserDocument::new(&user_token);
        document.uploads = vec![records::upload("u", 4)];
        document.contents = [("u".to_owned(), vec![1; 4])].into();
        document.memories = vec![records::memory(Some("m"), 1)];
        document.feedback = vec![records::feedback("f", 1)];
        assert_eq!(client.import(document.into_requests().collect()).await.unwrap().rejected, 0);
        let subject = Subject::of_accepted_erasure(ApplicationId::parse(ACME).unwrap(), UserToken::parse(user_token.clone()).unwrap());

        let mut erasures = [accept(&world, &subject, true).await, accept(&world, &subject, false).await];
        if first_is_later {
            erasures.reverse();
        }
        let settle = async |erased: &ErasedScopes, removes: bool| {
            let failure = UploadFailure { upload_id: "u".to_owned(), error: "a fault".to_owned() };
            let removals = match removes {
                true => Removals { removed: vec!["u".to_owned()], failed: Vec::new() },
                false => Removals { removed: Vec::new(), failed: vec![failure] },
            };
            world.repository().finish_erasure(&subject, erased, &removals, u64::from(!removes), None).await.unwrap()
        };
        let shown = async || {
            let mut stream = world.client().await.users.export_user_data(with_content(&user_token)).await.unwrap().into_inner();
            let mut uploads = 0;
            while let Some(response) = stream.message().await.unwrap() {
                uploads += response.uploads.len();
            }
            uploads
        };
        let first = settle(&erasures[0], first_removes).await;
        assert_eq!(shown().await, 0, "{case}: it is shown while the other erasure is at it");
        let last = settle(&erasures[1], last_removes).await;
        let is_gone = first_removes || last_removes;
        assert_eq!(first.uploads + last.uploads, u64::from(is_gone), "{case}");
        assert_eq!(last.uploads_failed.len(), usize::from(!is_gone), "{case}");
        if !is_gone {
            let number = world.subject_id(ACME, &user_token).await;
            let shown_again = format!("SELECT id FROM uploads WHERE removal_error IS NOT NULL AND subject_id = {number}");
            assert_eq!(world.query(&shown_again).await.len(), 1, "{case}");
        }
    }
}
