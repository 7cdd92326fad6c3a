//! Calls for the same user that overlap, and requests whose numbers or amounts are extreme.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::future::join_all;
use sea_orm::{ConnectionTrait, DatabaseTransaction, TransactionTrait};
use tokio::time::timeout;
use tonic::Code;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_types::StatusExt;
use userdata::{
    domain::{
        limits::MAX_ELEMENTS,
        subject::ApplicationId,
        timestamp::{Clock, Timestamp},
    },
    grpc::proto::{
        Conversation, ExportUserDataRequest, ImportUserDataRequest, MessagePart, ScopedDeleteRequest, TextPart, message_part::Part,
    },
    repository::Engine,
};

use crate::{
    credentials::key_headers,
    lifecycle::all_healths_are,
    on_both_engines_and_walled, records,
    rpc::{Rpc, assert_reason},
    world::{ACME, OTHER, World, eventually},
};

on_both_engines_and_walled!(
    an_import_beside_an_export_takes_nothing_from_it,
    sizes_beyond_all_bounds_are_summed_up_to_the_bound,
    as_many_unknown_conversations_as_a_request_holds_are_rejected_one_by_one,
);

fn request(conversations: Vec<Conversation>) -> ImportUserDataRequest {
    ImportUserDataRequest { user_token: "anna".to_owned(), conversations, ..Default::default() }
}

/// A conversation with ten messages of about 12 KiB.
fn long_conversation(number: i32) -> Conversation {
    let id = format!("c-{number}");
    let mut conversation = records::conversation(&id, 0);
    conversation.created_at = records::at(1_000 * number);
    for index in 0..10 {
        let mut message = records::message(&format!("{id}-{index}"), &id, index);
        let text = TextPart { text: "word ".repeat(2_500) };
        message.parts = vec![MessagePart { part: Some(Part::Text(text)) }];
        conversation.messages.push(message);
    }
    conversation
}

async fn an_import_beside_an_export_takes_nothing_from_it(world: World) {
    let mut client = world.client().await;
    let even = (0..40).map(|number| 2 * number);
    let outcome = client.import(even.clone().map(|number| request(vec![long_conversation(number)])).collect()).await.unwrap();
    assert_eq!(outcome.rejected, 0, "{:?}", outcome.rejections);

    let wanted = ExportUserDataRequest { user_token: "anna".to_owned(), ..Default::default() };
    let mut export = client.clone().users.export_user_data(wanted).await.unwrap().into_inner();
    let mut responses = vec![export.message().await.unwrap().unwrap()];
    // Between those that the export has read the heads of, and has not come to yet.
    let outcome = client.import(vec![request(vec![long_conversation(41), long_conversation(61)])]).await.unwrap();
    assert_eq!(outcome.rejected, 0);
    while let Some(response) = export.message().await.unwrap() {
        responses.push(response);
    }

    assert!(responses.len() > 10 && responses.last().unwrap().summary.is_some());
    let messages: Vec<&str> = responses
        .iter()
        .flat_map(|response| &response.conversations)
        .flat_map(|conversation| conversation.messages.iter().map(|message| message.id.as_str()))
        .collect();
    for number in even {
        for index in 0..10 {
            let id = format!("c-{number}-{index}");
            assert_eq!(messages.iter().filter(|found| **found == id).count(), 1, "{id}");
        }
    }
}

async fn sizes_beyond_all_bounds_are_summed_up_to_the_bound(world: World) {
    let mut client = world.client().await;
    let mut uploads = vec![records::upload("u-1", 1), records::upload("u-2", 2)];
    for upload in &mut uploads {
        upload.size_bytes = i64::MAX;
        upload.institution_id = None;
    }
    let sent = ImportUserDataRequest { user_token: "anna".to_owned(), uploads, ..Default::default() };
    assert_eq!(client.import(vec![sent]).await.unwrap().rejected, 0);
    let vault = ScopedDeleteRequest { user_token: "anna".to_owned(), vault: true, ..Default::default() };
    let report = client.users.scoped_delete(vault).await.unwrap().into_inner();
    assert_eq!((report.uploads_deleted, report.bytes_freed), (2, i64::MAX));
    assert!(world.subject_id(ACME, "anna").await > 0);
}

async fn as_many_unknown_conversations_as_a_request_holds_are_rejected_one_by_one(world: World) {
    let mut client = world.client().await;
    let continuations = (0..MAX_ELEMENTS).map(|number| Conversation { id: number.to_string(), ..Default::default() }).collect();
    let outcome = client.import(vec![request(continuations)]).await.unwrap();
    assert_eq!((outcome.rejected as usize, outcome.rejections.len()), (MAX_ELEMENTS, 1_000));
    assert!(world.all_rows().await["conversations"].is_empty());
}

/// Holds the lock on `anna` until it is dropped, as a call would.
async fn lock_of_anna(world: &World) -> DatabaseTransaction {
    let imported = world.client().await.import(vec![request(vec![long_conversation(1)])]).await.unwrap();
    assert_eq!(imported.rejected, 0);
    let lock = world.database.begin().await.unwrap();
    lock.execute_unprepared("SELECT id FROM subjects WHERE user_token = 'anna' FOR UPDATE").await.unwrap();
    lock
}

