//! The real program on stores that outlive it: started, armed with failpoints, killed, and started again.

use std::{
    env,
    io::{BufRead, BufReader, Read},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use sea_orm::{ConnectionTrait, Database};
use serde_json::Value;
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use tonic::{
    service::interceptor::InterceptedService,
    transport::{Channel, Endpoint},
};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};
use userdata::{
    grpc::{
        client::Credential,
        proto::{import_service_client::ImportServiceClient, user_data_service_client::UserDataServiceClient},
    },
    repository::Engine,
};

use crate::trial::random_bytes;

/// The application of every user here.
pub(crate) const ACME: &str = "ACME";

/// How soon a program that was killed serves again.
pub(crate) const READY_WITHIN: Duration = Duration::from_secs(5);

/// A database, a folder of objects and an API key: what remains when a program is killed.
pub(crate) struct Stores {
    pub(crate) engine: Engine,
    pub(crate) database_url: String,
    key: String,
    folder: TempDir,
    /// The cluster that the database is to be removed from, and its name there.
    clean_up: Option<(String, String)>,
}

/// A client of the two services.
#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) users: UserDataServiceClient<InterceptedService<Channel, Credential>>,
    pub(crate) imports: ImportServiceClient<InterceptedService<Channel, Credential>>,
}

impl Stores {
    /// Stores of one's own. PostgreSQL is that of `scripts/with-services`.
    pub(crate) async fn make(engine: Engine) -> Self {
        let folder = tempfile::tempdir().unwrap();
        match engine {
            Engine::Sqlite => {
                let url = format!("sqlite://{}", folder.path().join("userdata.db").display());
                Self::with(engine, folder, url, None)
            }
            Engine::Postgres => {
                let admin = env::var("USERDATA_TEST_POSTGRES_URL")
                    .expect("these tests need PostgreSQL: scripts/with-services starts one and sets USERDATA_TEST_POSTGRES_URL");
                let (url, name) = make_postgres_database(&admin).await;
                Self::with(engine, folder, url, Some((admin, name)))
            }
        }
    }

    /// Stores with a database of a PostgreSQL cluster that the caller runs and throws away.
    pub(crate) async fn make_in(cluster_url: &str) -> Self {
        let (url, _) = make_postgres_database(cluster_url).await;
        Self::with(Engine::Postgres, tempfile::tempdir().unwrap(), url, None)
    }

    fn with(engine: Engine, folder: TempDir, database_url: String, clean_up: Option<(String, String)>) -> Self {
        let mut stores = Self { engine, database_url, key: String::new(), folder, clean_up };
        stores.command("migrate");
        // `admin` to see what is hidden from other exports.
        let permissions = "export,delete-messages,scoped-delete,import,admin";
        stores.key = stores.command(&format!("keys create --application {ACME} --permissions {permissions}")).trim().to_owned();
        stores
    }

    /// Runs a command of the program to its end, on this database: what it printed.
    fn command(&self, arguments: &str) -> String {
        let mut command = Command::new(env!("CARGO_BIN_EXE_userdata"));
        command.args(arguments.split(' ')).args(["--database-url", &self.database_url]).current_dir(self.folder.path()).env_clear();
        let output = command.output().unwrap();
        assert!(output.status.success(), "{arguments}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// The folder of the object store.
    pub(crate) fn objects(&self) -> PathBuf {
        self.folder.path().join("objects")
    }

    /// The files in the object store that are a user's. None when there is no folder.
    pub(crate) fn files_of(&self, user_token: &str) -> Vec<PathBuf> {
        files(&self.objects().join(folder_of(user_token)))
    }

    /// Starts the program and waits until it serves.
    ///
    /// # Panics
    /// If it does not within [`READY_WITHIN`].
    pub(crate) async fn serve(&self, failpoints: &str) -> Program {
        let mut program = self.start(failpoints);
        match program.ready(READY_WITHIN).await {
            Ok(_) => program,
            Err(reason) => panic!("after a start with FAILPOINTS={failpoints:?}: {reason}"),
        }
    }

    /// Starts the program. Failpoints: `erasure.before_commit=2*off->1*return`, more after a semicolon; empty for none.
    pub(crate) fn start(&self, failpoints: &str) -> Program {
        self.start_on(&format!("file://{}", self.objects().display()), &[], failpoints)
    }

    /// The same, on another object store, which may need an environment.
    pub(crate) fn start_on(&self, object_store_url: &str, environment: &[(&str, String)], failpoints: &str) -> Program {
        let mut command = Command::new(env!("CARGO_BIN_EXE_userdata"));
        command
            .args(["serve", "--listen", "127.0.0.1:0", "--log-format", "json", "--database-max-connections", "8"])
            // More than any test sends at once: that a call is shed is for other tests.
            .args(["--max-calls", "1000", "--max-calls-per-application", "1000"])
            .args(["--max-exports", "1000", "--max-exports-per-application", "1000"])
            .args(["--database-url", &self.database_url, "--object-store-url", object_store_url])
            .current_dir(self.folder.path())
            .env_clear()
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        if self.engine == Engine::Postgres {
            command.arg("--migrate");
        }
        if !failpoints.is_empty() {
            command.env("FAILPOINTS", failpoints);
        }
        let started = Instant::now();
        let mut child = command.spawn().unwrap();
        let log = Arc::default();
        collect(child.stderr.take().unwrap(), &log);
        Program { child, log, key: self.key.clone(), started }
    }
}

impl Drop for Stores {
    fn drop(&mut self) {
        if let Some((admin, name)) = self.clean_up.take() {
            // The cluster is thrown away with all its databases; dropping them only saves space meanwhile.
            std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(async {
                    if let Ok(connection) = Database::connect(&admin).await {
                        let _ = connection.execute_unprepared(&format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).await;
                    }
                });
            });
        }
    }
}

