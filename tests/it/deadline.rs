//! The caller's deadline, seen from the wire: tonic's own client answers itself before the server can.

use std::{net::SocketAddr, time::Duration};

use bytes::{BufMut, Bytes, BytesMut};
use h2::{RecvStream, SendStream, client};
use http::{HeaderMap, Request};
use prost::Message;
use sea_orm::{ConnectionTrait, TransactionTrait};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy},
    net::{TcpListener, TcpStream},
    sync::watch,
    time::{Instant, timeout},
};
use tonic::{Code, Status};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use userdata::{
    grpc::proto::{
        Conversation, DeleteUserMessagesRequest, ExportUserDataRequest, ImportUserDataRequest, MessagePart, TextPart, message_part::Part,
    },
    repository::Engine,
};

use crate::{
    on_both_engines, records,
    rpc::assert_reason,
    world::{ACME, World, eventually},
};

on_both_engines!(
    a_delete_that_waits_past_its_deadline_is_told_so_and_changes_nothing,
    an_import_whose_client_falls_silent_ends_at_its_deadline,
    an_export_ends_at_its_deadline_in_the_midst_of_its_stream,
    a_call_that_names_no_deadline_or_a_late_one_ends_at_the_servers,
);

pub(crate) const EXPORT: &str = "userdata.v1.UserDataService/ExportUserData";
pub(crate) const DELETE_MESSAGES: &str = "userdata.v1.UserDataService/DeleteUserMessages";
pub(crate) const IMPORT: &str = "userdata.v1.ImportService/ImportUserData";

const REFLECTION: &str = "grpc.reflection.v1.ServerReflection/ServerReflectionInfo";

/// A connection of a client that gives each stream so much of a window.
pub(crate) async fn connect(world: &World, window: u32) -> client::SendRequest<Bytes> {
    let socket = TcpStream::connect(world.address).await.unwrap();
    let (client, connection) = client::Builder::new().initial_window_size(window).handshake(socket).await.unwrap();
    tokio::spawn(connection);
    client
}

/// A call as it is on the wire.
pub(crate) struct RawCall {
    pub(crate) requests: SendStream<Bytes>,
    pub(crate) response: client::ResponseFuture,
}

impl RawCall {
    /// Begins a call of `ACME` on a connection of its own.
    pub(crate) async fn begin(world: &World, method: &str, grpc_timeout: &str) -> Self {
        Self::begin_on(connect(world, 65_535).await, world, ACME, method, Some(grpc_timeout)).await
    }

    /// The same on a connection that is there.
    pub(crate) async fn on(client: client::SendRequest<Bytes>, world: &World, method: &str, grpc_timeout: &str) -> Self {
        Self::begin_on(client, world, ACME, method, Some(grpc_timeout)).await
    }

    /// Begins a call.
    pub(crate) async fn begin_on(
        client: client::SendRequest<Bytes>,
        world: &World,
        application: &'static str,
        method: &str,
        grpc_timeout: Option<&str>,
    ) -> Self {
        let mut request = Request::post(format!("http://{}/{method}", world.address))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .header("x-application-id", application)
            .header("x-api-key", world.key(application));
        if let Some(timeout) = grpc_timeout {
            request = request.header("grpc-timeout", timeout);
        }
        let (response, requests) = client.ready().await.unwrap().send_request(request.body(()).unwrap(), false).unwrap();
        Self { requests, response }
    }

    pub(crate) fn send(&mut self, message: &impl Message, is_last: bool) {
        let mut framed = BytesMut::new();
        framed.put_u8(0);
        framed.put_u32(u32::try_from(message.encoded_len()).unwrap());
        message.encode(&mut framed).unwrap();
        self.requests.send_data(framed.freeze(), is_last).unwrap();
    }
}

/// The status that a call ends with.
pub(crate) async fn status_of(response: client::ResponseFuture) -> Status {
    let (head, mut body) = response.await.unwrap().into_parts();
    ending(&head.headers, &mut body).await.0
}

/// How a call ended, and how many bytes it gave before.
pub(crate) async fn ending(headers: &HeaderMap, body: &mut RecvStream) -> (Status, usize) {
    let mut bytes = 0;
    while let Some(data) = body.data().await {
        let data = data.unwrap();
        bytes += data.len();
        body.flow_control().release_capacity(data.len()).unwrap();
    }
    let trailers = body.trailers().await.unwrap();
    (Status::from_header_map(trailers.as_ref().unwrap_or(headers)).expect("a status"), bytes)
}

