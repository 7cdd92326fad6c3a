//! Emptying SQLite's write-ahead log after an erasure: until then it may hold what was erased.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend, Statement};

use super::{Error, Repository};

/// How long emptying the log waits for readers: an erasure is not answered before, so not long.
pub(super) const BUSY: Duration = Duration::from_millis(250);

/// A connection of its own, so that it waits for nobody's writing, and for readers only as long as [`BUSY`].
#[derive(Clone, Debug)]
pub(super) struct SqliteLog {
    connection: DatabaseConnection,
    holds_erased: Arc<AtomicBool>,
}

impl SqliteLog {
    pub(super) fn new(connection: DatabaseConnection) -> Self {
        Self { connection, holds_erased: Arc::default() }
    }

    pub(super) async fn close(self) -> Result<(), Error> {
        Ok(self.connection.close().await?)
    }

    /// Moves what the log holds into the file, where erased rows are overwritten, and empties it, if nobody is reading it.
    async fn empty(&self) -> Result<bool, Error> {
        let checkpoint = Statement::from_string(DbBackend::Sqlite, "PRAGMA wal_checkpoint(TRUNCATE)");
        let busy: i32 = match self.connection.query_one_raw(checkpoint).await? {
            Some(row) => row.try_get_by_index(0)?,
            None => 0,
        };
        Ok(busy == 0)
    }
}

impl Repository {
    /// To be called after an erasure: empties the log at once if readers allow it, and else leaves it to
    /// [`Repository::empty_log_of_erased`].
    pub(super) async fn empty_log(&self) {
        if let Some(log) = &self.log {
            log.holds_erased.store(true, Ordering::Relaxed);
            self.empty_log_of_erased().await;
        }
    }

    /// Empties the log if it may still hold something erased. To be called from time to time.
    pub async fn empty_log_of_erased(&self) {
        let Some(log) = &self.log else { return };
        if !log.holds_erased.swap(false, Ordering::Relaxed) {
            return;
        }
        let emptied = log.empty().await;
        if let Err(error) = &emptied {
            tracing::warn!(%error, "the write-ahead log could not be emptied after an erasure; it is tried again");
        }
        if !emptied.unwrap_or(false) {
            log.holds_erased.store(true, Ordering::Relaxed);
        }
    }
}
