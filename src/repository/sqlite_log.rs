//! Emptying SQLite's write-ahead log after an erasure: until then it may hold what was erased.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use sea_orm::sqlx::{self, SqlitePool};
use tokio::time::timeout;

use super::{
    Repository,
    connect::{SQLITE_TRY, SQLITE_WRITE_QUEUE},
};

/// On the connection that writes: when another empties the log, SQLite forgets what it has read of the file on this one.
#[derive(Clone, Debug)]
pub(super) struct SqliteLog {
    write: SqlitePool,
    erasures: Arc<Erasures>,
}

/// Two numbers instead of a flag: what a checkpoint has not seen is never taken for done, wherever a call is cut.
#[derive(Debug)]
struct Erasures {
    /// How many transactions have begun to erase.
    begun: AtomicU64,
    /// How many of them are in the log no more.
    emptied: AtomicU64,
}

impl SqliteLog {
    /// A log that may hold what was erased before a crash.
    pub(super) fn new(write: SqlitePool) -> Self {
        Self { write, erasures: Arc::new(Erasures { begun: AtomicU64::new(1), emptied: AtomicU64::new(0) }) }
    }

    /// Moves what the log holds into the file, where erased rows are overwritten, and empties it, if nobody is reading it or writing: gives
    /// whether it is empty now. It waits for its turn for no longer than `patience`, and then for readers, for no longer than [`SQLITE_TRY`].
    async fn empty(&self, patience: Duration) -> Result<bool, sqlx::Error> {
        let Ok(connection) = timeout(patience, self.write.acquire()).await else { return Ok(false) };
        let is_busy: i32 = sqlx::query_scalar("PRAGMA wal_checkpoint(TRUNCATE)").fetch_one(&mut *connection?).await?;
        Ok(is_busy == 0)
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

    /// Empties the log if it may still hold something erased, and readers and others that write allow it. To be called after an erasure.
    pub async fn empty_log_of_erased(&self) {
        self.empty_log(SQLITE_TRY).await;
    }

    /// The same, behind those that wait to write, however many there are. To be called from time to time, by whoever keeps nobody waiting.
    pub async fn empty_log_in_turn(&self) {
        self.empty_log(SQLITE_WRITE_QUEUE).await;
    }

    async fn empty_log(&self, patience: Duration) {
        let Some(log) = &self.log else { return };
        let begun = log.erasures.begun.load(Ordering::Acquire);
        if log.erasures.emptied.load(Ordering::Acquire) == begun {
            return;
        }
        match log.empty(patience).await {
            Ok(true) => {
                log.erasures.emptied.fetch_max(begun, Ordering::AcqRel);
            }
            Ok(false) => {}
            Err(error) => tracing::warn!(%error, "the write-ahead log could not be emptied after an erasure; it is tried again"),
        }
    }
}