/// `anna` with a conversation of twenty messages of `length` letters.
pub(crate) async fn import_anna(world: &World, length: usize) {
    let mut conversation = records::conversation("c", 0);
    conversation.messages = (0..20)
        .map(|index| {
            let mut message = records::message(&format!("m-{index}"), "c", index);
            message.parts = vec![MessagePart { part: Some(Part::Text(TextPart { text: "x".repeat(length) })) }];
            message
        })
        .collect();
    let request = ImportUserDataRequest { user_token: "anna".into(), conversations: vec![conversation], ..Default::default() };
    assert_eq!(world.client().await.import(vec![request]).await.unwrap().rejected, 0);
}

async fn a_delete_that_waits_past_its_deadline_is_told_so_and_changes_nothing(world: World) {
    import_anna(&world, 10).await;
    let before = world.all_rows().await;
    let in_the_way = world.database.begin().await.unwrap();
    in_the_way.execute_unprepared("UPDATE subjects SET epoch = epoch").await.unwrap();

    let mut call = RawCall::begin(&world, DELETE_MESSAGES, "300m").await;
    call.send(&DeleteUserMessagesRequest { user_token: "anna".into(), ..Default::default() }, true);
    let (head, mut body) = call.response.await.unwrap().into_parts();
    let (status, _) = ending(&head.headers, &mut body).await;
    assert_reason(&status, Code::DeadlineExceeded, "ERROR_REASON_DEADLINE_EXCEEDED");

    in_the_way.rollback().await.unwrap();
    assert_eq!(world.all_rows().await, before);
    let request = DeleteUserMessagesRequest { user_token: "anna".into(), ..Default::default() };
    let report = world.client().await.users.delete_user_messages(request).await.unwrap().into_inner();
    assert_eq!(report.messages_deleted, 20);
}

async fn a_call_that_names_no_deadline_or_a_late_one_ends_at_the_servers(mut world: World) {
    import_anna(&world, 10).await;
    let limits = &mut world.config.limits;
    (limits.max_call_duration, limits.max_stream_duration) = (Duration::from_millis(300), Duration::from_millis(600));
    world.restart().await;
    let in_the_way = world.database.begin().await.unwrap();
    in_the_way.execute_unprepared("UPDATE subjects SET epoch = epoch").await.unwrap();
    for grpc_timeout in [None, Some("1H")] {
        for (method, least) in [(DELETE_MESSAGES, 300), (IMPORT, 600), (REFLECTION, 600)] {
            let begun = Instant::now();
            let mut call = RawCall::begin_on(connect(&world, 65_535).await, &world, ACME, method, grpc_timeout).await;
            // The others get nothing to do.
            if method == DELETE_MESSAGES {
                call.send(&DeleteUserMessagesRequest { user_token: "anna".into(), ..Default::default() }, true);
            }
            let (head, mut body) = call.response.await.unwrap().into_parts();
            let (status, _) = ending(&head.headers, &mut body).await;
            assert_reason(&status, Code::DeadlineExceeded, "ERROR_REASON_DEADLINE_EXCEEDED");
            assert!(begun.elapsed() >= Duration::from_millis(least), "{method} ended after {:?}", begun.elapsed());
        }
    }
    in_the_way.rollback().await.unwrap();
    // Health is watched for longer.
    let mut watch = HealthClient::new(world.channel().await).watch(HealthCheckRequest::default()).await.unwrap().into_inner();
    assert!(watch.message().await.unwrap().is_some());
    assert!(timeout(Duration::from_millis(1_500), watch.message()).await.is_err(), "the watch ended");
}

async fn an_import_whose_client_falls_silent_ends_at_its_deadline(world: World) {
    let mut call = RawCall::begin(&world, IMPORT, "300000u").await;
    let conversation = Conversation { agent_id: "agent".into(), ..records::conversation("c", 0) };
    call.send(&ImportUserDataRequest { user_token: "anna".into(), conversations: vec![conversation], ..Default::default() }, false);
    let (head, mut body) = call.response.await.unwrap().into_parts();
    let (status, _) = ending(&head.headers, &mut body).await;
    assert_reason(&status, Code::DeadlineExceeded, "ERROR_REASON_DEADLINE_EXCEEDED");
}

