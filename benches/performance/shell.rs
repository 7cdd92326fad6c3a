//! The engines' own shells, `psql` and `sqlite3`: a session that stays open, so that what is timed is the work and not the start.

use std::{
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use anyhow::{Context, ensure};

use super::database::{Database, Engine};

/// What a shell prints when it is done with what it was sent.
const DONE: &str = "bench: done";

/// The settings with which the service opens an SQLite file.
pub(crate) const SQLITE_PRAGMAS: &str =
    "PRAGMA synchronous = FULL; PRAGMA secure_delete = ON; PRAGMA foreign_keys = ON; PRAGMA busy_timeout = 10000;";

/// What the service sets on its connections to PostgreSQL that changes how fast they are. It also reads no table whole (`enable_seqscan`);
/// the shell may, where that is faster.
const POSTGRES_SETTINGS: &str = "SET jit = off;";

/// A session. It ends at the first error.
pub(crate) struct Shell {
    engine: Engine,
    process: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Shell {
    pub(crate) fn open(database: &Database) -> anyhow::Result<Self> {
        // Without stdbuf, what is printed into a pipe waits for more.
        let mut command = Command::new("stdbuf");
        match database.engine {
            Engine::Sqlite => command.args(["-oL", "sqlite3", "-batch", "-bail"]).arg(database.file()?),
            Engine::Postgres => command.args(["-oL", "psql", "-XqAt", "-v", "ON_ERROR_STOP=1"]).arg(&database.url),
        };
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("stdbuf could not be started")?;
        let input = process.stdin.take().context("no stdin")?;
        let output = BufReader::new(process.stdout.take().context("no stdout")?);
        let mut shell = Self { engine: database.engine, process, input, output };
        shell.run(if shell.engine == Engine::Sqlite { SQLITE_PRAGMAS } else { POSTGRES_SETTINGS })?;
        Ok(shell)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Runs statements; gives what they print, once they are done.
    pub(crate) fn run(&mut self, statements: &str) -> anyhow::Result<String> {
        let mut printed = String::new();
        self.run_to(statements, |line| {
            printed.push_str(line);
            printed.push('\n');
        })?;
        Ok(printed)
    }

    /// Runs statements; hands on what they print, line by line.
    pub(crate) fn run_to(&mut self, statements: &str, mut take: impl FnMut(&str)) -> anyhow::Result<()> {
        self.begin(statements.as_bytes())?;
        self.input.flush()?;
        let marker = if self.engine == Engine::Sqlite { ".print" } else { "\\echo" };
        writeln!(self.input, "\n{marker} {DONE}")?;
        let mut line = String::new();
        loop {
            line.clear();
            ensure!(self.output.read_line(&mut line)? > 0, "the {} shell ended: its complaint is above", self.engine);
            match line.trim_end_matches('\n') {
                DONE => return Ok(()),
                other => take(other),
            }
        }
    }

    /// Sends what is part of statements or of data.
    pub(crate) fn begin(&mut self, part: &[u8]) -> anyhow::Result<()> {
        Ok(self.input.write_all(part)?)
    }

    /// Runs a query and has the shell print what it finds to nowhere: on PostgreSQL by COPY.
    pub(crate) fn print_to_nowhere(&mut self, queries: &[String]) -> anyhow::Result<()> {
        let statements: Vec<String> = match self.engine {
            Engine::Sqlite => {
                let queries = queries.iter().map(|query| format!("{query};"));
                [".output /dev/null".to_owned()].into_iter().chain(queries).chain([".output stdout".to_owned()]).collect()
            }
            Engine::Postgres => queries.iter().map(|query| format!("COPY ({query}) TO STDOUT \\g /dev/null")).collect(),
        };
        let printed = self.run(&statements.join("\n"))?;
        ensure!(printed.is_empty(), "the {} shell was to print to nowhere, and printed: {printed}", self.engine);
        Ok(())
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        // Killed, sqlite3 would leave its log behind.
        let quit = if self.engine == Engine::Sqlite { ".quit" } else { "\\q" };
        if writeln!(self.input, "\n{quit}").is_err() {
            let _ = self.process.kill();
        }
        let _ = self.process.wait();
    }
}