#[tokio::test(flavor = "multi_thread")]
async fn on_postgres_calls_that_wait_for_one_user_hold_up_neither_health_nor_revocation_nor_exports_nor_other_applications() {
    let world = World::start_with(Engine::Postgres, |config| config.storage.database_max_connections = 8).await;
    let (channel, key, mut other) = (world.channel().await, key_headers(ACME, world.key(ACME)), world.client_of(OTHER).await);
    let lock = lock_of_anna(&world).await;
    // One half reads, and of the other half of them an application leaves one to others.
    let connections = world.config.storage.database_max_connections as usize / 2 - 1;
    let waiting = (0..connections).map(|_| {
        let (channel, key) = (channel.clone(), key.clone());
        tokio::spawn(async move { Rpc::DeleteMessages.call(&channel, &key, "anna").await })
    });
    let waiting: Vec<_> = waiting.collect();
    let waits = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    eventually("every connection that the application may write with waits", async || world.query(waits).await.len() == connections).await;

    // This takes as long as a call waits for a connection: longer than health and keys may be without.
    let refused = Rpc::DeleteMessages.call(&channel, &key, "berta").await.unwrap_err();
    assert_reason(&refused, Code::Unavailable, "ERROR_REASON_DATABASE_UNAVAILABLE");
    Rpc::Export.call(&channel, &key, "berta").await.unwrap();
    Rpc::Import.call(&channel, &key_headers(OTHER, world.key(OTHER)), "anna").await.unwrap();
    assert!(all_healths_are(&channel, ServingStatus::Serving).await);
    // A call that needs no connection.
    let no_scope = ScopedDeleteRequest { user_token: "berta".to_owned(), ..Default::default() };
    assert_eq!(other.users.scoped_delete(no_scope.clone()).await.unwrap_err().code(), Code::InvalidArgument);
    let keys = world.repository().list_api_keys(Some(&ApplicationId::parse(OTHER).unwrap())).await.unwrap().keys;
    assert!(world.repository().revoke_api_key(&keys[0].id, Timestamp(1)).await.unwrap());
    eventually("the revoked key is refused", async || match other.users.scoped_delete(no_scope.clone()).await.unwrap_err().code() {
        Code::Unauthenticated => true,
        code => {
            assert_eq!(code, Code::InvalidArgument);
            false
        }
    })
    .await;

    lock.rollback().await.unwrap();
    for outcome in join_all(waiting).await {
        outcome.unwrap().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn on_postgres_an_export_stands_for_a_time_before_it_has_read_anything() {
    let world = World::start(Engine::Postgres).await;
    let mut client = world.client().await;
    client.import(vec![request(vec![long_conversation(0)])]).await.unwrap();
    let lock = world.database.begin().await.unwrap();
    lock.execute_unprepared("LOCK TABLE memories IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let export = tokio::spawn(async move { client.export("anna").await });
    let waits = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    eventually("it begins to read", async || !world.query(waits).await.is_empty()).await;
    let Timestamp(begun) = Clock::default().now();
    lock.rollback().await.unwrap();
    let as_of = export.await.unwrap().last().unwrap().summary.as_ref().unwrap().as_of.unwrap();
    assert!(Timestamp::from_parts(as_of.seconds, as_of.nanos).unwrap().0 < begun);
}

#[tokio::test(flavor = "multi_thread")]
async fn on_postgres_calls_that_leave_while_they_wait_for_one_user_do_not_take_the_connections_of_others() {
    const FLOOD: usize = 16;
    let world = World::start_with(Engine::Postgres, |config| config.storage.database_max_connections = 8).await;
    let (channel, mut hurried, other) = (world.channel().await, key_headers(ACME, world.key(ACME)), key_headers(OTHER, world.key(OTHER)));
    hurried.insert("grpc-timeout", "100m".parse().unwrap());
    let lock = lock_of_anna(&world).await;
    let left = Arc::new(AtomicUsize::new(0));
    let flood = (0..FLOOD).map(|_| {
        let (channel, hurried, left) = (channel.clone(), hurried.clone(), Arc::clone(&left));
        tokio::spawn(async move {
            while Rpc::DeleteMessages.call(&channel, &hurried, "anna").await.is_err() {
                left.fetch_add(1, Ordering::Relaxed);
            }
        })
    });
    let flood: Vec<_> = flood.collect();
    eventually("many have left", async || left.load(Ordering::Relaxed) > 5 * FLOOD).await;
    // The connection of one that has left comes back after a second or two.
    let calls = async {
        for _ in 0..10 {
            Rpc::Import.call(&channel, &other, "berta").await.unwrap();
        }
    };
    timeout(Duration::from_secs(3), calls).await.expect("calls of another application wait for connections");
    for caller in flood {
        caller.abort();
    }
    lock.rollback().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn on_postgres_a_call_whose_user_stays_locked_is_aborted() {
    let mut world = World::start(Engine::Postgres).await;
    let url = format!("{}?options=-c%20lock_timeout%3D50ms", world.database_url);
    world.config.storage.database = url.parse().unwrap();
    world.restart().await;
    let (channel, key) = (world.channel().await, key_headers(ACME, world.key(ACME)));
    let lock = lock_of_anna(&world).await;
    let anna = world.subject_id(ACME, "anna").await;
    let before = world.rows_of(anna).await;
    let calls = [Rpc::DeleteMessages, Rpc::ScopedDelete, Rpc::Import];
    for rpc in calls {
        let aborted = rpc.call(&channel, &key, "anna").await.unwrap_err();
        assert_reason(&aborted, Code::Aborted, "ERROR_REASON_CONFLICT");
        assert!(aborted.get_details_retry_info().unwrap().retry_delay.is_some(), "{rpc:?}");
        rpc.call(&channel, &key, "berta").await.unwrap();
    }
    assert_eq!(world.rows_of(anna).await, before);
    lock.rollback().await.unwrap();
    for rpc in calls {
        rpc.call(&channel, &key, "anna").await.unwrap();
    }
}
