//! The real program as a child process: its address, its log, its end.

use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use serde_json::Value;
use tonic::transport::{Channel, Endpoint};

use crate::world::eventually;

/// A running program; killed when it is dropped.
pub(crate) struct Program {
    child: Child,
    stdout: Arc<Mutex<String>>,
    stderr: Arc<Mutex<String>>,
    readers: Vec<JoinHandle<()>>,
}

impl Program {
    /// Starts it in a folder with nothing in its environment.
    pub(crate) fn start(folder: &Path, arguments: &[&str]) -> Self {
        Self::start_with(folder, &[], arguments)
    }

    fn start_with(folder: &Path, environment: &[(&str, &str)], arguments: &[&str]) -> Self {
        Self::run(folder, Command::new(env!("CARGO_BIN_EXE_userdata")).args(arguments).env_clear().envs(environment.iter().copied()))
    }

    fn run(folder: &Path, command: &mut Command) -> Self {
        let mut child = command.current_dir(folder).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (stdout, stderr) = (Arc::default(), Arc::default());
        let readers = vec![collect(child.stdout.take().unwrap(), &stdout), collect(child.stderr.take().unwrap(), &stderr)];
        Self { child, stdout, stderr, readers }
    }

    /// Starts `serve` on any port; `more` are its other arguments.
    pub(crate) fn serve(folder: &Path, database_url: &str, more: &[&str]) -> Self {
        Self::serve_with(folder, &[], database_url, more)
    }

    /// The same, with an environment.
    pub(crate) fn serve_with(folder: &Path, environment: &[(&str, &str)], database_url: &str, more: &[&str]) -> Self {
        let serve = ["serve", "--listen", "127.0.0.1:0", "--log-format", "json", "--database-url", database_url];
        let environment = [&[("USERDATA_OBJECT_STORE_URL", "file://objects")], environment].concat();
        Self::start_with(folder, &environment, &[&serve, more].concat())
    }

    /// The same, with limits that the shell's `ulimit` sets.
    pub(crate) fn serve_limited(folder: &Path, limits: &str, database_url: &str) -> Self {
        let program = format!("ulimit {limits}; exec {} \"$@\"", env!("CARGO_BIN_EXE_userdata"));
        let serve = ["serve", "--listen", "127.0.0.1:0", "--log-format", "json", "--database-url", database_url];
        Self::run(folder, Command::new("sh").args(["-c", &program, "sh"]).args(serve))
    }

    /// The number of its process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Where it listens, as its log says, once it does.
    pub(crate) async fn address(&self) -> SocketAddr {
        let listening = || self.log().into_iter().find(|line| line["message"] == "listening");
        eventually("the program listens", async || listening().is_some()).await;
        listening().unwrap()["address"].as_str().unwrap().parse().unwrap()
    }

    /// A connection to it.
    pub(crate) async fn channel(&self) -> Channel {
        Endpoint::from_shared(format!("http://{}", self.address().await)).unwrap().connect().await.unwrap()
    }

    /// What it has printed.
    pub(crate) fn stdout(&self) -> String {
        self.stdout.lock().unwrap().clone()
    }

    /// What it has said beside that.
    pub(crate) fn stderr(&self) -> String {
        self.stderr.lock().unwrap().clone()
    }

    /// The lines of its JSON log.
    pub(crate) fn log(&self) -> Vec<Value> {
        self.stderr().lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// Sends it a signal by name: `TERM`.
    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("sh").args(["-c", &format!("kill -{name} {}", self.child.id())]).status().unwrap();
        assert!(sent.success());
    }

    /// Waits for its end: the exit code, and how long it took.
    pub(crate) async fn ended(&mut self) -> (Option<i32>, Duration) {
        let begun = Instant::now();
        let mut status = None;
        eventually("the program ends", async || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        })
        .await;
        let took = begun.elapsed();
        for reader in self.readers.drain(..) {
            reader.join().unwrap();
        }
        (status.unwrap().code(), took)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn collect(output: impl std::io::Read + Send + 'static, text: &Arc<Mutex<String>>) -> JoinHandle<()> {
    let text = Arc::clone(text);
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            let mut text = text.lock().unwrap();
            text.push_str(&line);
            text.push('\n');
        }
    })
}