/// A program that was started; killed when it is dropped.
pub(crate) struct Program {
    child: Child,
    log: Arc<Mutex<String>>,
    key: String,
    started: Instant,
}

impl Program {
    /// Waits until its health is SERVING: how long after its start that was, or why it will not be.
    pub(crate) async fn ready(&mut self, within: Duration) -> Result<Duration, String> {
        loop {
            if self.is_serving().await {
                return Ok(self.started.elapsed());
            }
            if let Some(status) = self.exit_status() {
                return Err(format!("it ended before it was ready: {status}\n{}", self.log()));
            }
            if self.started.elapsed() > within {
                return Err(format!("it is not ready after {within:?}:\n{}", self.log()));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Whether it says of itself that it serves.
    pub(crate) async fn is_serving(&self) -> bool {
        let Some(address) = self.address() else { return false };
        let Ok(channel) = Endpoint::from_shared(format!("http://{address}")).unwrap().connect().await else { return false };
        let answer = HealthClient::new(channel).check(HealthCheckRequest::default()).await;
        answer.is_ok_and(|answer| answer.into_inner().status() == ServingStatus::Serving)
    }

    /// Where it listens, once it does.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        let log = self.log();
        let mut lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let line = lines.find(|line| line["message"] == "listening")?;
        Some(line["address"].as_str()?.parse().unwrap())
    }

    /// What it has said so far.
    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// A client that may do everything, on a connection of its own; it connects when it first calls.
    pub(crate) fn client(&self) -> Client {
        let channel = Endpoint::from_shared(format!("http://{}", self.address().unwrap())).unwrap().connect_lazy();
        let credential = Credential::api_key(ACME, &self.key).unwrap();
        Client {
            users: UserDataServiceClient::with_interceptor(channel.clone(), credential.clone()).max_decoding_message_size(8 << 20),
            imports: ImportServiceClient::with_interceptor(channel, credential),
        }
    }

    /// How it ended, if it did.
    pub(crate) fn exit_status(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Waits, no longer than this, until its log has a text.
    pub(crate) async fn says(&self, text: &str, within: Duration) {
        let begun = Instant::now();
        while !self.log().contains(text) && begun.elapsed() < within {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Waits for its end: whether it came in time.
    pub(crate) async fn ends(&mut self, within: Duration) -> bool {
        let begun = Instant::now();
        while self.exit_status().is_none() {
            if begun.elapsed() > within {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        true
    }

    /// Tells it to stop, and waits until it has.
    pub(crate) async fn stop(&mut self) {
        let told = Command::new("kill").arg("-TERM").arg(self.child.id().to_string()).status().unwrap();
        assert!(told.success() && self.ends(Duration::from_secs(30)).await, "it does not stop:\n{}", self.log());
    }

    /// Ends it at once, as `kill -9` does.
    pub(crate) fn kill(&mut self) {
        // One that has ended already cannot be killed.
        let _ = self.child.kill();
        self.child.wait().unwrap();
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn collect(output: impl Read + Send + 'static, text: &Arc<Mutex<String>>) {
    let text = Arc::clone(text);
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            let mut text = text.lock().unwrap();
            text.push_str(&line);
            text.push('\n');
        }
    });
}

/// All files below a folder.
pub(crate) fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    // What is removed between two looks is gone.
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    paths.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// The folder of a user's objects in any object store.
pub(crate) fn folder_of(user_token: &str) -> String {
    let mut hash = Sha256::new_with_prefix(b"userdata subject");
    for part in [ACME, user_token] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hex::encode(&hash.finalize()[..16])
}

/// A database in a cluster: its URL and its name.
async fn make_postgres_database(cluster_url: &str) -> (String, String) {
    let name = format!("torture_{}", hex::encode(random_bytes::<8>()));
    let connection = Database::connect(cluster_url).await.unwrap();
    connection.execute_unprepared(&format!("CREATE DATABASE {name}")).await.unwrap();
    connection.close().await.unwrap();
    let (server, _) = cluster_url.rsplit_once('/').unwrap();
    (format!("{server}/{name}"), name)
}
