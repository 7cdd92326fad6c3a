//! A PostgreSQL cluster of one test, to be stopped, and held up, without the others hearing of it.

use std::{
    fs,
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::world::random;

/// How long it may take to come up.
const UP_WITHIN: Duration = Duration::from_secs(60);

pub(crate) struct Cluster {
    /// A database whose role may create databases.
    pub(crate) url: String,
    port: u16,
    binaries: PathBuf,
    /// Options of setpriv: PostgreSQL refuses to be run by root.
    owner: Vec<String>,
    folder: TempDir,
    /// Settings beside those that all have.
    settings: Vec<String>,
    postmaster: Option<Child>,
}

impl Cluster {
    /// Makes one and starts it.
    pub(crate) fn start() -> Self {
        Self::start_with(None)
    }

    /// The same, with a certificate and its key in PEM: it takes no connection that is not encrypted.
    pub(crate) fn start_encrypted(certificate: &str, key: &str) -> Self {
        Self::start_with(Some((certificate, key)))
    }

    fn start_with(identity: Option<(&str, &str)>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut settings = Vec::new();
        if let Some((certificate, key)) = identity {
            settings.push("ssl=on".to_owned());
            for (kind, pem) in [("cert", certificate), ("key", key)] {
                let file = folder.path().join(kind);
                fs::write(&file, pem).unwrap();
                fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
                settings.push(format!("ssl_{kind}_file={}", text(&file)));
            }
        }
        let binaries = PathBuf::from(output(&mut Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/tool")), &["postgres"]));
        let password = hex::encode(random::<16>());
        fs::write(folder.path().join("password"), &password).unwrap();
        let mut owner = Vec::new();
        if output(&mut Command::new("id"), &["-u"]) == "0" {
            let is_there = Command::new("id").args(["-u", "postgres"]).output().unwrap().status.success();
            let user = if is_there { "postgres" } else { "nobody" };
            let group = output(&mut Command::new("id"), &["-g", user]);
            owner.extend(["--reuid", user, "--regid", &group, "--clear-groups"].map(str::to_owned));
            output(&mut Command::new("chown"), &["-R", user, &text(folder.path())]);
        }
        let port = free_port();
        let url = format!("postgres://userdata:{password}@127.0.0.1:{port}/postgres");
        let mut cluster = Self { url, port, binaries, owner, folder, settings, postmaster: None };
        let initdb =
            ["-D", &cluster.data(), "-U", "userdata", "-A", "scram-sha-256", "--pwfile", "password", "-E", "UTF8", "--locale", "C", "-N"];
        output(&mut cluster.command("initdb"), &initdb);
        if identity.is_some() {
            fs::write(Path::new(&cluster.data()).join("pg_hba.conf"), "hostssl all all 127.0.0.1/32 scram-sha-256\n").unwrap();
        }
        cluster.start_again();
        cluster
    }

    /// Starts it, and waits until it takes connections.
    pub(crate) fn start_again(&mut self) {
        let mut postgres = self.command("postgres");
        postgres.args(["-D", &self.data(), "-p", &self.port.to_string(), "-h", "127.0.0.1", "-k", "", "-c", "fsync=off"]);
        postgres.args(self.settings.iter().flat_map(|setting| ["-c", setting]));
        self.postmaster = Some(postgres.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
        let (begun, pid_file) = (Instant::now(), Path::new(&self.data()).join("postmaster.pid"));
        let is_up = |text: String| text.starts_with(&format!("{}\n", self.pid())) && text.lines().any(|line| line.starts_with("ready"));
        while !fs::read_to_string(&pid_file).is_ok_and(is_up) {
            assert!(begun.elapsed() < UP_WITHIN, "PostgreSQL does not start");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Stops it at once (`pg_ctl stop -m immediate`): whoever is connected is cut, and nothing is written down.
    pub(crate) fn stop(&mut self) {
        let Some(mut postmaster) = self.postmaster.take() else { return };
        // Processes that are held up cannot end.
        let processes = family(postmaster.id());
        signal("CONT", &processes);
        signal("QUIT", &processes[..1]);
        postmaster.wait().unwrap();
    }

    /// Holds it up: nothing is answered, and nobody is cut.
    pub(crate) fn hold(&self) {
        // The postmaster first, so that no other process is made meanwhile.
        signal("STOP", &[self.pid()]);
        signal("STOP", &family(self.pid()));
    }

    /// Lets it go on.
    pub(crate) fn let_go(&self) {
        signal("CONT", &family(self.pid()));
    }

    fn pid(&self) -> u32 {
        self.postmaster.as_ref().unwrap().id()
    }

    fn command(&self, program: &str) -> Command {
        // It ends with the thread that started it, should this test be killed.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "QUIT"]).args(&self.owner).arg(self.binaries.join(program)).current_dir(self.folder.path());
        command
    }

    fn data(&self) -> String {
        text(&self.folder.path().join("data"))
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.stop();
    }
}

fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

/// Runs a command to its end: what it printed.
fn output(command: &mut Command, arguments: &[&str]) -> String {
    let output = command.args(arguments).output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// A port below those that connections are given, so that it is still free when the cluster starts again.
fn free_port() -> u16 {
    loop {
        let port = 20_000 + u16::from_ne_bytes(random()) % 12_000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

fn signal(name: &str, processes: &[u32]) {
    // One that has ended meanwhile cannot be told.
    let _ = Command::new("kill").arg(format!("-{name}")).args(processes.iter().map(u32::to_string)).stderr(Stdio::null()).status();
}

/// A process and its children.
fn family(parent: u32) -> Vec<u32> {
    let processes = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    let is_child = |pid: &u32| {
        let status = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        status.rsplit_once(')').and_then(|(_, fields)| fields.split_whitespace().nth(1)?.parse().ok()) == Some(parent)
    };
    [parent].into_iter().chain(processes.filter(is_child)).collect()
}
