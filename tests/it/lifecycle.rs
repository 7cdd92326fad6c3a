//! Starting, being well, being unwell, stopping: the real program, and what its clients see of it.

use std::{
    fs,
    net::{SocketAddr, TcpStream},
    process::Command,
    sync::{Arc, Mutex},
    time::Duration,
};

use h2::client;
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream as Connection},
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;
use tonic::{Code, transport::Channel, transport::Endpoint};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};
use tonic_types::StatusExt;
use userdata::{
    grpc::proto::{
        Conversation, ExportUserDataRequest, ImportUserDataRequest, Message, MessagePart, Role, TextPart, Upload,
        import_service_client::ImportServiceClient, message_part::Part, user_data_service_client::UserDataServiceClient,
    },
    repository::Engine,
};

use crate::{
    credentials::key_headers,
    deadline::{EXPORT, RawCall, import_anna},
    exported::with_content,
    on_both_engines,
    program::Program,
    records,
    rpc::{Rpc, assert_reason, with},
    world::{ACME, World, eventually, make_postgres_database},
};

on_both_engines!(
    a_stop_is_told_at_once_and_cuts_a_client_that_stopped_reading_at_the_deadline,
    an_idle_server_stops_at_once_and_a_silent_connection_does_not_hold_it,
);

const SERVICES: [&str; 3] = ["", "userdata.v1.UserDataService", "userdata.v1.ImportService"];

/// Everything that `userdata serve` needs to run on the stores of a world.
async fn serve(world: &mut World, more: &[&str]) -> Program {
    world.stop_server().await;
    let objects = format!("file://{}", world.objects().display());
    Program::serve(&world.folder(), &world.database_url, &[&["--object-store-url", &objects], more].concat())
}

async fn health(channel: &Channel, service: &str) -> Result<ServingStatus, Code> {
    let request = HealthCheckRequest { service: service.to_owned() };
    let answer = HealthClient::new(channel.clone()).check(request).await;
    answer.map(|answer| answer.into_inner().status()).map_err(|status| status.code())
}

pub(crate) async fn all_healths_are(channel: &Channel, status: ServingStatus) -> bool {
    for service in SERVICES {
        if health(channel, service).await != Ok(status) {
            return false;
        }
    }
    true
}

/// A request with a conversation of ten large messages.
pub(crate) fn five_megabytes(number: usize) -> ImportUserDataRequest {
    let at = Some(prost_types::Timestamp { seconds: 1_700_000_000, nanos: 0 });
    let conversation_id = format!("conversation {number}");
    let message = |index| Message {
        id: format!("message {number} {index}"),
        conversation_id: conversation_id.clone(),
        created_at: at,
        updated_at: at,
        role: Role::User.into(),
        parts: vec![MessagePart { part: Some(Part::Text(TextPart { text: "x".repeat(500_000) })) }],
        ..Default::default()
    };
    ImportUserDataRequest {
        user_token: "anna".into(),
        conversations: vec![Conversation {
            messages: (0..10).map(message).collect(),
            id: conversation_id.clone(),
            agent_id: "agent".into(),
            created_at: at,
            updated_at: at,
            ..Default::default()
        }],
        ..Default::default()
    }
}

async fn a_stop_is_told_at_once_and_cuts_a_client_that_stopped_reading_at_the_deadline(mut world: World) {
    let key = key_headers(ACME, world.key(ACME));
    let mut program = serve(&mut world, &["--drain-timeout", "4s"]).await;
    let address = program.address().await;
    let requests = tokio_stream::iter((0..4).map(five_megabytes).collect::<Vec<_>>());
    let mut imports = ImportServiceClient::new(program.channel().await);
    assert_eq!(imports.import_user_data(with(&key, requests)).await.unwrap().get_ref().rejected, 0);

    // The client takes the head of the response and never asks for more: 20 MB cannot go into its window.
    let small = Endpoint::from_shared(format!("http://{address}")).unwrap().initial_stream_window_size(1024);
    let channel = small.initial_connection_window_size(65_535).connect().await.unwrap();
    let request = ExportUserDataRequest { user_token: "anna".into(), ..Default::default() };
    let unread = UserDataServiceClient::new(channel).export_user_data(with(&key, request)).await.unwrap().into_inner();

    let watching = program.channel().await;
    let mut watch = HealthClient::new(watching.clone()).watch(HealthCheckRequest::default()).await.unwrap().into_inner();
    eventually("the server serves", async || watch.message().await.unwrap().unwrap().status() == ServingStatus::Serving).await;

    program.signal("TERM");
    let told = Instant::now();
    assert_eq!(watch.message().await.unwrap().unwrap().status(), ServingStatus::NotServing);
    assert!(told.elapsed() < Duration::from_millis(1_000), "health said so only after {:?}", told.elapsed());
    let refused = async || Connection::connect(address).await.is_err();
    eventually("no connection is taken any more", refused).await;
    assert!(told.elapsed() < Duration::from_millis(1_400), "the listener was open for {:?}", told.elapsed());

    let (code, _) = program.ended().await;
    let took = told.elapsed();
    assert_eq!(code, Some(0), "{}", program.stderr());
    assert!(took > Duration::from_millis(2_900), "the running export was not waited for: {took:?}");
    assert!(took < Duration::from_millis(4_900), "the exit took {took:?}");
    let call = program.log().into_iter().rfind(|line| line["message"] == "call").unwrap();
    assert_eq!(call["method"], "/userdata.v1.UserDataService/ExportUserData");
    drop(unread);
}

