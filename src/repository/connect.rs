//! Opening the database, and what differs between the engines: pools, pragmas, migrations.

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use migrations::{Migrator, MigratorTrait, SchemaManager};
use sea_orm::{
    ConnectOptions, ConnectionTrait, Database, DatabaseConnection, DbBackend, Statement,
    sqlx::{
        ConnectOptions as _, Connection as _,
        postgres::PgConnectOptions,
        sqlite::{SqliteAutoVacuum, SqliteJournalMode, SqliteSynchronous},
    },
};
use tokio::time::timeout;

use super::{
    Error, Repository,
    error::from_sqlx,
    postgres_options::for_service,
    postgres_reader::PostgresReader,
    reader::Reader,
    row_security::{self, RowSecurity},
    share::Shares,
    sqlite_log::SqliteLog,
    sqlite_reader::SqliteReader,
};
use crate::domain::timestamp::Clock;

/// How long a transaction, or a connection that opens, waits for another process that writes to the same SQLite file.
pub(super) const SQLITE_BUSY: Duration = Duration::from_secs(10);

/// How long the connection that writes to SQLite waits in one try: that is how long emptying the log waits for readers, and an erasure is not
/// answered before. Transactions try again.
pub(super) const SQLITE_TRY: Duration = Duration::from_millis(250);

/// How long a call waits for its turn to write to an SQLite file: the erasure of a very large user before it may take a while.
pub(super) const SQLITE_WRITE_QUEUE: Duration = Duration::from_secs(60);

/// How long the statement of a call that was dropped may go on before its connection is closed, which ends it (`postgres_options`).
pub(super) const LAST_STATEMENT: Duration = Duration::from_secs(1);

/// How long a call waits for a connection before it is told that the database is away.
pub(super) const ACQUIRE: Duration = Duration::from_secs(5);

/// A connection that was idle for longer is tested before it is used.
pub(super) const IDLE: Duration = Duration::from_secs(5);

/// Whether PostgreSQL logs some statements, and their parameters with them.
const LOGS_VALUES: &str = "SELECT current_setting('log_error_verbosity') <> 'terse' AND current_setting('log_parameter_max_length') <> '0' AND (\
    current_setting('log_statement') IN ('mod', 'all') OR current_setting('log_min_duration_statement') <> '-1' OR \
    current_setting('log_min_duration_sample') <> '-1' OR current_setting('log_transaction_sample_rate') <> '0')";

/// Has those who change the schema wait for each other, on PostgreSQL, for as long as it takes; for a table they wait no longer than others.
pub(super) const ONE_AT_A_TIME: &str = "DO $$ DECLARE patience text := current_setting('lock_timeout'); BEGIN
    PERFORM set_config('lock_timeout', '0', true); PERFORM pg_advisory_xact_lock(7553624); PERFORM set_config('lock_timeout', patience, true);
    END $$";

/// The migrations that were applied.
const APPLIED: &str = "SELECT version FROM seaql_migrations";

/// The database engine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Engine {
    /// Embedded; one file.
    Sqlite,
    /// A server.
    Postgres,
}

/// Where the database is. Its `Debug` shows no password.
#[derive(Clone, PartialEq, Eq)]
pub struct StorageUrl {
    url: url::Url,
    engine: Engine,
}

/// Not the URL of a database this service can use.
#[derive(Debug, thiserror::Error)]
#[error("not a database URL; write sqlite:///path/to/file.db or postgres://user@host/database")]
pub struct NotAStorageUrl;

impl FromStr for StorageUrl {
    type Err = NotAStorageUrl;

    fn from_str(text: &str) -> Result<Self, NotAStorageUrl> {
        // SQLite's URLs are read leniently, as its users write them: sqlite://relative/path.db and sqlite:path.db name a relative path.
        let engine = match text.split_once(':') {
            Some(("sqlite", _)) => Engine::Sqlite,
            Some(("postgres" | "postgresql", _)) => Engine::Postgres,
            _ => return Err(NotAStorageUrl),
        };
        let url = match engine {
            Engine::Sqlite => {
                let path = text.strip_prefix("sqlite:").unwrap_or(text);
                let path = path.strip_prefix("//").unwrap_or(path);
                let path = path.split_once('?').map_or(path, |(path, _)| path);
                if path.is_empty() || path == ":memory:" {
                    return Err(NotAStorageUrl);
                }
                let path = std::path::absolute(path).map_err(|_| NotAStorageUrl)?;
                let mut url = url::Url::from_file_path(path).map_err(|()| NotAStorageUrl)?;
                url.set_query(None);
                url
            }
            Engine::Postgres => {
                let url: url::Url = text.parse().map_err(|_| NotAStorageUrl)?;
                if !url.has_host() || url.cannot_be_a_base() {
                    return Err(NotAStorageUrl);
                }
                url
            }
        };
        Ok(Self { url, engine })
    }
}

