//! A world of its own for each test: a database, an object store, a server, and keys of two applications.

use std::{collections::BTreeMap, env, fs, net::SocketAddr, path::PathBuf, time::Duration};

use sea_orm::{ConnectionTrait, Database, DatabaseConnection, DbBackend, FromQueryResult, JsonValue, Statement};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::{
    Status,
    service::interceptor::InterceptedService,
    transport::{Channel, Endpoint},
};
use userdata::{
    config::{
        ServerConfig,
        auth::AuthConfig,
        limits::LimitsConfig,
        listen::ListenConfig,
        log::{LogConfig, LogFormat},
        storage::StorageConfig,
    },
    domain::{
        api_key::{ApiKey, RANDOM_BYTES},
        catalogue::personal_tables,
        principal::{Permission, Permissions},
        subject::ApplicationId,
        timestamp::Clock,
    },
    grpc::{
        client::Credential,
        proto::{
            ExportUserDataRequest, ExportUserDataResponse, GetErasureStatusRequest, GetErasureStatusResponse, ImportUserDataRequest,
            ImportUserDataResponse, import_service_client::ImportServiceClient, user_data_service_client::UserDataServiceClient,
        },
    },
    repository::{Engine, Repository},
    server::Server,
};

use crate::cluster::Cluster;

/// The application that most tests work in.
pub(crate) const ACME: &str = "ACME";
/// Another tenant of the same server.
pub(crate) const OTHER: &str = "OTHER";

/// Runs an `async fn(World)` as one test per engine: `on_both_engines!(a_name_that_is_a_sentence);`
#[macro_export]
macro_rules! on_both_engines {
    ($($test:ident),+ $(,)?) => {
        mod on_sqlite {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                super::$test($crate::world::World::start(userdata::repository::Engine::Sqlite).await).await;
            })+
        }
        mod on_postgres {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                super::$test($crate::world::World::start(userdata::repository::Engine::Postgres).await).await;
            })+
        }
    };
}

/// The same, and once more on PostgreSQL where row-level security binds the service.
#[macro_export]
macro_rules! on_both_engines_and_walled {
    ($($test:ident),+ $(,)?) => {
        $crate::on_both_engines!($($test),+);
        mod on_walled_postgres {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                super::$test($crate::world::World::start_walled().await).await;
            })+
        }
    };
}

/// One server with its stores.
pub(crate) struct World {
    /// The engine it runs on.
    pub(crate) engine: Engine,
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// Where it listens for calls that need `admin`, if they have a listener of their own.
    pub(crate) admin_address: Option<SocketAddr>,
    /// The database, for what tests do beside the service.
    pub(crate) database: DatabaseConnection,
    /// Its configuration, to start another server on the same stores.
    pub(crate) config: ServerConfig,
    /// The database's URL, with its password.
    pub(crate) database_url: String,
    repository: Repository,
    stop: CancellationToken,
    running: Option<JoinHandle<()>>,
    keys: BTreeMap<&'static str, String>,
    folder: TempDir,
    clean_up: Option<(String, String)>,
    /// The database's URL for the role of the service, where it has one of its own; it is called like the database.
    pub(crate) service_url: Option<String>,
}

/// A client of the two services.
#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) users: UserDataServiceClient<InterceptedService<Channel, Credential>>,
    pub(crate) imports: ImportServiceClient<InterceptedService<Channel, Credential>>,
}

impl World {
    /// A world with a file or database of its own, uploads in a folder, and keys that permit everything.
    pub(crate) async fn start(engine: Engine) -> Self {
        Self::start_with(engine, |_| ()).await
    }

    /// The same on PostgreSQL, where the service has a role that owns nothing, and row-level security binds it.
    pub(crate) async fn start_walled() -> Self {
        Self::start_as(Engine::Postgres, true, |_| ()).await
    }

    /// The same, with a configuration that `change` has changed.
    pub(crate) async fn start_with(engine: Engine, change: impl FnOnce(&mut ServerConfig)) -> Self {
        Self::start_as(engine, false, change).await
    }

    async fn start_as(engine: Engine, is_walled: bool, change: impl FnOnce(&mut ServerConfig)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (url, clean_up) = match engine {
            Engine::Sqlite => (format!("sqlite://{}", folder.path().join("userdata.db").display()), None),
            Engine::Postgres => {
                let (url, admin, name) = make_postgres_database().await;
                (url, Some((admin, name)))
            }
        };
        Self::start_on(engine, url, clean_up, is_walled, folder, change).await
    }