async fn an_idle_server_stops_at_once_and_a_silent_connection_does_not_hold_it(mut world: World) {
    let mut program = serve(&mut world, &[]).await;
    let channel = program.channel().await;
    Rpc::Export.call(&channel, &key_headers(ACME, world.key(ACME)), "anna").await.unwrap();
    program.signal("TERM");
    let (code, took) = program.ended().await;
    assert_eq!(code, Some(0), "{}", program.stderr());
    assert!(took < Duration::from_secs(3), "an idle server took {took:?} of 20 s");

    let mut program = serve(&mut world, &["--drain-timeout", "2s"]).await;
    let silent = TcpStream::connect(program.address().await).unwrap();
    program.signal("INT");
    let (code, took) = program.ended().await;
    assert_eq!(code, Some(0), "{}", program.stderr());
    assert!(took < Duration::from_millis(2_900), "a silent connection held the exit for {took:?}");
    drop(silent);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_of_objects_that_does_not_answer_does_not_hold_the_exit() {
    let mut world = World::start(Engine::Sqlite).await;
    let mut client = world.client().await;
    let uploads = vec![Upload { size_bytes: 3, ..records::upload("u", 0) }];
    let upload_contents = vec![records::content("u", 0, 3)];
    let with_upload = ImportUserDataRequest { user_token: "anna".into(), uploads, upload_contents, ..Default::default() };
    assert_eq!(client.import(vec![with_upload]).await.unwrap().rejected, 0);
    // Whoever opens a pipe waits for one who writes.
    let folder = fs::read_dir(world.objects()).unwrap().next().unwrap().unwrap().path();
    let object = fs::read_dir(folder).unwrap().next().unwrap().unwrap().path();
    fs::remove_file(&object).unwrap();
    assert!(Command::new("mkfifo").arg(&object).status().unwrap().success());

    let mut program = serve(&mut world, &["--drain-timeout", "1s"]).await;
    let mut users = UserDataServiceClient::new(program.channel().await);
    let request = with(&key_headers(ACME, world.key(ACME)), with_content("anna"));
    let export = async move { users.export_user_data(request).await?.into_inner().message().await };
    assert!(timeout(Duration::from_secs(1), export).await.is_err(), "the export does not wait for its object");
    program.signal("TERM");
    let (code, took) = program.ended().await;
    assert_eq!(code, Some(0), "{}", program.stderr());
    assert!(took < Duration::from_secs(4), "a folder that does not answer held the exit for {took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_watches_health_is_told_that_the_server_stops_and_does_not_hold_it() {
    let mut world = World::start(Engine::Sqlite).await;
    let mut program = serve(&mut world, &["--drain-timeout", "60s"]).await;
    let channel = program.channel().await;
    Rpc::Export.call(&channel, &key_headers(ACME, world.key(ACME)), "anna").await.unwrap();
    let mut watches = Vec::new();
    for service in SERVICES {
        let request = HealthCheckRequest { service: service.to_owned() };
        let mut watch = HealthClient::new(channel.clone()).watch(request).await.unwrap().into_inner();
        eventually("the server serves", async || watch.message().await.unwrap().unwrap().status() == ServingStatus::Serving).await;
        watches.push(watch);
    }

    program.signal("TERM");
    for watch in &mut watches {
        assert_eq!(watch.message().await.unwrap().unwrap().status(), ServingStatus::NotServing);
    }
    let (code, took) = program.ended().await;
    assert_eq!(code, Some(0), "{}", program.stderr());
    assert!(took < Duration::from_secs(15), "calls that watch have held the exit for {took:?}");
    for watch in &mut watches {
        while let Some(told) = watch.message().await.unwrap() {
            assert_eq!(told.status(), ServingStatus::NotServing);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_gets_the_end_of_an_export_that_the_server_is_done_with_before_it_stops() {
    let mut world = World::start(Engine::Sqlite).await;
    import_anna(&world, 8_000).await;
    let mut program = serve(&mut world, &["--drain-timeout", "60s"]).await;
    // All goes into its windows at once, and little of it into the memory of its system.
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4_096).unwrap();
    let socket = socket.connect(program.address().await).await.unwrap();
    let mut builder = client::Builder::new();
    builder.initial_window_size(200_000).initial_connection_window_size(200_000);
    let (client, mut connection) = builder.handshake(socket).await.unwrap();
    let mut call = RawCall::begin_on(client.clone(), &world, ACME, EXPORT, None).await;
    call.send(&ExportUserDataRequest { user_token: "anna".into(), ..Default::default() }, true);
    drop(client);
    let response = tokio::select! {
        response = call.response => response.unwrap(),
        _ = &mut connection => panic!("the connection has ended"),
    };
    // From here on nobody reads for a while.
    let is_done = |line: &serde_json::Value| line["message"] == "call" && line["code"] == "OK";
    eventually("the server is done with the export", async || program.log().iter().any(is_done)).await;
    program.signal("TERM");
    let end = Instant::now() + Duration::from_secs(4);
    eventually("time has passed", async || Instant::now() > end).await;

    let reading = tokio::spawn(connection);
    let mut body = response.into_body();
    let mut bytes = 0;
    while let Some(data) = body.data().await {
        let data = data.expect("the end is lost");
        bytes += data.len();
        body.flow_control().release_capacity(data.len()).unwrap();
    }
    assert!(bytes > 160_000, "{bytes} bytes came");
    assert_eq!(body.trailers().await.unwrap().unwrap()["grpc-status"], "0");
    drop(body);
    let _ = reading.await.unwrap();
    let (code, took) = program.ended().await;
    assert_eq!(code, Some(0), "{}", program.stderr());
    assert!(took < Duration::from_secs(30), "the client was gone, and the exit took {took:?} more");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_fails_says_why_in_one_line_and_exits_with_1() {
    let folder = tempfile::tempdir().unwrap();
    let mut first = Program::serve(folder.path(), "sqlite://userdata.db", &[]);
    let address = first.address().await.to_string();
    std::fs::write(folder.path().join("settings.toml"), "drain_timeout = \"1s\"\nsecret_colour = \"hunter2\"\n").unwrap();

    for (arguments, code, says) in [
        (vec!["serve", "--listen", &address, "--database-url", "sqlite://userdata.db"], 1, address.as_str()),
        (vec!["serve", "--object-store-url", "memory://", "--database-url", "postgres://u:hunter2@127.0.0.1:1/x"], 1, "127.0.0.1:1/x"),
        (vec!["serve", "--database-url", "postgres://u:hunter2@127.0.0.1:1/x"], 1, "--object-store-url"),
        (vec!["serve", "--database-url", "mysql://u:hunter2@h/x"], 1, "--database-url"),
        (vec!["serve", "--object-store-url", "ftp://hunter2"], 1, "--object-store-url"),
        (vec!["serve", "--jwt-issuer", r#"{issuer="i", secret="hunter2"}"#], 1, "--jwt-issuer"),
        (vec!["serve", "--config", "settings.toml"], 2, "`secret_colour`"),
        (vec!["serve", "--config", "nowhere.toml"], 2, "nowhere.toml"),
    ] {
        let mut program = Program::start(folder.path(), &arguments);
        assert_eq!(program.ended().await.0, Some(code), "{arguments:?}: {}", program.stderr());
        let said = program.stderr();
        assert!(said.contains(says) && !said.contains("hunter2"), "{arguments:?}: {said}");
        // A command line or file that is wrong is told with its usage.
        assert!(said.starts_with("error: ") && (code == 2 || said.lines().count() == 1), "{arguments:?}: {said}");
        assert!(program.stdout().is_empty());
    }
    first.signal("TERM");
    assert_eq!(first.ended().await.0, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn on_postgres_a_schema_that_is_behind_is_refused_until_it_is_migrated() {
    let folder = tempfile::tempdir().unwrap();
    for migrate_by_flag in [true, false] {
        let (url, _, _) = make_postgres_database().await;
        let mut refused = Program::serve(folder.path(), &url, &[]);
        assert_eq!(refused.ended().await.0, Some(1));
        let said = refused.stderr();
        assert!(said.contains("userdata migrate") && said.contains("--migrate") && said.lines().count() == 1, "{said}");

        let serving = if migrate_by_flag {
            Program::serve(folder.path(), &url, &["--migrate"])
        } else {
            let mut migrate = Program::start(folder.path(), &["migrate", "--database-url", &url]);
            assert_eq!(migrate.ended().await.0, Some(0), "{}", migrate.stderr());
            Program::serve(folder.path(), &url, &[])
        };
        let channel = serving.channel().await;
        eventually("it serves", async || all_healths_are(&channel, ServingStatus::Serving).await).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn health_has_an_exit_code_for_probes() {
    let folder = tempfile::tempdir().unwrap();
    // SQLite migrates itself.
    let mut server = Program::serve(folder.path(), "sqlite://data/userdata.db", &[]);
    let (url, channel) = (format!("http://{}", server.address().await), server.channel().await);
    eventually("it serves", async || all_healths_are(&channel, ServingStatus::Serving).await).await;
    assert_eq!(health(&channel, "userdata.v1.Nobody").await, Err(Code::NotFound));

    for (service, code) in [("", 0), ("userdata.v1.UserDataService", 0), ("userdata.v1.ImportService", 0), ("userdata.v1.Nobody", 1)] {
        let mut probe = Program::start(folder.path(), &["health", "--server", &url, "--service", service]);
        assert_eq!(probe.ended().await.0, Some(code), "{service}: {}", probe.stderr());
        assert_eq!(probe.stdout(), if code == 0 { "SERVING\n" } else { "" });
        assert_eq!(probe.stderr().lines().count(), usize::try_from(code).unwrap());
    }
    server.signal("TERM");
    assert_eq!(server.ended().await.0, Some(0));
    let mut probe = Program::start(folder.path(), &["health", "--server", &url]);
    assert_eq!(probe.ended().await.0, Some(1));
}

/// A way to the database that can be cut and mended.
struct Bridge {
    address: SocketAddr,
    /// Cancelled to cut; `None` while cut.
    open: Arc<Mutex<Option<CancellationToken>>>,
}

impl Bridge {
    async fn to(host: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let open = Arc::new(Mutex::new(Some(CancellationToken::new())));
        let gate = Arc::clone(&open);
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let Some(cut) = gate.lock().unwrap().clone() else { continue };
                let host = host.clone();
                tokio::spawn(cut.run_until_cancelled_owned(async move {
                    let mut far = Connection::connect(host).await.unwrap();
                    let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
                }));
            }
        });
        Self { address, open }
    }

    fn cut(&self) {
        if let Some(open) = self.open.lock().unwrap().take() {
            open.cancel();
        }
    }

    fn mend(&self) {
        *self.open.lock().unwrap() = Some(CancellationToken::new());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_database_makes_health_not_serving_and_calls_unavailable_until_it_is_back() {
    let mut world = World::start(Engine::Postgres).await;
    world.stop_server().await;
    let mut url: url::Url = world.database_url.parse().unwrap();
    let bridge = Bridge::to(format!("{}:{}", url.host_str().unwrap(), url.port().unwrap())).await;
    url.set_host(Some("127.0.0.1")).unwrap();
    url.set_port(Some(bridge.address.port())).unwrap();
    world.config.storage.database = url.as_str().parse().unwrap();
    world.restart().await;

    let (channel, key) = (world.channel().await, key_headers(ACME, world.key(ACME)));
    eventually("it serves", async || all_healths_are(&channel, ServingStatus::Serving).await).await;
    for rpc in Rpc::ALL {
        rpc.call(&channel, &key, "anna").await.unwrap();
    }

    bridge.cut();
    // While the keys are still believed, and when they are too old.
    for _ in 0..2 {
        let calls = Rpc::ALL.map(|rpc| rpc.call(&channel, &key, "anna"));
        for (rpc, answer) in Rpc::ALL.into_iter().zip(futures::future::join_all(calls).await) {
            let refused = answer.expect_err("there is no database");
            assert_reason(&refused, Code::Unavailable, "ERROR_REASON_DATABASE_UNAVAILABLE");
            assert!(refused.get_details_retry_info().unwrap().retry_delay.is_some(), "{rpc:?}");
        }
        eventually("health says so", async || all_healths_are(&channel, ServingStatus::NotServing).await).await;
    }

    bridge.mend();
    eventually("it serves again by itself", async || all_healths_are(&channel, ServingStatus::Serving).await).await;
    for rpc in Rpc::ALL {
        eventually("calls work again", async || rpc.call(&channel, &key, "anna").await.is_ok()).await;
    }
}
