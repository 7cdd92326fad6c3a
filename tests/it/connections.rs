//! Connections: how many there may be, and when one ends whose client does not use it, or misuses it.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use h2::client::SendRequest;
use http::{Request, Response};
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    task::JoinHandle,
    time::{Instant, timeout},
};
use tonic::{Code, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_types::StatusExt;
use userdata::{
    grpc::proto::{ExportUserDataRequest, ImportUserDataRequest},
    repository::Engine,
};

use crate::{
    deadline::{RawCall, status_of},
    lifecycle::all_healths_are,
    program::Program,
    records,
    rpc::assert_reason,
    world::{World, eventually},
};

/// Longer than any bound that these tests set.
const SOON: Duration = Duration::from_secs(15);

const EXPORT: &str = "userdata.v1.UserDataService/ExportUserData";
const IMPORT: &str = "userdata.v1.ImportService/ImportUserData";
const WATCH: &str = "health.v1.Health/Watch";
const HOUR: &str = "1H";

/// Waits until the other side has closed a connection; fails if it does not.
async fn is_closed(connection: &mut TcpStream) {
    let mut rest = Vec::new();
    let _ = timeout(SOON, connection.read_to_end(&mut rest)).await.expect("the connection is kept");
}

/// Whether somebody from this address of the machine is served.
async fn is_served(from: [u8; 4], server: SocketAddr) -> bool {
    let Some((client, running)) = open_from(from, server).await else { return false };
    let served = check(&mut client.clone(), server).await.is_ok();
    drop(client);
    let _ = timeout(SOON, running).await.expect("the connection does not end");
    served
}

/// Asks for the health of a server, and waits for the head of the answer.
async fn check(client: &mut SendRequest<Bytes>, server: SocketAddr) -> Result<Response<h2::RecvStream>, h2::Error> {
    ask(client, server, "health.v1.Health/Check").await
}

/// Calls a method that needs no credential, with an empty message, and waits for the head of the answer.
async fn ask(client: &mut SendRequest<Bytes>, server: SocketAddr, method: &str) -> Result<Response<h2::RecvStream>, h2::Error> {
    let request = Request::post(format!("http://{server}/grpc.{method}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())
        .unwrap();
    let (response, mut body) = client.clone().ready().await?.send_request(request, false)?;
    body.send_data(Bytes::from_static(&[0; 5]), true)?;
    response.await
}

type Running = JoinHandle<Result<(), h2::Error>>;

async fn open_from(address: [u8; 4], server: SocketAddr) -> Option<(SendRequest<Bytes>, Running)> {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((address, 0).into()).unwrap();
    let (client, connection) = h2::client::handshake(socket.connect(server).await.ok()?).await.ok()?;
    Some((client, tokio::spawn(connection)))
}

async fn open(server: SocketAddr) -> (SendRequest<Bytes>, Running) {
    let (client, connection) = h2::client::handshake(TcpStream::connect(server).await.unwrap()).await.unwrap();
    (client, tokio::spawn(connection))
}

async fn passed(time: Duration) {
    let end = Instant::now() + time;
    eventually("time has passed", async || Instant::now() > end).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_connections_than_may_be_are_closed_at_once_and_places_are_given_back() {
    let world = World::start_with(Engine::Sqlite, |config| config.listen.max_connections = 3).await;
    let mut open = Vec::new();
    for _ in 0..3 {
        open.push(TcpStream::connect(world.address).await.unwrap());
    }
    is_closed(&mut TcpStream::connect(world.address).await.unwrap()).await;
    open.pop();
    eventually("there is a place again", async || is_served([127, 0, 0, 1], world.address).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_peer_cannot_take_all_places() {
    let world = World::start_with(Engine::Sqlite, |config| config.listen.max_connections_per_peer = 2).await;
    let mut open = Vec::new();
    for _ in 0..2 {
        open.push(TcpStream::connect(world.address).await.unwrap());
    }
    is_closed(&mut TcpStream::connect(world.address).await.unwrap()).await;
    assert!(is_served([127, 0, 0, 2], world.address).await);
    open.clear();
    eventually("there is a place again", async || is_served([127, 0, 0, 1], world.address).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_must_bring_a_request_soon_and_may_then_rest() {
    let world = World::start_with(Engine::Sqlite, |config| config.listen.first_request_timeout = Duration::from_secs(1)).await;
    let mut silent = TcpStream::connect(world.address).await.unwrap();
    let (without_request, closed) = open(world.address).await;
    let (mut client, running) = open(world.address).await;
    check(&mut client, world.address).await.unwrap();

    is_closed(&mut silent).await;
    timeout(SOON, closed).await.expect("a connection without a request is kept").unwrap().unwrap();
    drop(without_request);
    passed(Duration::from_secs(2)).await;
    assert!(!running.is_finished());
    check(&mut client, world.address).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_connection_is_closed_in_peace_and_one_with_a_running_call_is_not() {
    let world = World::start_with(Engine::Sqlite, |config| {
        config.listen.first_request_timeout = Duration::from_secs(1);
        config.listen.idle_timeout = Duration::from_secs(1);
    })
    .await;
    let (mut client, idle) = open(world.address).await;
    let (mut watcher, watching) = open(world.address).await;
    let mut watch = ask(&mut watcher, world.address, WATCH).await.unwrap();
    assert!(watch.body_mut().data().await.is_some());
    check(&mut client, world.address).await.unwrap();
    timeout(SOON, idle).await.expect("an idle connection is kept").unwrap().expect("it is cut without a word");
    passed(Duration::from_secs(2)).await;
    assert!(!watching.is_finished());
    check(&mut watcher, world.address).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_whose_call_was_reset_before_it_was_answered_is_closed_as_idle() {
    let world = World::start_with(Engine::Sqlite, |config| {
        config.listen.first_request_timeout = Duration::from_secs(1);
        config.listen.idle_timeout = Duration::from_secs(1);
    })
    .await;
    let (client, running) = open(world.address).await;
    let call = RawCall::on(client.clone(), &world, IMPORT, HOUR).await;
    passed(Duration::from_secs(3)).await;
    assert!(!running.is_finished(), "it is closed though a call runs");
    drop(call);
    timeout(SOON, running).await.expect("it is kept").unwrap().expect("it is cut without a word");
}

#[tokio::test(flavor = "multi_thread")]
async fn watchers_of_one_peer_have_their_share_and_are_in_no_probes_way() {
    // As many as one connection may have.
    const SHARE: usize = 100;
    let world = World::start_with(Engine::Sqlite, |config| config.listen.max_connections_per_peer = 1_000).await;
    let (mut client, _running) = open(world.address).await;
    let refused = |answer: &Response<h2::RecvStream>| Status::from_header_map(answer.headers());
    let mut watches = Vec::new();
    for _ in 0..SHARE {
        watches.push(ask(&mut client, world.address, WATCH).await.unwrap());
    }
    assert!(watches.iter().all(|watch| refused(watch).is_none()));

    let (mut client, _running) = open(world.address).await;
    let reflection = ["reflection.v1.ServerReflection/ServerReflectionInfo", "reflection.v1alpha.ServerReflection/ServerReflectionInfo"];
    for method in [WATCH, reflection[0], reflection[1]] {
        let status = refused(&ask(&mut client, world.address, method).await.unwrap()).expect("a stream beyond the share is served");
        assert_reason(&status, Code::ResourceExhausted, "ERROR_REASON_LIMIT_EXCEEDED");
        assert!(status.get_details_retry_info().is_some());
    }
    assert!(refused(&check(&mut client, world.address).await.unwrap()).is_none());
    let mut other = open_from([127, 0, 0, 2], world.address).await.unwrap().0;
    assert!(refused(&ask(&mut other, world.address, WATCH).await.unwrap()).is_none());

    watches.pop();
    eventually("there is a place again", async || refused(&ask(&mut client, world.address, WATCH).await.unwrap()).is_none()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_a_stranger_keeps_its_place_after_its_deadline_until_its_request_ends() {
    const SHARE: usize = 100;
    const REFLECTION: &str = "grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
    let world = World::start_with(Engine::Sqlite, |config| config.listen.max_connections_per_peer = 1_000).await;
    let (client, _running) = open(world.address).await;
    let mut unfinished = Vec::new();
    for _ in 0..SHARE {
        let RawCall { requests, response } = RawCall::on(client.clone(), &world, REFLECTION, "1m").await;
        assert_eq!(status_of(response).await.code(), Code::DeadlineExceeded);
        unfinished.push(requests);
    }
    let (other, _running) = open(world.address).await;
    let refused = async || status_of(RawCall::on(other.clone(), &world, REFLECTION, "1S").await.response).await;
    assert_reason(&refused().await, Code::ResourceExhausted, "ERROR_REASON_LIMIT_EXCEEDED");
    drop(unfinished);
    eventually("there is a place again", async || refused().await.code() == Code::DeadlineExceeded).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unfinished_checks_of_one_peer_have_their_share_and_another_is_served() {
    let world = World::start_with(Engine::Sqlite, |config| config.listen.max_connections_per_peer = 1_000).await;
    let (client, _running) = open(world.address).await;
    let mut unfinished = Vec::new();
    for _ in 0..100 {
        let request =
            Request::post(format!("http://{}/grpc.health.v1.Health/Check", world.address)).header("content-type", "application/grpc");
        unfinished.push(client.clone().ready().await.unwrap().send_request(request.body(()).unwrap(), false).unwrap());
    }
    eventually("the peer has its share", async || {
        let (mut client, _running) = open(world.address).await;
        Status::from_header_map(check(&mut client, world.address).await.unwrap().headers()).is_some()
    })
    .await;
    let mut other = open_from([127, 0, 0, 2], world.address).await.unwrap().0;
    assert!(Status::from_header_map(check(&mut other, world.address).await.unwrap().headers()).is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_never_reads_its_response_is_cut() {
    let world = World::start_with(Engine::Sqlite, |config| {
        config.listen.first_request_timeout = Duration::from_secs(1);
        config.listen.idle_timeout = Duration::from_secs(1);
    })
    .await;
    let mut conversation = records::conversation("c", 0);
    conversation.messages = (0..20).map(|number| records::message(&format!("m-{number}"), "c", number)).collect();
    let request = ImportUserDataRequest { user_token: "anna".into(), conversations: vec![conversation], ..Default::default() };
    assert_eq!(world.client().await.import(vec![request]).await.unwrap().rejected, 0);

    // It opens no window for what it asked for.
    let mut builder = h2::client::Builder::new();
    let connection = TcpStream::connect(world.address).await.unwrap();
    let (client, connection) = builder.initial_window_size(0).handshake(connection).await.unwrap();
    let running = tokio::spawn(connection);
    let mut call = RawCall::on(client, &world, EXPORT, HOUR).await;
    call.send(&ExportUserDataRequest { user_token: "anna".into(), ..Default::default() }, true);
    let response = call.response.await.unwrap();
    assert!(Status::from_header_map(response.headers()).is_none(), "there is nothing to read");
    timeout(SOON, running).await.expect("a client that does not read is kept").unwrap().ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_does_not_arrive_ends_its_call() {
    let world = World::start_with(Engine::Sqlite, |config| config.listen.request_timeout = Duration::from_millis(500)).await;
    let request =
        ImportUserDataRequest { user_token: "anna".into(), conversations: vec![records::conversation("c", 0)], ..Default::default() };

    // Nothing of it; one byte after the other; all of it, but not its end; one request of a stream, and no other.
    let nothing = RawCall::begin(&world, EXPORT, HOUR).await;
    let RawCall { requests: mut drip, response: drop_by_drop } = RawCall::begin(&world, EXPORT, HOUR).await;
    let mut endless = RawCall::begin(&world, EXPORT, HOUR).await;
    endless.send(&ExportUserDataRequest { user_token: "anna".into(), ..Default::default() }, false);
    let mut import = RawCall::begin(&world, IMPORT, HOUR).await;
    import.send(&request, false);
    let dripping = tokio::spawn(async move {
        let mut bytes = [0, 0, 0, 0xff, 0xff].into_iter().chain(std::iter::repeat(1));
        while drip.send_data(Bytes::from(vec![bytes.next().unwrap()]), false).is_ok() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    for (what, response) in
        [("nothing", nothing.response), ("drops", drop_by_drop), ("no end", endless.response), ("no more", import.response)]
    {
        let status = timeout(SOON, status_of(response)).await.unwrap_or_else(|_| panic!("a request that brings {what} is waited for"));
        assert_reason(&status, Code::DeadlineExceeded, "ERROR_REASON_DEADLINE_EXCEEDED");
    }
    dripping.await.unwrap();
    // What arrives in time may take longer in all.
    let mut slow = RawCall::begin(&world, IMPORT, HOUR).await;
    for _ in 0..4 {
        slow.send(&request, false);
        passed(Duration::from_millis(250)).await;
    }
    slow.send(&request, true);
    assert_eq!(status_of(slow.response).await.code(), Code::Ok);
}

/// What the frames of a flood are, each with its nine bytes of head.
fn flood(kind: &str) -> Vec<u8> {
    let frame = |kind: u8, flags: u8, stream: u32, payload: &[u8]| {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
    };
    // GET /, as the static table has it, without the end of the head or of the request.
    let head = |stream, flags| frame(1, flags, stream, &[0x82, 0x84, 0x86]);
    match kind {
        "PING" => frame(6, 0, 0, &[7; 8]).repeat(1_000),
        "PING answers" => frame(6, 1, 0, &[7; 8]).repeat(1_000),
        "SETTINGS" => frame(4, 0, 0, &[]).repeat(1_000),
        "PRIORITY" => frame(2, 0, 0x7fff_ffff, &[0, 0, 0, 1, 1]).repeat(1_000),
        "WINDOW_UPDATE" => frame(8, 0, 0, &[0, 0, 0, 1]).repeat(1_000),
        "unknown" => frame(0xbe, 0, 0, &[]).repeat(1_000),
        "CONTINUATION" => [head(1, 0), frame(9, 0, 1, &[0x82]).repeat(1_000)].concat(),
        "RST_STREAM" => (0..500).flat_map(|nth| [head(nth * 2 + 1, 4), frame(3, 0, nth * 2 + 1, &[0, 0, 0, 8])].concat()).collect(),
        // Too large a window, which the server must answer with a reset of its own.
        "faulty" => (0..500).flat_map(|nth| [head(nth * 2 + 1, 4), frame(8, 0, nth * 2 + 1, &[0x7f, 0xff, 0xff, 0xff])].concat()).collect(),
        "empty DATA" => [head(1, 4), frame(0, 0, 1, &[]).repeat(1_000)].concat(),
        _ => panic!("no such flood"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_frames_that_ask_for_nothing_ends_its_connection() {
    let world = World::start(Engine::Sqlite).await;
    let kinds =
        ["PING", "PING answers", "SETTINGS", "PRIORITY", "WINDOW_UPDATE", "unknown", "CONTINUATION", "RST_STREAM", "faulty", "empty DATA"];
    for kind in kinds {
        let mut connection = TcpStream::connect(world.address).await.unwrap();
        let begin = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".as_slice(), &[0, 0, 0, 4, 0, 0, 0, 0, 0]].concat();
        connection.write_all(&begin).await.unwrap();
        let (mut reads, mut writes) = connection.split();
        let frames = flood(kind);
        let send = async {
            // What is numbered can be sent once.
            while writes.write_all(&frames).await.is_ok() && !["RST_STREAM", "faulty"].contains(&kind) {}
            std::future::pending::<()>().await;
        };
        let mut answered = 0;
        let answers = async {
            while let Ok(bytes @ 1..) = reads.read(&mut [0; 4096]).await {
                answered += bytes;
            }
        };
        let ended = timeout(SOON, async {
            tokio::select! { () = send => {} () = answers => {} }
        })
        .await;
        assert!(ended.is_ok(), "a flood of {kind} is borne");
        assert!(answered < 100_000, "a flood of {kind} had {answered} bytes of answers");
        assert!(is_served([127, 0, 0, 1], world.address).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_bears_the_faulty_streams_of_a_long_life() {
    const PING: [u8; 17] = [0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
    let folder = tempfile::tempdir().unwrap();
    let program = Program::serve(folder.path(), "sqlite://userdata.db", &[]);
    let mut connection = TcpStream::connect(program.address().await).await.unwrap();
    let begin = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".as_slice(), &[0, 0, 0, 4, 0, 0, 0, 0, 0]].concat();
    connection.write_all(&[begin, flood("faulty"), PING.to_vec()].concat()).await.unwrap();
    let answer = [&PING[..4], &[1], &PING[5..]].concat();
    let mut received = Vec::new();
    while !received.windows(answer.len()).any(|bytes| bytes == answer) {
        let read = timeout(SOON, connection.read_buf(&mut received)).await.expect("no answer comes");
        assert!(matches!(read, Ok(1..)), "the connection is closed after 500 faulty streams");
    }
}

/// CPU time that a process has used, in ticks of 10 ms.
fn ticks(program: &Program) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", program.id())).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

fn limit_descriptors(program: &Program, limit: u64) {
    let pid = Pid::from_raw(i32::try_from(program.id()).unwrap());
    prlimit(pid, Resource::Nofile, Rlimit { current: Some(limit), maximum: Some(1_000) }).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn without_descriptors_the_server_waits_at_rest_and_goes_on_when_there_are_some() {
    let folder = tempfile::tempdir().unwrap();
    let program = Program::serve(folder.path(), "sqlite://userdata.db", &["--max-connections", "100"]);
    let (address, channel) = (program.address().await, program.channel().await);
    eventually("it serves", async || all_healths_are(&channel, ServingStatus::Serving).await).await;
    let used = std::fs::read_dir(format!("/proc/{}/fd", program.id())).unwrap().count();
    limit_descriptors(&program, u64::try_from(used).unwrap() + 4);

    let waiting: Vec<_> =
        futures::future::join_all((0..20).map(|_| TcpStream::connect(address))).await.into_iter().map(Result::unwrap).collect();
    let complaints = || -> Vec<u64> {
        let log = program.log().into_iter();
        let taken = |line: &serde_json::Value| line["message"].as_str().is_some_and(|message| message.contains("could not be taken"));
        log.filter(taken).map(|line| line["others_before"].as_u64().unwrap()).collect()
    };
    eventually("descriptors have run out", async || complaints().len() == 1).await;
    let (before, begun) = (ticks(&program), Instant::now());
    eventually("it is told again", async || complaints().len() == 2).await;
    // Ten times a second, for ten seconds. On a busy machine the processor alone would not tell.
    assert!((1..150).contains(&complaints()[1]), "it was tried {} times", complaints()[1]);
    let (used, passed) = (u128::from(ticks(&program) - before) * 10, begun.elapsed().as_millis());
    assert!(used * 4 < passed, "{used} of {passed} ms were spent on waiting");
    // Calls on connections that are there go on.
    assert!(all_healths_are(&channel, ServingStatus::Serving).await);

    drop(waiting);
    eventually("others are served again", async || is_served([127, 0, 0, 1], address).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_of_descriptors_is_raised_or_lowers_that_of_connections() {
    let folder = tempfile::tempdir().unwrap();
    for (limits, lowered) in [("-S -n 300", false), ("-n 300", true)] {
        let program = Program::serve_limited(folder.path(), limits, "sqlite://userdata.db");
        let address = program.address().await;
        assert!(is_served([127, 0, 0, 1], address).await);
        let told = program.log().into_iter().find(|line| line["message"].as_str().unwrap_or_default().contains("--max-connections"));
        assert_eq!(told.is_some(), lowered, "{}", program.stderr());
        assert!(told.is_none_or(|line| line["fit"].as_u64().unwrap() < 300));
    }
}
