//! How much memory an export of any size takes: run it with `scripts/with-services cargo bench --bench export_memory`.
//!
//! A generated user of 200,000 messages is imported into a real `userdata serve`. Another one, started afresh on the same stores and idle,
//! then exports it whole. Printed are its resident memory when idle, the peak while it exports (`VmHWM`, reset before), their difference,
//! and what was exported; the program fails if the difference is above 64 MiB, a frame above 1 MiB, or a message missing. On SQLite
//! always, on PostgreSQL where `USERDATA_TEST_POSTGRES_URL` is set. Linux only: the figures are the kernel's.

use std::{
    env,
    fs::{self, File},
    io::{Write, stdout},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use prost::Message;
use sea_orm::{ConnectionTrait, Database};
use tonic::{
    service::interceptor::InterceptedService,
    transport::{Channel, Endpoint},
};
use userdata::{
    cli::sample,
    grpc::{
        client::Credential,
        proto::{ExportUserDataRequest, import_service_client::ImportServiceClient, user_data_service_client::UserDataServiceClient},
    },
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_userdata");
const APPLICATION: &str = "BENCH";
const MESSAGES: u32 = 200_000;
const SEED: u64 = 1;
const MAX_DIFFERENCE: u64 = 64 * 1024 * 1024;
const MAX_FRAME: usize = 1024 * 1024;
/// How long a server may take to start, or to settle.
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    measure("sqlite", &format!("sqlite://{}", folder.path().join("userdata.db").display())).await?;
    if let Ok(admin) = env::var("USERDATA_TEST_POSTGRES_URL") {
        let (server, _) = admin.rsplit_once('/').context("USERDATA_TEST_POSTGRES_URL names no database")?;
        let database = format!("export_memory_{}", std::process::id());
        let connection = Database::connect(&admin).await?;
        connection.execute_unprepared(&format!("CREATE DATABASE {database}")).await?;
        let measured = measure("postgres", &format!("{server}/{database}")).await;
        connection.execute_unprepared(&format!("DROP DATABASE {database} WITH (FORCE)")).await?;
        measured?;
    }
    Ok(())
}

/// Imports, exports, prints, and fails where the figures are too high.
async fn measure(engine: &str, database_url: &str) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    run(database_url, &["migrate"])?;
    let key = run(database_url, &["keys", "create", "--application", APPLICATION, "--permissions", "import,export"])?;
    let credential = Credential::api_key(APPLICATION, key.trim())?;

    let document = sample::documents(SEED, 1, Some(MESSAGES)).next().context("no user was generated")?;
    let user_token = document.user_token.clone();
    let server = Server::start(database_url, folder.path())?;
    let mut imports = ImportServiceClient::new(server.connect(&credential).await?);
    let began = Instant::now();
    let requests: Vec<_> = document.into_requests().collect();
    let outcome = imports.import_user_data(tokio_stream::iter(requests)).await?.into_inner();
    ensure!(outcome.rejected == 0, "{} records were rejected", outcome.rejected);
    let imported_in = began.elapsed();
    drop(server);

    let server = Server::start(database_url, folder.path())?;
    let mut users = UserDataServiceClient::new(server.connect(&credential).await?).max_decoding_message_size(2 * MAX_FRAME);
    let idle = server.settled_memory()?;
    server.reset_peak()?;
    let began = Instant::now();
    let request = ExportUserDataRequest { user_token, include_upload_content: true, ..Default::default() };
    let mut stream = users.export_user_data(request).await?.into_inner();
    let (mut frames, mut largest, mut bytes, mut summary) = (0_u32, 0, 0, None);
    while let Some(response) = stream.message().await? {
        frames += 1;
        largest = largest.max(response.encoded_len());
        bytes += response.encoded_len();
        summary = response.summary;
    }
    let took = began.elapsed();
    let peak = server.memory("VmHWM:")?;
    let difference = peak.saturating_sub(idle);
    let messages = summary.and_then(|summary| summary.counts).context("the export has no summary")?.messages;

    let mib = |bytes: u64| bytes as f64 / (1024.0 * 1024.0);
    writeln!(
        stdout().lock(),
        "{engine}: {messages} messages: idle {:.1} MiB, peak {:.1} MiB, difference {:.1} MiB (at most {:.0}); {frames} frames of at most \
         {largest} bytes, {:.1} MiB in {:.1} s (imported in {:.1} s)",
        mib(idle),
        mib(peak),
        mib(difference),
        mib(MAX_DIFFERENCE),
        mib(bytes as u64),
        took.as_secs_f64(),
        imported_in.as_secs_f64(),
    )?;
    ensure!(i64::from(messages) == i64::from(MESSAGES), "of {MESSAGES} messages {messages} were exported");
    ensure!(difference <= MAX_DIFFERENCE, "the export took {difference} bytes above idle; {MAX_DIFFERENCE} are allowed");
    ensure!(largest <= MAX_FRAME, "a frame has {largest} bytes; {MAX_FRAME} are allowed");
    Ok(())
}