    /// The same, in a cluster of the test's own.
    pub(crate) async fn start_in(cluster: &Cluster, change: impl FnOnce(&mut ServerConfig)) -> Self {
        Self::start_on(Engine::Postgres, cluster.url.clone(), None, false, tempfile::tempdir().unwrap(), change).await
    }

    async fn start_on(
        engine: Engine,
        url: String,
        clean_up: Option<(String, String)>,
        is_walled: bool,
        folder: TempDir,
        change: impl FnOnce(&mut ServerConfig),
    ) -> Self {
        let mut config = ServerConfig {
            storage: StorageConfig {
                database: url.parse().unwrap(),
                database_max_connections: 4,
                object_store: format!("file://{}", folder.path().join("objects").display()).parse().unwrap(),
            },
            listen: ListenConfig {
                listen: "127.0.0.1:0".parse().unwrap(),
                allow_plaintext: false,
                max_connections: 1_000,
                max_connections_per_peer: 0,
                max_handshakes: 100,
                handshake_timeout: Duration::from_secs(10),
                first_request_timeout: Duration::from_secs(20),
                idle_timeout: Duration::from_secs(600),
                request_timeout: Duration::from_secs(60),
                admin_listen: None,
                drain_timeout: Duration::from_secs(5),
                max_concurrent_streams: 100,
                max_error_resets: 100,
                keepalive_interval: Duration::from_secs(20),
                keepalive_timeout: Duration::from_secs(10),
            },
            tls: None,
            limits: LimitsConfig {
                max_call_duration: Duration::from_secs(300),
                max_stream_duration: Duration::from_secs(3_600),
                max_calls: 1024,
                max_calls_per_application: 512,
                max_exports: 256,
                max_exports_per_application: 128,
                max_import_bytes: 256 << 20,
                max_import_bytes_per_application: 128 << 20,
                rate_per_application: None,
                rate_per_key: None,
                min_read_rate: 512,
                min_read_window: Duration::from_secs(60),
            },
            // All tests of a world come from one address, and many are refused on purpose.
            auth: AuthConfig { failed_logins: 60_000, ..AuthConfig::default() },
            log: LogConfig { log_format: LogFormat::Text, log_filter: "warn".to_owned() },
        };
        change(&mut config);

        let repository = Repository::open(&config.storage.database, 1, Clock::default()).await.unwrap();
        repository.require_schema(true).await.unwrap();
        let mut service_url = None;
        if let Some((_, name)) = clean_up.as_ref().filter(|_| is_walled) {
            let url = make_role(&url, name).await;
            config.storage.database = url.parse().unwrap();
            service_url = Some(url);
            repository.wall_off(name).await.unwrap();
        }
        let everything: Permissions = Permission::ALL.into_iter().collect();
        let mut keys = BTreeMap::new();
        for application in [ACME, OTHER] {
            keys.insert(application, insert_key(&repository, application, everything).await);
        }
        let database = Database::connect(&url).await.unwrap();
        let mut world = Self {
            engine,
            address: "127.0.0.1:0".parse().unwrap(),
            admin_address: None,
            database,
            config,
            database_url: url,
            repository,
            stop: CancellationToken::new(),
            running: None,
            keys,
            folder,
            clean_up,
            service_url,
        };
        world.start_server().await;
        world
    }

    /// Stops the server and starts another on the same stores.
    pub(crate) async fn restart(&mut self) {
        self.stop_server().await;
        self.start_server().await;
    }

    /// Stops the server; the stores stay.
    pub(crate) async fn stop_server(&mut self) {
        self.stop.cancel();
        if let Some(running) = self.running.take() {
            running.await.unwrap();
        }
    }

    async fn start_server(&mut self) {
        let server = Server::build(self.config.clone(), true, Clock::default()).await.unwrap();
        (self.address, self.admin_address) = (server.address(), server.admin_address());
        self.stop = CancellationToken::new();
        let stop = self.stop.clone();
        self.running = Some(tokio::spawn(async move { server.run(stop.cancelled_owned()).await.unwrap() }));
    }

