//! Servers under test, each in a process of its own.

use std::{
    fs::{self, File},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::ensure;

use super::{
    database::{Database, PROGRAM},
    process,
};

/// How long a server may take to start, or to settle.
const PATIENCE: Duration = Duration::from_secs(60);

/// Ended when dropped.
pub(crate) struct Server {
    process: Child,
    pub(crate) address: String,
}

impl Server {
    /// The service, as it is delivered.
    pub(crate) fn ours(database: &Database, folder: &Path, flags: &[&str]) -> anyhow::Result<Self> {
        let mut command = Command::new(PROGRAM);
        // The timeouts because the bench waits for shells, and for servers when it fails, without looking after its connections.
        command.args(["serve", "--listen", "127.0.0.1:0", "--log-format", "json", "--drain-timeout", "1s"]);
        command.args(["--first-request-timeout", "1h", "--idle-timeout", "1h", "--keepalive-timeout", "1h"]);
        // Many readers of one application.
        command.args(["--max-exports", "256", "--max-exports-per-application", "128"]);
        command.args(flags);
        command.env("USERDATA_DATABASE_URL", &database.url);
        command.env("USERDATA_OBJECT_STORE_URL", format!("file://{}", folder.join("objects").display()));
        Self::start(command, &folder.join("ours.log"))
    }

    /// The plain version of it, which this program is too.
    pub(crate) fn plain(database: &Database, folder: &Path, with_digests: bool) -> anyhow::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["plain-service", "--database", &database.url]);
        if with_digests {
            command.arg("--digests");
        }
        Self::start(command, &folder.join("plain.log"))
    }

    /// A server that does nothing but answer with so many bytes.
    pub(crate) fn echo(reply_bytes: usize, folder: &Path) -> anyhow::Result<Self> {
        Self::start(Self::echo_command(reply_bytes)?, &folder.join("echo.log"))
    }

    /// One that reads as well, what is in an SQLite database.
    pub(crate) fn reading_echo(database: &Database, reply_bytes: usize, folder: &Path) -> anyhow::Result<Self> {
        let mut command = Self::echo_command(reply_bytes)?;
        command.args(["--reads", database.url.trim_start_matches("sqlite://")]);
        Self::start(command, &folder.join("reading_echo.log"))
    }

    /// One that erases what it is told to.
    pub(crate) fn erasing_echo(database: &Database, folder: &Path) -> anyhow::Result<Self> {
        let mut command = Self::echo_command(0)?;
        command.args(["--erases", &database.url]);
        Self::start(command, &folder.join("erasing_echo.log"))
    }

    fn echo_command(reply_bytes: usize) -> anyhow::Result<Command> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["echo", "--reply-bytes", &reply_bytes.to_string()]);
        Ok(command)
    }

    fn start(mut command: Command, log: &Path) -> anyhow::Result<Self> {
        let file = File::create(log)?;
        let process = command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file).spawn()?;
        let mut server = Self { process, address: String::new() };
        let began = Instant::now();
        while server.address.is_empty() {
            let log = fs::read_to_string(log)?;
            ensure!(server.process.try_wait()?.is_none() && began.elapsed() < PATIENCE, "a server did not start: {log}");
            let lines = log.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
            let address = lines.filter(|line| line["message"] == "listening").find_map(|line| line["address"].as_str().map(str::to_owned));
            server.address = address.unwrap_or_default();
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(server)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Has all its threads, also those to come, share the first processor.
    pub(crate) fn stay_on_one_processor(&self) -> anyhow::Result<()> {
        let told = Command::new("taskset").args(["--all-tasks", "--cpu-list", "--pid", "0", &self.pid().to_string()]).output()?;
        ensure!(told.status.success(), "taskset: {}", String::from_utf8_lossy(&told.stderr));
        Ok(())
    }

    /// Waits until its resident memory has hardly changed for a second.
    pub(crate) async fn settle(&self) -> anyhow::Result<()> {
        let began = Instant::now();
        let (mut memory, mut unchanged) = (process::memory_of(self.pid(), "VmRSS:")?, 0);
        while unchanged < 10 {
            ensure!(began.elapsed() < PATIENCE, "the server's memory does not settle");
            tokio::time::sleep(Duration::from_millis(100)).await;
            let now = process::memory_of(self.pid(), "VmRSS:")?;
            if now.abs_diff(memory) < 64 * 1024 {
                unchanged += 1;
            } else {
                (memory, unchanged) = (now, 0);
            }
        }
        Ok(())
    }

    /// Ends it as an operator would, and waits until it has ended. Meanwhile clients here see that their connections end.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        self.tell_to_stop();
        let began = Instant::now();
        while self.process.try_wait()?.is_none() {
            ensure!(began.elapsed() < PATIENCE, "a server does not stop");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }

    fn tell_to_stop(&mut self) {
        let told = Command::new("kill").arg(self.process.id().to_string()).status().is_ok_and(|status| status.success());
        if !told {
            let _ = self.process.kill();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.process.try_wait().is_ok_and(|status| status.is_none()) {
            self.tell_to_stop();
            let _ = self.process.wait();
        }
    }
}
