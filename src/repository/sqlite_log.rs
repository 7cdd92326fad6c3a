//! Emptying SQLite's write-ahead log after an erasure: until then it may hold what was erased.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
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
    erasures: Arc<Erasures>,
}

/// Two numbers instead of a flag: what a checkpoint has not seen is never taken for done, wherever a call is cut.
#[derive(Debug, Default)]
struct Erasures {
    /// How many transactions have begun to erase.
    begun: AtomicU64,
    /// How many of them are in the log no more.
    emptied: AtomicU64,
}

impl SqliteLog {
    pub(super) fn new(connection: DatabaseConnection) -> Self {
        Self { connection, erasures: Arc::default() }
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
    /// To be called in the transaction of an erasure, before its commit: a checkpoint can then only succeed when that has ended, for both
    /// need the one write lock.
    pub(super) fn log_will_hold_erased(&self) {
        if let Some(log) = &self.log {
            log.erasures.begun.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// Empties the log if it may still hold something erased, and readers allow it. To be called after an erasure, and from time to time.
    pub async fn empty_log_of_erased(&self) {
        let Some(log) = &self.log else { return };
        let begun = log.erasures.begun.load(Ordering::Acquire);
        if log.erasures.emptied.load(Ordering::Acquire) == begun {
            return;
        }
        match log.empty().await {
            Ok(true) => {
                log.erasures.emptied.fetch_max(begun, Ordering::AcqRel);
            }
            Ok(false) => {}
            Err(error) => tracing::warn!(%error, "the write-ahead log could not be emptied after an erasure; it is tried again"),
        }
    }
}