    /// Makes a key; a running server takes about a second to know it.
    pub(crate) async fn insert_key(&self, application: &str, permissions: Permissions) -> String {
        insert_key(&self.repository, application, permissions).await
    }

    /// The repository, for what operators do beside the service.
    pub(crate) fn repository(&self) -> &Repository {
        &self.repository
    }

    /// The key of an application that permits everything.
    pub(crate) fn key(&self, application: &'static str) -> &str {
        &self.keys[application]
    }

    /// A client of `ACME` that may do everything.
    pub(crate) async fn client(&self) -> Client {
        self.client_of(ACME).await
    }

    /// A client of an application that may do everything.
    pub(crate) async fn client_of(&self, application: &'static str) -> Client {
        self.client_with(Credential::api_key(application, self.key(application)).unwrap()).await
    }

    /// A client with any credential.
    pub(crate) async fn client_with(&self, credential: Credential) -> Client {
        let channel = self.channel().await;
        Client {
            users: UserDataServiceClient::with_interceptor(channel.clone(), credential.clone()).max_decoding_message_size(1024 * 1024),
            imports: ImportServiceClient::with_interceptor(channel, credential),
        }
    }

    /// A connection without a credential.
    pub(crate) async fn channel(&self) -> Channel {
        channel_to(self.address).await
    }

    /// The folder that holds the uploads of this world.
    pub(crate) fn objects(&self) -> PathBuf {
        self.folder.path().join("objects")
    }

    /// A folder for whatever the test needs.
    pub(crate) fn folder(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    /// All rows that a query finds, as JSON.
    pub(crate) async fn query(&self, sql: &str) -> Vec<JsonValue> {
        let statement = Statement::from_string(self.database.get_database_backend(), sql);
        JsonValue::find_by_statement(statement).all(&self.database).await.unwrap()
    }

    /// Runs a statement on the database, behind the service's back.
    pub(crate) async fn execute(&self, sql: &str) {
        self.database.execute_unprepared(sql).await.unwrap();
    }

    /// Every row of every personal table and of `subjects` (save its epoch), by table, sorted.
    pub(crate) async fn all_rows(&self) -> BTreeMap<&'static str, Vec<String>> {
        let mut tables = BTreeMap::new();
        for table in personal_tables().map(|table| table.name) {
            let mut rows: Vec<String> = self.query(&format!("SELECT * FROM {table}")).await.iter().map(ToString::to_string).collect();
            rows.sort();
            tables.insert(table, rows);
        }
        let subjects = self.query("SELECT id, application_id, user_token, created_at FROM subjects ORDER BY id").await;
        tables.insert("subjects", subjects.iter().map(ToString::to_string).collect());
        tables
    }

    /// Every row of every personal table about one subject, by table, sorted.
    pub(crate) async fn rows_of(&self, subject_id: i64) -> BTreeMap<&'static str, Vec<String>> {
        let mut tables = BTreeMap::new();
        for table in personal_tables().map(|table| table.name) {
            let rows = self.query(&format!("SELECT * FROM {table} WHERE subject_id = {subject_id}")).await;
            let mut rows: Vec<String> = rows.iter().map(ToString::to_string).collect();
            rows.sort();
            tables.insert(table, rows);
        }
        tables
    }

    /// Every file of the object store, by path.
    pub(crate) fn all_objects(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut folders = vec![self.objects()];
        let mut files = BTreeMap::new();
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    files.insert(path.clone(), fs::read(path).unwrap());
                }
            }
        }
        files
    }

    /// The number of a subject.
    pub(crate) async fn subject_id(&self, application: &str, user_token: &str) -> i64 {
        let sql = format!("SELECT id FROM subjects WHERE application_id = '{application}' AND user_token = '{user_token}'");
        self.query(&sql).await[0]["id"].as_i64().unwrap()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some((admin, name)) = self.clean_up.take() {
            let role = self.service_url.is_some().then(|| name.clone());
            // The cluster is thrown away with all its databases; dropping them only saves space meanwhile.
            std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(async {
                    if let Ok(connection) = Database::connect(&admin).await {
                        let _ = connection.execute_unprepared(&format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).await;
                        if let Some(role) = role {
                            let _ = connection.execute_unprepared(&format!("DROP ROLE IF EXISTS {role}")).await;
                        }
                    }
                });
            });
        }
    }
}

