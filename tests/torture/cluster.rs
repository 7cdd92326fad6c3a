//! A PostgreSQL cluster of the test's own, that writes as in production, to be killed and started again.

use std::{
    fs,
    net::TcpListener,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::trial::{Random, random_bytes};

/// How long a cluster may take to come up, with what it recovers.
const UP_WITHIN: Duration = Duration::from_secs(60);

/// How it is ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum End {
    /// `kill -9` of the postmaster and all its children.
    Kill,
    /// An immediate stop: it ends its children and nothing is written down.
    Immediate,
}

pub(crate) struct Cluster {
    /// A database whose role may create databases.
    pub(crate) url: String,
    port: u16,
    binaries: PathBuf,
    /// Whom it runs as, where this is root: PostgreSQL refuses to be run by root.
    user: Option<String>,
    folder: TempDir,
    postmaster: Option<Child>,
}

impl Cluster {
    /// Makes one and starts it.
    pub(crate) fn start(random: &mut Random) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let user = (run(Command::new("id").arg("-u")).trim() == "0").then(|| {
            let postgres = Command::new("id").args(["-un", "postgres"]).output().unwrap();
            if postgres.status.success() { "postgres" } else { "nobody" }.to_owned()
        });
        let tool = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/tool");
        let binaries = PathBuf::from(run(Command::new(tool).arg("postgres")).trim());
        let password = hex::encode(random_bytes::<16>());
        let port = free_port(random);
        let url = format!("postgres://userdata:{password}@127.0.0.1:{port}/postgres");
        let mut cluster = Self { url, port, binaries, user, folder, postmaster: None };

        let (home, password_file) = (cluster.folder.path(), cluster.folder.path().join("password"));
        fs::write(&password_file, password).unwrap();
        if let Some(user) = &cluster.user {
            run(Command::new("chown").args(["-R", user]).arg(home));
        }
        let mut initdb = cluster.command("initdb");
        initdb.arg("-D").arg(cluster.data()).args(["-U", "userdata", "-A", "scram-sha-256", "-E", "UTF8", "--locale", "C"]);
        run(initdb.arg("--pwfile").arg(password_file));
        cluster.restart();
        cluster
    }

    /// Starts it again, and waits until it takes connections.
    pub(crate) fn restart(&mut self) {
        let log = fs::OpenOptions::new().append(true).create(true).open(self.log()).unwrap();
        let mut postgres = self.command("postgres");
        postgres.arg("-D").arg(self.data()).args(["-p", &self.port.to_string(), "-h", "127.0.0.1", "-k", ""]);
        postgres.args(["-c", "max_connections=100", "-c", "fsync=on", "-c", "full_page_writes=on"]);
        postgres.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.postmaster = Some(postgres.spawn().unwrap());
        let begun = Instant::now();
        while !self.is_up() {
            let ended = self.postmaster.as_mut().unwrap().try_wait().unwrap();
            assert!(ended.is_none() && begun.elapsed() < UP_WITHIN, "PostgreSQL does not start: {ended:?}\n{}", self.last_words());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Ends it at once.
    pub(crate) fn end(&mut self, how: End) {
        let Some(mut postmaster) = self.postmaster.take() else { return };
        let children = children_of(postmaster.id());
        match how {
            End::Kill => {
                signal("KILL", &[postmaster.id()]);
                // Without the postmaster none is added.
                postmaster.wait().unwrap();
                signal("KILL", &children);
            }
            End::Immediate => signal("QUIT", &[postmaster.id()]),
        }
        postmaster.wait().unwrap();
        let begun = Instant::now();
        while children.iter().any(|pid| is_of_cluster(*pid)) {
            assert!(begun.elapsed() < UP_WITHIN, "children of PostgreSQL do not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn is_up(&self) -> bool {
        fs::read_to_string(self.data().join("postmaster.pid")).is_ok_and(|text| {
            let mut lines = text.lines();
            let is_this = lines.next().and_then(|pid| pid.parse().ok()) == self.postmaster.as_ref().map(Child::id);
            is_this && lines.any(|line| line.starts_with("ready"))
        })
    }

    fn command(&self, program: &str) -> Command {
        let program = self.binaries.join(program);
        // It ends with the thread that started it, should this test be killed.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "QUIT"]);
        if let Some(user) = &self.user {
            let group = run(Command::new("id").args(["-g", user]));
            command.args(["--reuid", user, "--regid", group.trim(), "--clear-groups"]);
        }
        command.arg(program).current_dir(self.folder.path());
        command
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    fn last_words(&self) -> String {
        let log = fs::read_to_string(self.log()).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.end(End::Immediate);
    }
}

/// Runs a command to its end: what it printed.
fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// A port that nobody listens on, and that no connection of these tests is given before the cluster is there again.
fn free_port(random: &mut Random) -> u16 {
    loop {
        let port = random.between(20_000, 32_000) as u16;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

fn signal(name: &str, processes: &[u32]) {
    if !processes.is_empty() {
        // One that has ended meanwhile cannot be told.
        let _ = Command::new("kill").arg(format!("-{name}")).args(processes.iter().map(u32::to_string)).stderr(Stdio::null()).status();
    }
}

fn children_of(parent: u32) -> Vec<u32> {
    let processes = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    processes.filter(|pid| status_of(*pid).is_some_and(|(_, of)| of == parent)).collect()
}

fn is_of_cluster(pid: u32) -> bool {
    status_of(pid).is_some_and(|(name, _)| name == "postgres")
}

/// The name of a process that runs, and its parent.
fn status_of(pid: u32) -> Option<(String, u32)> {
    let status = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (before, after) = status.rsplit_once(')')?;
    let mut fields = after.split_whitespace();
    // What has ended and was not yet waited for holds nothing any more.
    let runs = fields.next()? != "Z";
    Some((before.split_once('(')?.1.to_owned(), fields.next()?.parse().ok()?)).filter(|_| runs)
}