impl std::fmt::Debug for StorageUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

impl std::fmt::Display for StorageUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.engine {
            Engine::Sqlite => write!(f, "sqlite://{}", self.url.path()),
            Engine::Postgres => {
                let port = self.url.port().unwrap_or(5432);
                write!(f, "postgres://{}:{port}{}", self.url.host_str().unwrap_or_default(), self.url.path())
            }
        }
    }
}

impl StorageUrl {
    /// Which engine it is.
    pub fn engine(&self) -> Engine {
        self.engine
    }

    /// Whether it names an SQLite file that does not exist: to open it would make it.
    pub fn is_absent(&self) -> bool {
        self.engine == Engine::Sqlite && self.file().is_none_or(|file| !file.exists())
    }

    /// The file of an SQLite database.
    fn file(&self) -> Option<PathBuf> {
        self.url.to_file_path().ok()
    }
}

/// How the schema of a database stands to this program.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SchemaState {
    /// What this program was written for.
    Current,
    /// So many migrations are to be applied.
    Behind(usize),
    /// Migrated by a newer program.
    Ahead,
}

impl Repository {
    /// Connects to the database; an SQLite file is made if there is none, with its folder. Does not migrate.
    ///
    /// # Errors
    /// When the database cannot be reached or the file not be made.
    pub async fn open(url: &StorageUrl, max_connections: u32, clock: Clock) -> Result<Self, Error> {
        let engine = url.engine;
        Ok(match engine {
            Engine::Sqlite => {
                let SqliteConnections { write, read, watch, log } = open_sqlite(url).await?;
                let write_shares = Shares::of(1, SQLITE_WRITE_QUEUE);
                Self {
                    engine,
                    write,
                    read: Reader::Sqlite(read),
                    watch,
                    write_shares,
                    log: Some(log),
                    row_security: RowSecurity::Absent,
                    clock,
                }
            }
            Engine::Postgres => {
                let readers = (max_connections / 2).max(1);
                let writers = max_connections.saturating_sub(readers);
                let (write, write_shares) = (open_postgres(url, writers).await?, Shares::of(writers, ACQUIRE));
                let watch = open_postgres(url, 1).await?;
                let options: PgConnectOptions = url.url.as_str().parse().map_err(|error| from_sqlx(&error))?;
                // A read finds a subject's rows by the table's key, whoever the subject is: to plan it again takes longer than to read a
                // small user.
                let options = for_service(options).options([("plan_cache_mode", "force_generic_plan")]);
                let row_security = row_security::find(&watch).await?;
                let is_bound = row_security == RowSecurity::Binding;
                let read = PostgresReader::new(options.disable_statement_logging(), readers, is_bound);
                Self { engine, write, read: Reader::Postgres(read), watch, write_shares, log: None, row_security, clock }
            }
        })
    }

    /// How the schema stands.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub async fn schema_state(&self) -> Result<SchemaState, Error> {
        let known: Vec<String> = Migrator::migrations().iter().map(|migration| migration.name().to_owned()).collect();
        // The migrator would make its table first, which a role that owns nothing may not.
        let applied: Vec<String> = if SchemaManager::new(&self.write).has_table("seaql_migrations").await? {
            let versions = self.write.query_all_raw(Statement::from_string(self.write.get_database_backend(), APPLIED)).await?;
            versions.iter().map(|row| row.try_get_by_index(0)).collect::<Result<_, _>>()?
        } else {
            Vec::new()
        };
        if applied.iter().any(|name| !known.contains(name)) {
            return Ok(SchemaState::Ahead);
        }
        let missing = known.iter().filter(|name| !applied.contains(name)).count();
        Ok(if missing == 0 { SchemaState::Current } else { SchemaState::Behind(missing) })
    }

    /// Makes sure that the schema is the one this program was written for. One that is behind is migrated on SQLite, elsewhere only if
    /// `migrate` says so.
    ///
    /// # Errors
    /// When the schema is another, with what to do about it.
    pub async fn require_schema(&self, migrate: bool) -> Result<(), Error> {
        match self.schema_state().await? {
            SchemaState::Current => Ok(()),
            SchemaState::Behind(_) if migrate || self.engine == Engine::Sqlite => self.migrate().await,
            SchemaState::Behind(missing) => Err(Error::SchemaBehind(missing)),
            SchemaState::Ahead => Err(Error::SchemaAhead),
        }
    }

    /// Brings the schema up to date, all of it or nothing. Several replicas may do so at once: they wait for each other.
    ///
    /// # Errors
    /// When a migration fails; nothing of it stays.
    pub async fn migrate(&self) -> Result<(), Error> {
        let transaction = self.begin().await?;
        if self.engine == Engine::Postgres {
            transaction.execute_unprepared(ONE_AT_A_TIME).await?;
        }
        Migrator::up(&transaction, None).await?;
        Ok(transaction.commit().await?)
    }

    /// Takes the whole schema down again, with all data.
    ///
    /// # Errors
    /// When a migration fails.
    pub async fn unmigrate(&self) -> Result<(), Error> {
        Ok(Migrator::down(&self.write, None).await?)
    }

    /// Whether the database answers.
    ///
    /// # Errors
    /// When it does not.
    pub async fn ping(&self) -> Result<(), Error> {
        self.watch.execute_unprepared("SELECT 1").await?;
        Ok(())
    }

    /// Whether the database writes the values of statements into its own log: what users said, and their tokens.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub async fn logs_values(&self) -> Result<bool, Error> {
        if self.engine == Engine::Sqlite {
            return Ok(false);
        }
        let row = self.watch.query_one_raw(Statement::from_string(DbBackend::Postgres, LOGS_VALUES)).await?;
        Ok(row.is_some_and(|row| row.try_get_by_index(0).unwrap_or(false)))
    }

    /// Ends all connections.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn close(self) -> Result<(), Error> {
        self.read.close().await;
        self.watch.close().await?;
        Ok(self.write.close().await?)
    }

    pub(super) fn watch(&self) -> &DatabaseConnection {
        &self.watch
    }

    pub(super) fn write(&self) -> &DatabaseConnection {
        &self.write
    }
}