/// Runs a command of the program on the database; gives what it prints.
fn run(database_url: &str, arguments: &[&str]) -> anyhow::Result<String> {
    let output = Command::new(PROGRAM).args(arguments).env("USERDATA_DATABASE_URL", database_url).stderr(Stdio::inherit()).output()?;
    ensure!(output.status.success(), "userdata {} failed", arguments.join(" "));
    Ok(String::from_utf8(output.stdout)?)
}

/// A server in a process of its own, ended when dropped.
struct Server {
    process: Child,
    address: String,
}

impl Server {
    fn start(database_url: &str, folder: &Path) -> anyhow::Result<Self> {
        let log = folder.join("log");
        let file = File::create(&log)?;
        let process = Command::new(PROGRAM)
            .args(["serve", "--listen", "127.0.0.1:0", "--log-format", "json", "--log-filter", "info"])
            .env("USERDATA_DATABASE_URL", database_url)
            .env("USERDATA_OBJECT_STORE_URL", format!("file://{}", folder.join("objects").display()))
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()?;
        let mut server = Self { process, address: String::new() };
        let began = Instant::now();
        while server.address.is_empty() {
            let log = fs::read_to_string(&log)?;
            ensure!(server.process.try_wait()?.is_none() && began.elapsed() < PATIENCE, "the server did not start: {log}");
            let lines = log.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
            let address = lines.filter(|line| line["message"] == "listening").find_map(|line| line["address"].as_str().map(str::to_owned));
            server.address = address.unwrap_or_default();
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(server)
    }

    async fn connect(&self, credential: &Credential) -> anyhow::Result<InterceptedService<Channel, Credential>> {
        let channel = Endpoint::from_shared(format!("http://{}", self.address))?.connect().await?;
        Ok(InterceptedService::new(channel, credential.clone()))
    }

    /// A line of the process's status, in bytes.
    fn memory(&self, name: &str) -> anyhow::Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix(name)).with_context(|| format!("no {name} in the process's status"))?;
        let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse()?;
        Ok(kilobytes * 1024)
    }

    /// The resident memory once it has not changed for two seconds.
    fn settled_memory(&self) -> anyhow::Result<u64> {
        let began = Instant::now();
        let (mut memory, mut unchanged) = (self.memory("VmRSS:")?, 0);
        while unchanged < 20 {
            ensure!(began.elapsed() < PATIENCE, "the server's memory does not settle");
            std::thread::sleep(Duration::from_millis(100));
            let now = self.memory("VmRSS:")?;
            unchanged = if now == memory { unchanged + 1 } else { 0 };
            memory = now;
        }
        Ok(memory)
    }

    /// Has the kernel forget the peak so far.
    fn reset_peak(&self) -> anyhow::Result<()> {
        Ok(fs::write(format!("/proc/{}/clear_refs", self.process.id()), "5")?)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // As an operator would; the rest is for a server that does not listen.
        let told = Command::new("kill").arg(self.process.id().to_string()).status().is_ok_and(|status| status.success());
        if !told {
            let _ = self.process.kill();
        }
        let _ = self.process.wait();
    }
}
