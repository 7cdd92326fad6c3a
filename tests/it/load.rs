//! More than there is room for: who is refused, how soon, and who is not held up by it.

use std::{
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::{Buf, BytesMut};
use h2::RecvStream;
use prost::Message;
use sea_orm::{ConnectionTrait, TransactionTrait};
use tokio::time::{Instant, timeout};
use tonic::{Code, Status, metadata::MetadataMap, transport::Channel};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_types::StatusExt;
use userdata::{
    domain::principal::Permission,
    grpc::proto::{ExportUserDataRequest, ExportUserDataResponse, ImportUserDataRequest, Memory, Upload},
    repository::Engine,
};

use crate::{
    credentials::key_headers,
    deadline::{EXPORT, IMPORT, RawCall, connect, import_anna},
    lifecycle::all_healths_are,
    on_both_engines, records,
    rpc::{Rpc, assert_reason},
    world::{ACME, OTHER, World, eventually},
};

on_both_engines!(
    an_export_beyond_the_limit_is_refused_at_once_until_another_client_is_gone,
    a_call_beyond_the_limit_is_refused_at_once_and_health_never,
    who_calls_too_often_is_told_when_to_call_again_and_others_are_not,
    an_application_that_floods_the_server_does_not_hold_up_another,
    a_reader_below_the_floor_is_told_to_resume_and_gets_the_same_bytes,
    the_end_of_an_export_that_nobody_reads_holds_its_place_until_it_is_cut,
    a_client_that_takes_nothing_is_cut_and_its_connection_is_not,
    a_client_that_takes_nothing_is_cut_after_its_deadline_whatever_the_floor,
    the_answer_to_an_import_that_nobody_reads_holds_its_place,
    an_unfinished_import_holds_its_bytes_until_its_client_is_gone,
    an_import_that_goes_on_holds_as_much_as_its_largest_request_and_the_content_it_has_begun,
);

/// What frames one at a time do not fit into.
const SMALL_WINDOW: u32 = 1024;
const WINDOW: u32 = 65_535;

fn anna() -> ExportUserDataRequest {
    ExportUserDataRequest { user_token: "anna".into(), ..Default::default() }
}

/// Asserts that a call was refused for this reason, and told when to try again.
fn assert_refused(refused: &Status, code: Code, reason: &str) {
    assert_reason(refused, code, reason);
    let after = refused.get_details_retry_info().and_then(|info| info.retry_delay);
    assert!(after.is_some_and(|after| after <= Duration::from_secs(1)), "{refused:?}");
}

fn keys(world: &World) -> (MetadataMap, MetadataMap) {
    (key_headers(ACME, world.key(ACME)), key_headers(OTHER, world.key(OTHER)))
}

/// The head of an export whose client takes nothing of it.
async fn unread_export(world: &World) -> (RawCall, RecvStream) {
    unread_export_until(world, None).await
}

async fn unread_export_until(world: &World, grpc_timeout: Option<&str>) -> (RawCall, RecvStream) {
    let client = connect(world, SMALL_WINDOW).await;
    let mut call = RawCall::begin_on(client, world, ACME, EXPORT, grpc_timeout).await;
    call.send(&anna(), true);
    let body = (&mut call.response).await.unwrap().into_body();
    (call, body)
}

async fn an_export_beyond_the_limit_is_refused_at_once_until_another_client_is_gone(mut world: World) {
    import_anna(&world, 100_000).await;
    (world.config.limits.max_exports, world.config.limits.max_exports_per_application) = (1, 1);
    world.restart().await;
    let (channel, (acme, other)) = (world.channel().await, keys(&world));
    let unread = unread_export(&world).await;

    let refused = Rpc::Export.call(&channel, &acme, "anna").await.unwrap_err();
    assert_refused(&refused, Code::ResourceExhausted, "ERROR_REASON_LIMIT_EXCEEDED");
    let refused = Rpc::Export.call(&channel, &other, "anna").await.unwrap_err();
    assert_refused(&refused, Code::Unavailable, "ERROR_REASON_OVERLOADED");
    Rpc::ErasureStatus.call(&channel, &acme, "anna").await.unwrap();

    drop(unread);
    eventually("there is room again", async || Rpc::Export.call(&channel, &other, "anna").await.is_ok()).await;
    eventually("and for the application", async || Rpc::Export.call(&channel, &acme, "anna").await.is_ok()).await;
}

async fn a_call_beyond_the_limit_is_refused_at_once_and_health_never(mut world: World) {
    (world.config.limits.max_calls, world.config.limits.max_calls_per_application) = (1, 1);
    world.restart().await;
    let (channel, (acme, other)) = (world.channel().await, keys(&world));
    let (mut silent, mut probes) = (None, 0);
    eventually("the import runs", async || {
        // Where a probe has the only place when the import comes, that is refused, and another has to come.
        if probes % 50 == 0 {
            silent = Some(RawCall::begin_on(connect(&world, WINDOW).await, &world, ACME, IMPORT, None).await);
        }
        probes += 1;
        Rpc::ErasureStatus.call(&channel, &acme, "anna").await.is_err()
    })
    .await;
    for rpc in Rpc::ALL {
        let refused = rpc.call(&channel, &acme, "anna").await.unwrap_err();
        assert_refused(&refused, Code::ResourceExhausted, "ERROR_REASON_LIMIT_EXCEEDED");
        let refused = rpc.call(&channel, &other, "anna").await.unwrap_err();
        assert_refused(&refused, Code::Unavailable, "ERROR_REASON_OVERLOADED");
    }
    assert!(all_healths_are(&channel, ServingStatus::Serving).await);

    drop(silent);
    eventually("there is room again", async || Rpc::ErasureStatus.call(&channel, &other, "anna").await.is_ok()).await;
}

/// Calls until a call is refused.
async fn call_until_refused(channel: &Channel, keys: &[&MetadataMap]) -> Status {
    for key in keys.iter().cycle().take(1_000) {
        if let Err(refused) = Rpc::ErasureStatus.call(channel, key, "anna").await {
            return refused;
        }
    }
    panic!("a thousand calls in a row were let in");
}

async fn who_calls_too_often_is_told_when_to_call_again_and_others_are_not(mut world: World) {
    let second = world.insert_key(ACME, Permission::ALL.into_iter().collect()).await;
    let second = key_headers(ACME, &second);
    let (acme, other) = keys(&world);
    let limits = &mut world.config.limits;
    (limits.rate_per_key, limits.rate_per_application) = (NonZeroU32::new(1), None);
    world.restart().await;
    let channel = world.channel().await;
    let refused = call_until_refused(&channel, &[&acme]).await;
    assert_refused(&refused, Code::ResourceExhausted, "ERROR_REASON_LIMIT_EXCEEDED");
    assert!(refused.message().contains("key"), "{refused:?}");
    Rpc::ErasureStatus.call(&channel, &second, "anna").await.unwrap();
    eventually("it may call again", async || Rpc::ErasureStatus.call(&channel, &acme, "anna").await.is_ok()).await;

    let limits = &mut world.config.limits;
    (limits.rate_per_key, limits.rate_per_application) = (None, NonZeroU32::new(1));
    world.restart().await;
    let channel = world.channel().await;
    let refused = call_until_refused(&channel, &[&acme, &second]).await;
    assert_refused(&refused, Code::ResourceExhausted, "ERROR_REASON_LIMIT_EXCEEDED");
    assert!(refused.message().contains("application"), "{refused:?}");
    Rpc::ErasureStatus.call(&channel, &other, "anna").await.unwrap();
}

async fn an_application_that_floods_the_server_does_not_hold_up_another(mut world: World) {
    const FLOOD: u32 = 40;
    import_anna(&world, 10).await;
    (world.config.limits.max_calls, world.config.limits.max_calls_per_application) = (FLOOD + 1, FLOOD);
    world.restart().await;
    let (channel, (acme, other)) = (world.channel().await, keys(&world));
    let in_the_way = world.database.begin().await.unwrap();
    in_the_way.execute_unprepared("UPDATE subjects SET epoch = epoch").await.unwrap();

    let done = Arc::new(AtomicUsize::new(0));
    for _ in 0..FLOOD {
        let (channel, acme, done) = (channel.clone(), acme.clone(), Arc::clone(&done));
        tokio::spawn(async move {
            // A flood does not mind being refused.
            while Rpc::DeleteMessages.call(&channel, &acme, "anna").await.is_err() {}
            done.fetch_add(1, Ordering::Relaxed);
        });
    }
    let refused = async |key| Rpc::ErasureStatus.call(&channel, key, "anna").await.is_err();
    eventually("the whole flood is in", async || refused(&acme).await).await;
    let of_other = tokio::spawn({
        let (channel, other, done) = (channel.clone(), other.clone(), Arc::clone(&done));
        // The place that the server has left may be that of the question whether it has one.
        let overloaded = |status: &Status| status.get_details_error_info().unwrap().reason == "ERROR_REASON_OVERLOADED";
        async move {
            loop {
                match Rpc::DeleteMessages.call(&channel, &other, "berta").await {
                    Err(status) if overloaded(&status) => {}
                    outcome => return outcome.map(|()| done.load(Ordering::Relaxed)),
                }
            }
        }
    });
    match world.engine {
        // Nothing of its own is in the way.
        Engine::Postgres => eventually("the other's call is answered", async || of_other.is_finished()).await,
        Engine::Sqlite => eventually("the other's call is in", async || refused(&other).await).await,
    }
    in_the_way.rollback().await.unwrap();
    let done = of_other.await.unwrap().unwrap();
    // In turn, it would come after nearly all. A busy machine may be slow to tell that it came.
    assert!(done < FLOOD as usize * 3 / 4, "the other's call came after {done} of {FLOOD}");
}

/// The responses that are whole in what was received.
fn responses(mut received: BytesMut) -> Vec<ExportUserDataResponse> {
    let mut responses = Vec::new();
    while received.len() >= 5 {
        assert_eq!(received.get_u8(), 0);
        let length = received.get_u32() as usize;
        responses.push(ExportUserDataResponse::decode(received.split_to(length)).unwrap());
    }
    assert!(received.is_empty(), "the stream ended within a message");
    responses
}

async fn a_reader_below_the_floor_is_told_to_resume_and_gets_the_same_bytes(mut world: World) {
    import_anna(&world, 200_000).await;
    let whole = world.client().await.export("anna").await;
    let usual = world.config.limits.clone();
    // On a machine that is busy it takes longer to read a little.
    for window in [500, 2_000, 8_000].map(Duration::from_millis) {
        (world.config.limits.min_read_rate, world.config.limits.min_read_window) = (u32::MAX, window);
        world.restart().await;
        let mut call = RawCall::begin_on(connect(&world, WINDOW).await, &world, ACME, EXPORT, None).await;
        call.send(&anna(), true);
        let mut body = call.response.await.unwrap().into_body();
        let (mut received, mut slowly) = (BytesMut::new(), true);
        let trailers = loop {
            match body.data().await {
                Some(Ok(data)) => {
                    received.extend_from_slice(&data);
                    if std::mem::take(&mut slowly) {
                        let slow_until = Instant::now() + window + window / 4;
                        eventually("it was slow enough", async || Instant::now() > slow_until).await;
                    }
                    body.flow_control().release_capacity(data.len()).unwrap();
                }
                // So slow that it could not be told.
                Some(Err(_)) => break None,
                None => break body.trailers().await.unwrap(),
            }
        };
        let Some(trailers) = trailers else { continue };
        assert_refused(&Status::from_header_map(&trailers).unwrap(), Code::ResourceExhausted, "ERROR_REASON_READ_TOO_SLOWLY");

        let mut responses = responses(received);
        assert!(!responses.is_empty() && responses.len() < whole.len(), "{} of {}", responses.len(), whole.len());
        world.config.limits = usual;
        world.restart().await;
        let resume_token = responses.last().unwrap().resume_token.clone();
        let rest = ExportUserDataRequest { resume_token, ..anna() };
        responses.extend(world.client().await.export_responses(rest).await.unwrap());
        // Only the time for which the summary stands is another.
        let bytes =
            |responses: Vec<ExportUserDataResponse>| responses.into_iter().map(|response| (response.conversations, response.summary));
        for ((records, summary), (expected, whole)) in bytes(responses.clone()).zip(bytes(whole.clone())) {
            assert!(records == expected, "other records came");
            let digest = |summary: Option<userdata::grpc::proto::ExportSummary>| summary.map(|summary| (summary.sha256, summary.bytes));
            assert_eq!(digest(summary), digest(whole));
        }
        assert_eq!(responses.len(), whole.len());
        return;
    }
    panic!("the slow reader was never told anything");
}

async fn the_end_of_an_export_that_nobody_reads_holds_its_place_until_it_is_cut(mut world: World) {
    // Less than is given out at once.
    import_anna(&world, 2_000).await;
    (world.config.limits.max_exports, world.config.limits.max_exports_per_application) = (1, 1);
    world.restart().await;
    let (channel, (acme, other)) = (world.channel().await, keys(&world));
    let unread = unread_export(&world).await;
    for _ in 0..20 {
        let refused = Rpc::Export.call(&channel, &other, "anna").await.expect_err("the place of an unread export is given away");
        assert_refused(&refused, Code::Unavailable, "ERROR_REASON_OVERLOADED");
    }
    drop(unread);
    eventually("there is room again", async || Rpc::Export.call(&channel, &other, "anna").await.is_ok()).await;

    let limits = &mut world.config.limits;
    (limits.min_read_rate, limits.min_read_window) = (u32::MAX, Duration::from_millis(500));
    world.restart().await;
    let channel = world.channel().await;
    let (_call, mut body) = unread_export(&world).await;
    assert_is_cut(&mut body).await;
    Rpc::Export.call(&channel, &acme, "anna").await.unwrap();
}

async fn a_client_that_takes_nothing_is_cut_and_its_connection_is_not(mut world: World) {
    import_anna(&world, 100_000).await;
    let limits = &mut world.config.limits;
    (limits.min_read_rate, limits.min_read_window) = (u32::MAX, Duration::from_millis(500));
    (limits.max_exports, limits.max_exports_per_application) = (1, 1);
    world.restart().await;
    let client = connect(&world, SMALL_WINDOW).await;
    let mut call = RawCall::begin_on(client.clone(), &world, ACME, EXPORT, None).await;
    call.send(&anna(), true);
    let mut body = call.response.await.unwrap().into_body();
    assert_is_cut(&mut body).await;

    let mut unknown = RawCall::begin_on(client, &world, OTHER, EXPORT, None).await;
    unknown.send(&anna(), true);
    let mut body = unknown.response.await.unwrap().into_body();
    while let Some(data) = body.data().await {
        body.flow_control().release_capacity(data.unwrap().len()).unwrap();
    }
    assert_eq!(body.trailers().await.unwrap().unwrap()["grpc-status"], "0");
}

async fn a_client_that_takes_nothing_is_cut_after_its_deadline_whatever_the_floor(mut world: World) {
    import_anna(&world, 100_000).await;
    let limits = &mut world.config.limits;
    (limits.min_read_rate, limits.max_exports, limits.max_exports_per_application) = (0, 1, 1);
    world.restart().await;
    let (_call, mut body) = unread_export_until(&world, Some("1S")).await;
    assert_is_cut(&mut body).await;
    let (channel, (acme, _)) = (world.channel().await, keys(&world));
    Rpc::Export.call(&channel, &acme, "nobody").await.unwrap();
}

async fn the_answer_to_an_import_that_nobody_reads_holds_its_place(mut world: World) {
    (world.config.limits.max_calls, world.config.limits.max_calls_per_application) = (1, 1);
    world.restart().await;
    let (channel, (_, other)) = (world.channel().await, keys(&world));
    let mut import = RawCall::begin_on(connect(&world, SMALL_WINDOW).await, &world, ACME, IMPORT, None).await;
    // None of them is good, and that fills more than is given out at once.
    import.send(&ImportUserDataRequest { user_token: "anna".into(), memories: vec![Memory::default(); 1_000], ..Default::default() }, true);
    let unread = (&mut import.response).await.unwrap();
    for _ in 0..20 {
        let refused = Rpc::ErasureStatus.call(&channel, &other, "anna").await.expect_err("the place of an unread answer is given away");
        assert_refused(&refused, Code::Unavailable, "ERROR_REASON_OVERLOADED");
    }
    drop((unread, import));
    eventually("there is room again", async || Rpc::ErasureStatus.call(&channel, &other, "anna").await.is_ok()).await;
}

async fn an_unfinished_import_holds_its_bytes_until_its_client_is_gone(mut world: World) {
    const KIB: usize = 1024;
    let limits = &mut world.config.limits;
    (limits.max_import_bytes, limits.max_import_bytes_per_application) = (1_000 * 1024, 800 * 1024);
    world.restart().await;
    let (channel, (acme, _)) = (world.channel().await, keys(&world));
    let request = |bytes| {
        let text = "x".repeat(bytes);
        ImportUserDataRequest { user_token: "anna".into(), memories: vec![Memory { text, ..Default::default() }], ..Default::default() }
    };
    let (mut client, mut other) = (world.client().await, world.client_of(OTHER).await);
    // What was dealt with counts no more.
    client.import(vec![request(300 * KIB); 5]).await.unwrap();

    let mut bytes = BytesMut::from([&[0][..], &u32::to_be_bytes(2 << 20)].concat().as_slice());
    bytes.resize(600 * KIB, 0);
    let bytes = bytes.freeze();
    let (mut unfinished, mut refused) = (None, None);
    eventually("the application has its share", async || {
        // Where its last bytes come too late it is the one that is refused, and another has to come.
        let call = unfinished.insert(RawCall::begin_on(connect(&world, WINDOW).await, &world, ACME, IMPORT, None).await);
        call.requests.send_data(bytes.clone(), false).unwrap();
        call.requests.reserve_capacity(128 * KIB);
        eventually("most of it is there", async || call.requests.capacity() >= 128 * KIB).await;
        refused = client.import(vec![request(400 * KIB)]).await.err();
        refused.is_some()
    })
    .await;
    assert_refused(&refused.unwrap(), Code::ResourceExhausted, "ERROR_REASON_LIMIT_EXCEEDED");
    let refused = other.import(vec![request(500 * KIB)]).await.unwrap_err();
    assert_refused(&refused, Code::Unavailable, "ERROR_REASON_OVERLOADED");
    // Less fits in, and all that is no import.
    other.import(vec![request(300 * KIB)]).await.unwrap();
    Rpc::Import.call(&channel, &acme, "anna").await.unwrap();
    Rpc::Export.call(&channel, &acme, "anna").await.unwrap();

    drop(unfinished);
    eventually("there is room again", async || client.import(vec![request(700 * KIB)]).await.is_ok()).await;
}

async fn an_import_that_goes_on_holds_as_much_as_its_largest_request_and_the_content_it_has_begun(mut world: World) {
    const KIB: usize = 1024;
    let limits = &mut world.config.limits;
    (limits.max_import_bytes, limits.max_import_bytes_per_application) = (10_000 * 1024, 800 * 1024);
    world.restart().await;
    let mut client = world.client().await;
    let about = |user: &str| ImportUserDataRequest { user_token: user.into(), ..Default::default() };
    let large = |user: &str, bytes| ImportUserDataRequest {
        memories: vec![Memory { text: "x".repeat(bytes), ..records::memory(Some("m"), 1) }],
        ..about(user)
    };
    let imported = async |user: &str, table: &str| {
        let sql = format!("SELECT 1 FROM {table} JOIN subjects ON subjects.id = subject_id WHERE user_token = '{user}'");
        eventually("it is imported", async || !world.query(&sql).await.is_empty()).await;
    };

    let mut first = RawCall::begin_on(connect(&world, WINDOW).await, &world, ACME, IMPORT, None).await;
    first.send(&large("anna", 500 * KIB), false);
    first.send(&ImportUserDataRequest { sessions: vec![records::session("s", 1)], ..about("anna") }, false);
    imported("anna", "sessions").await;
    let refused = client.import(vec![large("boris", 400 * KIB)]).await.unwrap_err();
    assert_refused(&refused, Code::ResourceExhausted, "ERROR_REASON_LIMIT_EXCEEDED");
    drop(first);
    eventually("there is room again", async || client.import(vec![large("boris", 400 * KIB)]).await.is_ok()).await;

    let mut second = RawCall::begin_on(connect(&world, WINDOW).await, &world, ACME, IMPORT, None).await;
    let upload = Upload { size_bytes: 10 << 20, ..records::upload("u", 0) };
    second.send(&ImportUserDataRequest { uploads: vec![upload], ..about("clara") }, false);
    for piece in 0..3 {
        let upload_contents = vec![records::content("u", piece * 150 * KIB, 150 * KIB)];
        second.send(&ImportUserDataRequest { upload_contents, ..about("clara") }, false);
    }
    second.send(&ImportUserDataRequest { sessions: vec![records::session("s", 1)], ..about("clara") }, false);
    imported("clara", "sessions").await;
    let refused = client.import(vec![large("boris", 400 * KIB)]).await.unwrap_err();
    assert_refused(&refused, Code::ResourceExhausted, "ERROR_REASON_LIMIT_EXCEEDED");
    // Content that is out of order is given up.
    second.send(&ImportUserDataRequest { upload_contents: vec![records::content("u", 1, 1)], ..about("clara") }, false);
    eventually("there is room again", async || client.import(vec![large("boris", 400 * KIB)]).await.is_ok()).await;
}

/// Asserts that a stream ends by a reset though its client gives back nothing of the window.
async fn assert_is_cut(body: &mut RecvStream) {
    let ended = async {
        loop {
            match body.data().await {
                Some(Ok(_)) => {}
                Some(Err(error)) => break error,
                None => panic!("the stream ended as if all had been read"),
            }
        }
    };
    let error = timeout(Duration::from_secs(60), ended).await.expect("the stream is not cut");
    assert_eq!(error.reason(), Some(h2::Reason::CANCEL), "{error:?}");
}