impl Client {
    /// All responses of an export, or the status it ended with.
    pub(crate) async fn export_responses(&mut self, request: ExportUserDataRequest) -> Result<Vec<ExportUserDataResponse>, Status> {
        let mut stream = self.users.export_user_data(request).await?.into_inner();
        let mut responses = Vec::new();
        while let Some(response) = stream.message().await? {
            responses.push(response);
        }
        Ok(responses)
    }

    /// All responses of an export of everything.
    pub(crate) async fn export(&mut self, user_token: &str) -> Vec<ExportUserDataResponse> {
        self.export_responses(ExportUserDataRequest { user_token: user_token.to_owned(), ..Default::default() }).await.unwrap()
    }

    /// What has become of the erasures of a user; of all, if none is named.
    pub(crate) async fn erasure_status(&mut self, user_token: &str) -> GetErasureStatusResponse {
        let request = GetErasureStatusRequest { user_token: user_token.to_owned() };
        self.users.get_erasure_status(request).await.unwrap().into_inner()
    }

    /// How many erasures a user has seen.
    pub(crate) async fn epoch(&mut self, user_token: &str) -> i64 {
        self.erasure_status(user_token).await.epoch
    }

    /// How many files of a user are still to be removed.
    pub(crate) async fn pending(&mut self, user_token: &str) -> i32 {
        self.erasure_status(user_token).await.uploads_pending
    }

    /// Imports requests in one stream, as a writer who has looked at the users since they were last erased: old records come in again.
    pub(crate) async fn import_again(&mut self, mut requests: Vec<ImportUserDataRequest>) -> Result<ImportUserDataResponse, Status> {
        for request in &mut requests {
            request.observed_epoch = Some(self.epoch(&request.user_token).await);
        }
        self.import(requests).await
    }

    /// Imports requests in one stream.
    pub(crate) async fn import(&mut self, requests: Vec<ImportUserDataRequest>) -> Result<ImportUserDataResponse, Status> {
        Ok(self.imports.import_user_data(tokio_stream::iter(requests)).await?.into_inner())
    }
}

/// Waits, with patience, until `holds` does.
pub(crate) async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let patience = tokio::time::Instant::now() + Duration::from_secs(20);
    while !holds().await {
        assert!(tokio::time::Instant::now() < patience, "in vain waited for: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A connection to a listener, without a credential.
pub(crate) async fn channel_to(address: SocketAddr) -> Channel {
    Endpoint::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap()
}

async fn insert_key(repository: &Repository, application: &str, permissions: Permissions) -> String {
    let random: [u8; RANDOM_BYTES] = random();
    let now = Clock::default().now();
    let (key, text) = ApiKey::mint(&random, ApplicationId::parse(application).unwrap(), permissions, now, None);
    repository.insert_api_key(&key).await.unwrap();
    text.expose().to_owned()
}

pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).unwrap();
    bytes
}

/// A database of one's own in the cluster of `scripts/test`: its URL, that of the cluster, and its name.
pub(crate) async fn make_postgres_database() -> (String, String, String) {
    let admin = env::var("USERDATA_TEST_POSTGRES_URL")
        .expect("these tests need PostgreSQL: run scripts/test, which starts one and sets USERDATA_TEST_POSTGRES_URL");
    let name = format!("test_{}", hex::encode(random::<8>()));
    let connection = Database::connect(&admin).await.unwrap();
    assert_eq!(connection.get_database_backend(), DbBackend::Postgres);
    connection.execute_unprepared(&format!("CREATE DATABASE {name}")).await.unwrap();
    connection.close().await.unwrap();
    let (server, _) = admin.rsplit_once('/').unwrap();
    (format!("{server}/{name}"), admin, name)
}

/// A role of this name that may connect to a database, and no more; gives the database's URL for it.
pub(crate) async fn make_role(database_url: &str, name: &str) -> String {
    let password = hex::encode(random::<16>());
    let connection = Database::connect(database_url).await.unwrap();
    connection.execute_unprepared(&format!("CREATE ROLE {name} LOGIN PASSWORD '{password}'")).await.unwrap();
    connection.close().await.unwrap();
    let (_, place) = database_url.rsplit_once('@').unwrap();
    format!("postgres://{name}:{password}@{place}")
}