async fn an_export_ends_at_its_deadline_in_the_midst_of_its_stream(world: World) {
    const LENGTH: usize = 200_000;
    import_anna(&world, LENGTH).await;
    // The export must have begun by then: a machine that is busy gets more time for it.
    for milliseconds in [500, 2_000, 8_000] {
        let mut call = RawCall::begin(&world, EXPORT, &format!("{milliseconds}m")).await;
        let ends_by = Instant::now() + Duration::from_millis(milliseconds);
        call.send(&ExportUserDataRequest { user_token: "anna".into(), ..Default::default() }, true);
        let (head, mut body) = call.response.await.unwrap().into_parts();
        let Some(first) = body.data().await else { continue };
        // The client reads no further until then: the window keeps the rest in the server.
        eventually("the deadline has passed", async || Instant::now() > ends_by).await;
        body.flow_control().release_capacity(first.unwrap().len()).unwrap();
        let (status, bytes) = ending(&head.headers, &mut body).await;
        assert_reason(&status, Code::DeadlineExceeded, "ERROR_REASON_DEADLINE_EXCEEDED");
        assert!(bytes < 20 * LENGTH / 2, "{bytes} bytes came after the deadline");
        return;
    }
    panic!("no export began before its deadline");
}

/// A way to `host` on which its answers can be held up.
pub(crate) async fn way_to(host: String, held: watch::Receiver<bool>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            let far = TcpStream::connect(&host).await.unwrap();
            let ((mut near_reads, mut near_writes), (mut far_reads, mut far_writes)) = (near.into_split(), far.into_split());
            tokio::spawn(async move { copy(&mut near_reads, &mut far_writes).await });
            let mut held = held.clone();
            // Whichever side leaves, the other hears of it.
            tokio::spawn(async move {
                let mut answer = BytesMut::new();
                while far_reads.read_buf(&mut answer).await? > 0 {
                    let _ = held.wait_for(|held| !held).await;
                    near_writes.write_all_buf(&mut answer).await?;
                }
                std::io::Result::Ok(())
            });
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn on_postgres_a_call_that_is_cut_while_its_transaction_begins_leaves_none_open() {
    let mut world = World::start(Engine::Postgres).await;
    import_anna(&world, 10).await;
    let (hold, held) = watch::channel(false);
    let url = url::Url::parse(&world.database_url).unwrap();
    let host = format!("{}:{}", url.host_str().unwrap(), url.port().unwrap());
    let way = way_to(host.clone(), held).await;
    world.config.storage.database = world.database_url.replace(&host, &way.to_string()).parse().unwrap();
    world.restart().await;
    let open = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'userdata' \
                AND state LIKE 'idle in transaction%'";

    hold.send_replace(true);
    let mut call = RawCall::begin(&world, DELETE_MESSAGES, "3S").await;
    call.send(&DeleteUserMessagesRequest { user_token: "anna".into(), ..Default::default() }, true);
    eventually("the transaction has begun", async || world.query(open).await.len() == 1).await;
    let (head, mut body) = call.response.await.unwrap().into_parts();
    let (status, _) = ending(&head.headers, &mut body).await;
    assert_reason(&status, Code::DeadlineExceeded, "ERROR_REASON_DEADLINE_EXCEEDED");
    hold.send_replace(false);
    eventually("no transaction is open", async || world.query(open).await.is_empty()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_postgres_the_statements_of_calls_that_ended_at_their_deadline_end_too() {
    let mut world = World::start(Engine::Postgres).await;
    import_anna(&world, 10).await;
    // Longer than this test is patient.
    let url = format!("{}?options=-c%20lock_timeout%3D10min", world.database_url);
    world.config.storage.database = url.parse().unwrap();
    world.restart().await;
    let waiting = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'userdata' \
                   AND wait_event_type = 'Lock'";
    let in_the_way = world.database.begin().await.unwrap();
    in_the_way.execute_unprepared("LOCK TABLE messages, conversations").await.unwrap();

    let mut delete = RawCall::begin(&world, DELETE_MESSAGES, "2S").await;
    delete.send(&DeleteUserMessagesRequest { user_token: "anna".into(), ..Default::default() }, true);
    let mut export = RawCall::begin(&world, EXPORT, "2S").await;
    export.send(&ExportUserDataRequest { user_token: "anna".into(), ..Default::default() }, true);
    eventually("both wait", async || world.query(waiting).await.len() == 2).await;
    for call in [delete, export] {
        let (head, mut body) = call.response.await.unwrap().into_parts();
        let (status, _) = ending(&head.headers, &mut body).await;
        assert_reason(&status, Code::DeadlineExceeded, "ERROR_REASON_DEADLINE_EXCEEDED");
    }
    eventually("neither waits any more", async || world.query(waiting).await.is_empty()).await;
    in_the_way.rollback().await.unwrap();
}