/// The connections to an SQLite file: one that writes, for SQLite lets no more than one write at a time; those that read; and one for keys and
/// health. The log is emptied by the one that writes.
struct SqliteConnections {
    write: DatabaseConnection,
    read: SqliteReader,
    watch: DatabaseConnection,
    log: SqliteLog,
}

async fn open_sqlite(url: &StorageUrl) -> Result<SqliteConnections, Error> {
    let file = url.file().ok_or_else(|| Error::Unavailable("the database URL names no file".to_owned()))?;
    make_private_file(&file).map_err(|error| Error::Unavailable(format!("{} cannot be made: {error}", file.display())))?;
    let options = |wait: Duration, query_only: bool| {
        let mut options = ConnectOptions::new("sqlite::memory:");
        let file = file.clone();
        options
            .max_connections(1)
            .min_connections(1)
            .acquire_timeout(wait)
            .test_before_acquire(false)
            .sqlx_logging(false)
            .record_stmt_in_spans(false)
            .map_sqlx_sqlite_opts(move |options| {
                let options = options
                    .in_memory(false)
                    .shared_cache(false)
                    .filename(&file)
                    .create_if_missing(true)
                    .auto_vacuum(SqliteAutoVacuum::None)
                    .journal_mode(SqliteJournalMode::Wal)
                    .synchronous(SqliteSynchronous::Full)
                    .foreign_keys(true)
                    .busy_timeout(SQLITE_BUSY)
                    .pragma("secure_delete", "ON");
                if query_only {
                    options.pragma("query_only", "ON")
                } else {
                    options.pragma("busy_timeout", SQLITE_TRY.as_millis().to_string())
                }
            })
            .map_sqlx_sqlite_pool_opts(|options| {
                // SQLite ends a transaction by itself when the disk is full or fails; sqlx, whose ROLLBACK then fails, believes that it goes on,
                // and whatever is committed later would be part of one that never is.
                options.after_release(|connection, _| Box::pin(async move { Ok(!connection.is_in_transaction()) }))
            });
        options
    };
    let write = Database::connect(options(SQLITE_WRITE_QUEUE, false)).await?;
    let watch = Database::connect(options(ACQUIRE, true)).await?;
    let log = SqliteLog::new(write.get_sqlite_connection_pool().clone());
    Ok(SqliteConnections { write, read: SqliteReader::new(&file), watch, log })
}

/// Makes the file, and its folder, for nobody but the user the service runs as: SQLite gives its log the same mode.
fn make_private_file(file: &Path) -> io::Result<()> {
    if let Some(folder) = file.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    fs::OpenOptions::new().append(true).create(true).mode(0o600).open(file).map(drop)
}

async fn open_postgres(url: &StorageUrl, max_connections: u32) -> Result<DatabaseConnection, Error> {
    let mut options = ConnectOptions::new(url.url.as_str());
    options
        .max_connections(max_connections.max(1))
        .acquire_timeout(ACQUIRE)
        .test_before_acquire_if_idle_for(IDLE)
        .sqlx_logging(false)
        .record_stmt_in_spans(false)
        .map_sqlx_postgres_opts(for_service)
        .map_sqlx_postgres_pool_opts(|options| {
            // What a dropped call has left unanswered comes before the answer to this.
            options.after_release(|connection, _| {
                Box::pin(async move { Ok(matches!(timeout(LAST_STATEMENT, connection.ping()).await, Ok(Ok(())))) })
            })
        });
    Ok(Database::connect(options).await?)
}

#[cfg(test)]
mod tests;
