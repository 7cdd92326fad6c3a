//! Reading SQLite through its own interface. sqlx hands every row from a thread of its own to the caller's, and copies every value on the
//! way, which costs many times what SQLite does (docs/adr/reads.md).
//!
//! A read happens where it is asked for, on the caller's thread: a page of rows is read in well under a millisecond, less than it takes to
//! hand it to another thread and back. Absent on purpose: writing, which stays with sea-orm.

use std::{
    ops::ControlFlow,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rusqlite::{Connection, OpenFlags, config::DbConfig};

use super::{
    Error,
    query::{Parameter, Text},
    row::Row,
};

/// How long a read waits for another process that has the file to itself.
const BUSY: Duration = Duration::from_secs(2);

/// Statements that a connection keeps prepared: all that there are.
const STATEMENTS: usize = 64;

/// Connections that only read, made as they are needed: no more than there are threads that read at once.
#[derive(Clone, Debug)]
pub(super) struct SqliteReader {
    file: PathBuf,
    idle: Arc<Mutex<Vec<Connection>>>,
}

impl SqliteReader {
    /// A reader of a file that exists.
    pub(super) fn new(file: &Path) -> Self {
        Self { file: file.to_owned(), idle: Arc::default() }
    }

    /// A moment of the database, for as long as it is kept.
    pub(super) fn snapshot(&self) -> Result<SqliteSnapshot, Error> {
        let idle = self.idle().pop();
        let connection = idle.map_or_else(|| self.connect(), Ok)?;
        connection.prepare_cached("BEGIN")?.execute([])?;
        Ok(SqliteSnapshot { connection: Some(connection), reader: self.clone() })
    }

    /// Ends all connections.
    pub(super) fn close(&self) {
        self.idle().clear();
    }

    fn connect(&self) -> Result<Connection, Error> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&self.file, flags)?;
        connection.busy_timeout(BUSY)?;
        connection.pragma_update(None, "query_only", true)?;
        // Else SQLite prepares a statement again whenever a parameter of a range changes: with every read.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS);
        Ok(connection)
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A moment of the database: a transaction that reads, begun by its first read.
pub(super) struct SqliteSnapshot {
    /// `None` only while it is dropped.
    connection: Option<Connection>,
    reader: SqliteReader,
}

impl SqliteSnapshot {
    /// Gives the rows that a query finds to `take`, until there are no more, or it breaks off.
    pub(super) fn read(
        &self,
        text: &Text,
        parameters: &[Parameter<'_>],
        mut take: impl FnMut(Row<'_>) -> Result<ControlFlow<()>, Error>,
    ) -> Result<(), Error> {
        self.connection.as_ref().map_or(Ok(()), |connection| rows(connection, text, parameters, &mut take))
    }
}

impl Drop for SqliteSnapshot {
    fn drop(&mut self) {
        let Some(connection) = self.connection.take() else { return };
        // One that cannot end its transaction is closed, which ends it.
        let ended = connection.prepare_cached("ROLLBACK").and_then(|mut end| end.execute([]));
        if ended.is_ok() {
            self.reader.idle().push(connection);
        }
    }
}

fn rows(
    connection: &Connection,
    text: &Text,
    parameters: &[Parameter<'_>],
    take: &mut impl FnMut(Row<'_>) -> Result<ControlFlow<()>, Error>,
) -> Result<(), Error> {
    // SQLite takes a parameter that is not given for NULL.
    debug_assert_eq!(text.parameters, parameters.len(), "{}", text.sql);
    let mut prepared = connection.prepare_cached(&text.sql)?;
    for (index, parameter) in parameters.iter().enumerate() {
        match parameter {
            Parameter::Integer(number) => prepared.raw_bind_parameter(index + 1, number)?,
            Parameter::Text(text) => prepared.raw_bind_parameter(index + 1, text)?,
        }
    }
    let mut rows = prepared.raw_query();
    while let Some(row) = rows.next()? {
        if take(Row::Sqlite(row))?.is_break() {
            break;
        }
    }
    Ok(())
}
