//! Emptying SQLite's write-ahead log after an erasure: until then it may hold what was erased.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use sea_orm::sqlx::{self, Row as _, SqlitePool, pool::PoolConnection, sqlite::Sqlite};
use tokio::time::timeout;

use super::{Error, Repository, connect::SQLITE_BUSY, error::from_sqlx, in_own_task};

/// How long emptying the log waits for its turn to write, and then for readers: an erasure is not answered before, so not long.
const BUSY: Duration = Duration::from_millis(250);

/// On the connection that writes: when another empties the log, SQLite forgets what it has read of the file on this one.
#[derive(Clone, Debug)]
pub(super) struct SqliteLog {
    write: SqlitePool,
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
    pub(super) fn new(write: SqlitePool) -> Self {
        Self { write, erasures: Arc::default() }
    }

    /// Moves what the log holds into the file, where erased rows are overwritten, and empties it, if nobody is reading it or writing.
    async fn empty(&self) -> Result<bool, Error> {
        let Ok(connection) = timeout(BUSY, self.write.acquire()).await else { return Ok(false) };
        let connection = connection.map_err(|error| from_sqlx(&error))?;
        // Whoever left this would leave the connection with too little patience.
        in_own_task(checkpoint(connection)).await.map_err(|error| from_sqlx(&error))
    }
}

/// Whether the log is empty now.
async fn checkpoint(mut connection: PoolConnection<Sqlite>) -> Result<bool, sqlx::Error> {
    // In one trip. SQLite sets a time when its text is read: prepared once, it would do nothing the next time.
    let (short, usual) = (BUSY.as_millis(), SQLITE_BUSY.as_millis());
    let pragmas = format!("PRAGMA busy_timeout = {short}; PRAGMA wal_checkpoint(TRUNCATE); PRAGMA busy_timeout = {usual}");
    match sqlx::raw_sql(sqlx::AssertSqlSafe(pragmas)).fetch_all(&mut *connection).await {
        Ok(rows) => Ok(rows.get(1).ok_or(sqlx::Error::RowNotFound)?.try_get::<i32, _>(0)? == 0),
        Err(error) => {
            // Whichever time it was left with.
            connection.close_on_drop();
            Err(error)
        }
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
