//! `pgbench` with the SELECTs of the service. Which these are is not written down here: PostgreSQL's log tells what the service asked for
//! during an export.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, ensure};

use super::{
    client::{Client, percentile},
    database::Database,
    dataset::Dataset,
    process,
    rounds::Sample,
    server::Server,
    shell::Shell,
};

pub(crate) struct Pgbench {
    folder: PathBuf,
    /// One for each user, with as many statements as an export takes.
    scripts: Vec<PathBuf>,
    statements: usize,
    /// Names and values of what the statements are given.
    variables: Vec<String>,
}

impl Pgbench {
    /// Exports each user once and notes what that took.
    pub(crate) async fn record(data: &Dataset, users: &[String], folder: &Path) -> anyhow::Result<Self> {
        let log = PathBuf::from(env::var("USERDATA_TEST_POSTGRES_LOG").context("where is PostgreSQL's log? run this by scripts/bench")?);
        let name = data.database.url.rsplit('/').next().unwrap_or_default().to_owned();
        let mut shell = Shell::open(&data.database)?;
        shell.run(&format!("ALTER DATABASE {name} SET log_statement = 'all';"))?;
        let server = Server::ours(&data.database, folder, &[])?;
        let client = Client::connect(&server, &data.key).await?;
        let mut pgbench = Self { folder: folder.to_owned(), scripts: Vec::new(), statements: 0, variables: Vec::new() };
        for (nth, user) in users.iter().enumerate() {
            let before = fs::metadata(&log)?.len();
            client.export(user).await?;
            let written = fs::read(&log)?;
            let written = String::from_utf8_lossy(written.get(usize::try_from(before)?..).unwrap_or_default()).into_owned();
            let statements = pgbench.statements_of(&written, nth)?;
            ensure!(!statements.is_empty(), "PostgreSQL's log tells nothing of an export");
            pgbench.statements = statements.len();
            let script = folder.join(format!("pgbench_{nth}.sql"));
            fs::write(&script, statements.join(";\n") + ";\n")?;
            pgbench.scripts.push(script);
        }
        shell.run(&format!("ALTER DATABASE {name} RESET log_statement;"))?;
        server.stop().await?;
        Ok(pgbench)
    }

    /// The SELECTs in a piece of the log, with the names of variables in the place of `$1`.
    fn statements_of(&mut self, log: &str, script: usize) -> anyhow::Result<Vec<String>> {
        let mut statements = Vec::new();
        let mut lines = log.lines().peekable();
        while let Some(line) = lines.next() {
            let Some((_, executed)) = line.split_once("LOG:  execute ") else { continue };
            let Some((_, statement)) = executed.split_once(": ") else { continue };
            let given = lines.next_if(|line| line.to_lowercase().contains("detail:  parameters: ")).unwrap_or_default();
            // What the service asks for of its own accord.
            if !statement.starts_with("SELECT") || statement.contains("api_keys") {
                continue;
            }
            let given = given.split_once("arameters: ").map_or("", |(_, given)| given);
            let mut statement = statement.to_owned();
            // From the last on, for $1 is also the beginning of $10.
            for (nth, value) in given.split(", $").enumerate().collect::<Vec<_>>().into_iter().rev() {
                let Some((_, value)) = value.split_once(" = ") else { continue };
                let value =
                    value.strip_prefix('\'').and_then(|value| value.strip_suffix('\'')).context("NULL cannot be given to pgbench")?;
                let name = format!("v{script}_{}_{}", statements.len(), nth + 1);
                statement = statement.replace(&format!("${}", nth + 1), &format!(":{name}"));
                self.variables.push(format!("{name}={value}"));
            }
            statements.push(statement);
        }
        Ok(statements)
    }

    pub(crate) fn statements(&self) -> usize {
        self.statements
    }

    pub(crate) fn run(&self, database: &Database, clients: usize, time: Duration) -> anyhow::Result<Sample> {
        let prefix = self.folder.join("pgbench_log");
        let mut command = Command::new("pgbench");
        command.args(["-n", "-M", "prepared", "-j", "1", "-c", &clients.to_string(), "-T", &time.as_secs().to_string(), "-l"]);
        command.arg(format!("--log-prefix={}", prefix.display()));
        for variable in &self.variables {
            command.args(["-D", variable]);
        }
        for script in &self.scripts {
            command.arg("-f").arg(script);
        }
        let (program, backends) = (process::reaped_by(std::process::id())?, database.cpu()?);
        let output = command.arg(&database.url).stdin(Stdio::null()).output()?;
        ensure!(output.status.success(), "pgbench failed: {}", String::from_utf8_lossy(&output.stderr));
        let mut took = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let path = entry?.path();
            if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("pgbench_log")) {
                for line in fs::read_to_string(&path)?.lines() {
                    took.push(Duration::from_micros(line.split(' ').nth(2).context("a short line of pgbench's log")?.parse()?));
                }
                fs::remove_file(path)?;
            }
        }
        Ok(Sample {
            wall: time.as_secs() as f64,
            program_cpu: process::reaped_by(std::process::id())? - program,
            database_cpu: database.cpu()? - backends,
            peak: 0,
            units: took.len() as f64,
            p99: percentile(&mut took, 99)?.as_secs_f64(),
        })
    }
}
