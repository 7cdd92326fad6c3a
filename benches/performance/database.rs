//! Databases of the benchmark: made, migrated, copied, and removed again.

use std::{
    env, fmt,
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, ensure};

use super::{process, shell::Shell};

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_userdata");
pub(crate) const APPLICATION: &str = "BENCH";

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Engine {
    Sqlite,
    Postgres,
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if *self == Self::Sqlite { "SQLite" } else { "PostgreSQL" })
    }
}

/// The cluster that `scripts/with-services` started.
#[derive(Clone)]
pub(crate) struct Cluster {
    server: String,
    /// The process that started all others of the cluster.
    postmaster: u32,
}

impl Cluster {
    pub(crate) fn find() -> anyhow::Result<Self> {
        let admin = env::var("USERDATA_TEST_POSTGRES_URL").context("no PostgreSQL here: run this by scripts/bench")?;
        let (server, _) = admin.rsplit_once('/').context("USERDATA_TEST_POSTGRES_URL names no database")?;
        let mut cluster = Self { server: server.to_owned(), postmaster: 0 };
        let mut shell = Shell::open(&cluster.database("postgres", false))?;
        let backend: u32 = shell.run("SELECT pg_backend_pid();")?.trim().parse()?;
        let stat = fs::read_to_string(format!("/proc/{backend}/stat"))?;
        let (_, fields) = stat.rsplit_once(')').context("no such line as a process's stat")?;
        cluster.postmaster = fields.split_whitespace().nth(1).context("a short stat")?.parse()?;
        Ok(cluster)
    }

    fn database(&self, name: &str, temporary: bool) -> Database {
        let url = format!("{}/{name}", self.server);
        Database { engine: Engine::Postgres, url, name: name.to_owned(), cluster: Some(self.clone()), temporary }
    }

    fn admin(&self, statement: &str) -> anyhow::Result<()> {
        Shell::open(&self.database("postgres", false))?.run(statement).map(drop)
    }

    /// CPU seconds of all its processes.
    fn cpu(&self) -> anyhow::Result<f64> {
        process::cpu_with_children(self.postmaster)
    }
}

/// A database, removed when dropped.
pub(crate) struct Database {
    pub(crate) engine: Engine,
    pub(crate) url: String,
    name: String,
    cluster: Option<Cluster>,
    /// The cluster's own database is not.
    temporary: bool,
}

impl Database {
    /// An empty one, on PostgreSQL in the cluster, on SQLite in the folder.
    pub(crate) fn create(engine: Engine, name: &str, folder: &Path) -> anyhow::Result<Self> {
        match engine {
            Engine::Sqlite => Ok(Self::sqlite(name, folder)),
            Engine::Postgres => {
                let cluster = Cluster::find()?;
                cluster.admin(&format!("CREATE DATABASE {name};"))?;
                Ok(cluster.database(name, true))
            }
        }
    }

    fn sqlite(name: &str, folder: &Path) -> Self {
        let url = format!("sqlite://{}", folder.join(format!("{name}.db")).display());
        Self { engine: Engine::Sqlite, url, name: name.to_owned(), cluster: None, temporary: true }
    }

    /// Brings the service's schema into it, and makes an API key that may do everything.
    pub(crate) fn migrate(&self) -> anyhow::Result<String> {
        self.program(&["migrate"])?;
        let permissions = "import,export,delete-messages,scoped-delete";
        let key = self.program(&["keys", "create", "--application", APPLICATION, "--permissions", permissions])?;
        Ok(key.trim().to_owned())
    }

    /// Runs a command of the program on it; gives what it prints.
    fn program(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let output = Command::new(PROGRAM).args(arguments).env("USERDATA_DATABASE_URL", &self.url).output()?;
        let complaint = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "userdata {} failed: {complaint}", arguments.join(" "));
        Ok(String::from_utf8(output.stdout)?)
    }

    /// A copy of it as it lies on disk, written to disk itself. Nobody may be connected.
    pub(crate) fn copy(&self, name: &str) -> anyhow::Result<Self> {
        let Some(cluster) = &self.cluster else {
            let file = self.file()?;
            let copy = Self::sqlite(name, file.parent().context("a file without a folder")?);
            for (of, suffix) in [(&copy, "-wal"), (&copy, "-shm"), (self, "-wal")] {
                ensure!(!PathBuf::from(format!("{}{suffix}", of.file()?.display())).exists(), "a database is open that is to be copied");
            }
            fs::copy(&file, copy.file()?)?;
            File::open(copy.file()?)?.sync_all()?;
            return Ok(copy);
        };
        cluster.admin(&format!("CREATE DATABASE {name} TEMPLATE {} STRATEGY FILE_COPY;", self.name))?;
        cluster.admin("CHECKPOINT;")?;
        Ok(cluster.database(name, true))
    }

    /// Has all that was written lie on disk, so that nobody pays for what others wrote.
    pub(crate) fn settle(&self) -> anyhow::Result<()> {
        match &self.cluster {
            None => {
                Shell::open(self)?.run("PRAGMA wal_checkpoint(TRUNCATE);")?;
                Ok(File::open(self.file()?)?.sync_all()?)
            }
            Some(cluster) => cluster.admin("CHECKPOINT;"),
        }
    }

    /// CPU seconds of the processes of the database, which for SQLite are none.
    pub(crate) fn cpu(&self) -> anyhow::Result<f64> {
        self.cluster.as_ref().map_or(Ok(0.0), Cluster::cpu)
    }

    pub(crate) fn file(&self) -> anyhow::Result<PathBuf> {
        Ok(self.url.strip_prefix("sqlite://").context("not an SQLite database")?.into())
    }

    fn remove(&self) -> anyhow::Result<()> {
        match &self.cluster {
            Some(cluster) => cluster.admin(&format!("DROP DATABASE {} WITH (FORCE);", self.name)),
            None => {
                for suffix in ["", "-wal", "-shm"] {
                    let file = PathBuf::from(format!("{}{suffix}", self.file()?.display()));
                    if file.exists() {
                        fs::remove_file(file)?;
                    }
                }
                Ok(())
            }
        }
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // What cannot be removed goes with the folder and the cluster.
        if self.temporary {
            let _ = self.remove();
        }
    }
}
